"""Anthropic's Messages format: from a request to JSON, and from JSON to a response."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from consistent_chat.errors import ServingError
from consistent_chat.request import Request, Response
from consistent_chat.serving.cap import limit
from consistent_chat.serving.http import (
    Peer,
    broken,
    count,
)
from consistent_chat.serving.negotiate import warn_no_temperature

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
