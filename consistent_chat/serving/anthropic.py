"""Anthropic's Messages API, through its own SDK. Raw responses are read here: the SDK validates none of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    http_library,
    need_key,
    open_client,
)
from consistent_chat.serving.wire import Wire

if TYPE_CHECKING:
    from consistent_chat.serving.anthropic_batches import AnthropicBatches

KEY, TOKEN = "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"
"""The environment variables of the two kinds of key."""
VERSION_WITH_TEMPERATURE = "2023-06-01"
"""The newest `anthropic-version` in which a request may have a temperature."""
NO_TEMPERATURE_SINCE = (4, 7)
"""Claude models of this number and newer refuse a temperature in every version of the API."""
HIGHEST_TEMPERATURE = 1.0
"""The protocol's scale ends here, and at 2 with other providers."""
FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}
"""The API's stop reasons in our words; others are kept as they come."""


@dataclass(frozen=True)
class Form:
    """What a request has beside its prompt. `cap` is the highest limit of tokens, where it has been found out."""

    schema: bool = True
    temperature: bool = True
    cap: int | None = None


class Anthropic:
    """Answers with Claude models.

    `base_url` is another address of the API, else ANTHROPIC_BASE_URL, else Anthropic's own. `api_key` is else
    ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN. `timeout` is in seconds a call. Raises ServingError where there is
    no key, RecipeError where base_url is no address.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        max_concurrency: int = 30,
    ) -> None:
        import anthropic  # noqa: F401  costs a second, and is missed here and not at the first call

        key, origin = need_key("Anthropic", api_key, (KEY, TOKEN))
        base_url = checked_url(base_url or os.environ.get("ANTHROPIC_BASE_URL") or None)
        self._peer = Peer("Anthropic", TOKEN if origin == TOKEN else KEY, key, base_url)
        self._credential = "auth_token" if origin == TOKEN else "api_key"
        self._timeout = timeout
        self._max_concurrency = max_concurrency
        self._adapting = Adapting(self._peer, Form())
        self._client: Any = None

    async def answer(self, request: Request) -> Response:
        """Return what the model said; raise TransportError or ServingError."""
        self._form(request)
        return await self._adapting.answer(request, self._send, self._simpler)

    @property
    def batches(self) -> AnthropicBatches:
        """Anthropic's Message Batches."""
        import anthropic

        from consistent_chat.serving.anthropic_batches import AnthropicBatches

        wire = Wire(anthropic, self._peer, self._opened, self._timeout)
        return AnthropicBatches(wire, self._adapting, lambda request: body(request, self._form(request)), self._simpler)

    async def close(self) -> None:
        """Close all connections. The next answer opens others, in whichever event loop it is."""
        client, self._client = self._client, None
        self._adapting.leave_loop()
        if client is not None:
            await client.close()

    async def _send(self, request: Request, form: Form) -> Response:
        import anthropic

        # Not `messages.create`, which takes a tenth more CPU time, for typed fields and traces of its own.
        calling = self._opened().post(
            "/v1/messages",
            cast_to=http_library(anthropic).Response,
            body=body(request, form),
            options={"headers": headers(form)},
        )
        return read_message(self._peer, await exchange(anthropic, self._peer, calling, self._timeout))

    def _form(self, request: Request) -> Form:
        """Return the form for a request, as far as it is known before one is sent; raises ServingError."""
        learnt = self._adapting.about(request.model)
        if learnt.form.temperature and not takes_temperature(request.model):
            why = "Claude models from {}.{} on take none".format(*NO_TEMPERATURE_SINCE)
            learnt.form = _without_temperature(request, learnt.form, why)
        if learnt.form.temperature and request.temperature > HIGHEST_TEMPERATURE:
            raise _too_hot(request)
        return learnt.form

    def _opened(self) -> Any:
        if self._client is None:
            import anthropic

            credential: dict[str, Any] = {self._credential: self._peer.key}
            self._client = anthropic.AsyncAnthropic(
                **credential,
                base_url=self._peer.base_url,
                timeout=client_timeout(anthropic, self._timeout),
                max_retries=0,
                http_client=open_client(anthropic, self._max_concurrency),
            )
        return self._client

    def _simpler(self, request: Request, form: Form, fault: Fault) -> Form | None:
        if fault.status not in (400, 422):
            return None
        if is_too_high(fault):
            cap = lowered(fault, limit(request, form.cap))
            return None if cap is None else replace(form, cap=cap)
        for name in blamed(fault, {"temperature": "temperature", "schema": "output_config|format|schema"}):
            if name == "temperature" and _RANGE.search(fault.message):
                return None  # it takes temperatures, only not this one: the recipe must change
            if name == "temperature" and form.temperature:
                return _without_temperature(request, form, f"the server answered {self._peer.quote(fault.message)!r}")
            if name == "schema" and form.schema:
                return replace(form, schema=False)
        return None


def takes_temperature(model: str) -> bool:
    """Tell whether a model is sent a temperature, by its name: all but Claude models of NO_TEMPERATURE_SINCE."""
    found = _NUMBER.search(model)
    return found is None or (int(found[1]), int(found[2] or 0)) < NO_TEMPERATURE_SINCE


def _too_hot(request: Request) -> ServingError:
    return ServingError(
        f"The temperature of {request.temperature:g} is too high for the model {request.model!r}: Anthropic's Messages "
        f"API takes 0 to {HIGHEST_TEMPERATURE:g}. Set temperature= to {HIGHEST_TEMPERATURE:g} or less, or choose "
        "another serving=."
    )


def _without_temperature(request: Request, form: Form, why: str) -> Form:
    """Return the form for the rest of the run, and say that it has no temperature."""
    warn_no_temperature(request.model, request.temperature, why)
    return replace(form, temperature=False)


def headers(form: Form) -> dict[str, str]:
    """Return the headers that a form needs beside the SDK's own."""
    return {"anthropic-version": VERSION_WITH_TEMPERATURE} if form.temperature else {}


def body(request: Request, form: Form) -> dict[str, Any]:
    """Return the body of a request. The system text is marked for caching: a stage's calls share it."""
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": limit(request, form.cap),
        "messages": [dict(message) for message in request.messages],
    }
    if request.system:
        text = {"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}
        body["system"] = [text]
    if form.schema:
        body["output_config"] = {"format": {"type": "json_schema", "schema": request.schema}}
    if form.temperature:
        body["temperature"] = request.temperature
    return body


def read_message(peer: Peer, body: Mapping[str, Any]) -> Response:
    """Return what a message says; raise TransportError where it is none."""
    content, reason = body.get("content"), body.get("stop_reason")
    if not content and not reason:
        raise broken(peer, body, "content and stop_reason")
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    finish = FINISHES.get(str(reason), str(reason or "stop"))
    return Response(_text(content), finish, _input(usage), count(usage.get("output_tokens")))


def _text(content: Any) -> str:
    """Join the text blocks; blocks of thinking, which can come before them, are no part of the answer."""
    blocks = [block for block in content or () if isinstance(block, dict) and block.get("type") == "text"]
    return "".join(block["text"] for block in blocks if isinstance(block.get("text"), str))


def _input(usage: Mapping[str, Any]) -> int | None:
    """Return all tokens of the prompt: the API counts those from and into its cache apart."""
    tokens = count(usage.get("input_tokens"))
    cached = (count(usage.get(f"cache_{what}_input_tokens")) or 0 for what in ("read", "creation"))
    return None if tokens is None else tokens + sum(cached)


# claude-3-5-sonnet-20241022, claude-sonnet-4-20250514, claude-opus-4-7, anthropic/claude-sonnet-4.6, claude-2.1:
# one or two numbers of at most two digits, before or after the family's name. A date is no number.
_NUMBER = re.compile(r"claude(?:-[a-z]+)*-(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
_RANGE = re.compile(r"temperature\W{1,4}(?:range|must be between|input should be (?:less|greater) than)", re.IGNORECASE)
