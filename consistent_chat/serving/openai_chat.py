"""The format of OpenAI's chat completions: from a request to JSON, and from JSON to a response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from consistent_chat.request import Request, Response
from consistent_chat.serving.cap import is_too_high, limit, lowered
from consistent_chat.serving.http import (
    Fault,
    Peer,
    broken,
    count,
)
from consistent_chat.serving.negotiate import blamed, warn_no_temperature

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
