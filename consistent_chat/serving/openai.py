"""OpenAI, and every server that speaks its Chat Completions protocol: vLLM, Ollama, llama.cpp, LiteLLM and others.

Servers differ in how they take a schema and in how they name the limit of tokens. What a server takes is found out
with the first call of a run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from consistent_chat.errors import ServingError
from consistent_chat.request import Request, Response
from consistent_chat.serving.adapt import Adapting, blamed, warn_no_temperature
from consistent_chat.serving.cap import is_too_high, limit, lowered
from consistent_chat.serving.http import (
    Fault,
    Peer,
    broken,
    checked_url,
    client_timeout,
    count,
    exchange,
    find_key,
    open_client,
)
from consistent_chat.serving.wire import Wire

if TYPE_CHECKING:
    from consistent_chat.serving.openai_batches import OpenAIBatches

PLACEHOLDER = "none"
"""Sent to a server of one's own where no key is given: the client insists on one, such servers do not."""
FINISHES = {"stop": "stop", "eos": "stop", "length": "length", "content_filter": "refusal"}
"""The protocol's finish reasons in our words; others are kept as they come."""
LIMITS = ("max_completion_tokens", "max_tokens")
"""The limit of tokens by its newer name, which OpenAI wants, and the older one, which the others know."""


@dataclass(frozen=True)
class Form:
    """What a request has beside its prompt: a rung of SCHEMAS, a name of LIMITS, a temperature or none.

    `cap` is the most tokens that the model takes for a limit, where that has been found out.
    """

    limit: str
    renamed: bool = False
    rung: int = 0
    temperature: bool = True
    cap: int | None = None


class OpenAI:
    """Answers with models of OpenAI or of any server that speaks its protocol.

    `base_url` is the server's address up to and with `/v1`, else OPENAI_BASE_URL, else OpenAI's own. `api_key` is
    else OPENAI_API_KEY; a server of one's own needs neither. `timeout` is in seconds a call. Raises ServingError
    where a key is missing, RecipeError where base_url is no address.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        max_concurrency: int = 30,
    ) -> None:
        import openai  # noqa: F401  that it is missing is found here and not at the first call

        base_url = checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or None)
        self._peer = Peer("OpenAI", "OPENAI_API_KEY", _key(api_key, base_url), base_url)
        self._timeout = timeout
        self._max_concurrency = max_concurrency
        self._adapting = Adapting(self._peer, Form(LIMITS[0] if base_url is None else LIMITS[1]), plainer)
        self._client: Any = None

    async def answer(self, request: Request) -> Response:
        """Return what the model said; raise TransportError or ServingError."""
        return await self._adapting.answer(request, self._send, partial(simpler, self._peer))

    @property
    def batches(self) -> OpenAIBatches:
        """The batch API of OpenAI, and of servers that offer its endpoints for files and batches."""
        import openai

        from consistent_chat.serving.openai_batches import OpenAIBatches

        wire = Wire(openai, self._peer, self._opened, self._timeout)
        return OpenAIBatches(wire, self._adapting)

    async def close(self) -> None:
        """Close all connections. The next answer opens others, in whichever event loop it is."""
        client, self._client = self._client, None
        self._adapting.leave_loop()
        if client is not None:
            await client.close()

    async def _send(self, request: Request, form: Form) -> Response:
        import openai

        create = self._opened().chat.completions.with_raw_response.create
        body = await exchange(openai, self._peer, create(**arguments(request, form)), self._timeout)
        return read_completion(self._peer, body)

    def _opened(self) -> Any:
        if self._client is None:
            import openai

            self._client = openai.AsyncOpenAI(
                api_key=self._peer.key,
                base_url=self._peer.base_url,
                timeout=client_timeout(openai, self._timeout),
                max_retries=0,
                http_client=open_client(openai, self._max_concurrency),
            )
        return self._client


def simpler(peer: Peer, request: Request, form: Form, fault: Fault) -> Form | None:
    """Return the form to try after a refusal, or None if the refusal is not about the form."""
    if is_too_high(fault):
        cap = lowered(fault, limit(request, form.cap))
        return None if cap is None else replace(form, cap=cap)
    for name in _blamed(form, fault):
        if name == "temperature" and form.temperature:
            why = f"the server answered {peer.quote(fault.message)!r}"
            warn_no_temperature(request.model, request.temperature, why)
            return replace(form, temperature=False)
        if name == "limit" and not form.renamed:
            return replace(form, limit=LIMITS[form.limit == LIMITS[0]], renamed=True)
        if name == "schema" and form.rung + 1 < len(SCHEMAS):
            return plainer(form)
    return None


def plainer(form: Form) -> Form | None:
    """Return the form with the next way of asking for JSON, or None after the last."""
    return replace(form, rung=form.rung + 1) if form.rung + 1 < len(SCHEMAS) else None


def messages(request: Request) -> list[dict[str, str]]:
    """Return the messages of the protocol, the system text first."""
    system = [{"role": "system", "content": request.system}] if request.system else []
    return [*system, *(dict(message) for message in request.messages)]


def json_schema(request: Request) -> dict[str, Any]:
    """Return the `response_format` that asks for the request's schema."""
    schema = {"name": "dialogue", "strict": True, "schema": request.schema}
    return {"type": "json_schema", "json_schema": schema}


def read_completion(peer: Peer, body: Mapping[str, Any]) -> Response:
    """Return what a chat completion says; raise TransportError where it is none."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        raise broken(peer, body, "choices with a message")
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    tokens = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    refusal = message.get("refusal")
    if refusal and isinstance(refusal, str):
        return Response(refusal, "refusal", *tokens)
    reason = str(choice.get("finish_reason") or "stop")
    return Response(_text(message.get("content")), FINISHES.get(reason, reason), *tokens)


def _key(api_key: str | None, base_url: str | None) -> str:
    found = find_key("OpenAI", api_key, ("OPENAI_API_KEY",))
    if found is not None:
        return found[0]
    if base_url is not None:
        return PLACEHOLDER
    raise ServingError(
        "There is no key for OpenAI. Set the environment variable OPENAI_API_KEY or pass api_key=; "
        "for a server of your own, pass base_url=."
    )


def arguments(request: Request, form: Form) -> dict[str, Any]:
    """Return the body of a request."""
    arguments = {"model": request.model, "messages": messages(request), form.limit: limit(request, form.cap)}
    response_format = SCHEMAS[form.rung](request)
    if response_format is not None:
        arguments["response_format"] = response_format
    if form.temperature:
        arguments["temperature"] = request.temperature
    return arguments


def _blamed(form: Form, fault: Fault) -> list[str]:
    """Return what of the form a refusal names, if it is a refusal of the request and not of something else."""
    if fault.status in (500, 501):  # llama.cpp's Python server: the text of a validation error
        return blamed(fault, {"schema": _SCHEMA})
    if not 400 <= fault.status < 500 or fault.status in (401, 403, 408, 409, 429):
        return []
    return blamed(fault, {"temperature": "temperature", "limit": rf"\b{form.limit}\b", "schema": _SCHEMA})


def _text(content: Any) -> str:
    """Return a message's text, which may come in parts. `reasoning_content` stands beside it and is not read."""
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") in _TEXT_PARTS)
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


SCHEMAS: tuple[Callable[[Request], dict[str, Any] | None], ...] = (
    json_schema,
    lambda request: {"type": "json_object", "schema": request.schema},
    lambda request: {"type": "json_object"},
    lambda request: None,
)
"""The ways of asking for JSON, the strictest first: OpenAI and vLLM, llama.cpp, older servers, all others."""

_SCHEMA = "response_format|json_schema|schema|validation"
_TEXT_PARTS = ("text", "output_text")
