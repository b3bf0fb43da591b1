"""Anthropic's Messages format: converts a request to JSON, and JSON to a response."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from consistent_chat.errors import ServingError
from consistent_chat.request import Request, Response, json_text
from consistent_chat.serving.blame import blamed, check_scale, warn_no_temperature
from consistent_chat.serving.cap import is_too_high, limit, lowered_form
from consistent_chat.serving.http import Fault, Peer, count
from consistent_chat.serving.openai_chat import messages
from consistent_chat.serving.responses import (
    BROKEN_OFF,
    Counts,
    bill_noted,
    empty_answer_error,
    finish_of,
    joined,
    told,
    usage_of,
)
from consistent_chat.serving.settings import Abilities

VERSION = "2026-10-21"
"""The `anthropic-version` of a request, as Anthropic's SDK 2 sends it."""


VERSION_WITH_TEMPERATURE = "2023-06-01"
"""The newest `anthropic-version` in which a request may have a temperature."""


NO_TEMPERATURE_SINCE = (4, 7)
"""Claude models of this number and newer refuse a temperature in every version of the API."""


HIGHEST_TEMPERATURE = 1.0
"""The highest temperature of the protocol; other providers allow 2."""


@dataclass(frozen=True)
class Form:
    """The form of a request, apart from its prompt, as stated or detected.

    If `cached`, the system text is a block marked for the provider's cache, else a plain string. `cap` is the maximum
    number of tokens of an answer, `context` the maximum of a prompt and its answer together; `density` is the number of
    tokens per byte of a prompt, as counted by the server.
    """

    schema: bool = True
    temperature: bool = True
    system: bool = True
    cached: bool = True
    stream: bool = False
    cap: int | None = None
    context: int | None = None
    density: float | None = None


def stated(abilities: Abilities) -> Form:
    """Return the form that follows from the stated abilities of a server."""
    return Form(
        schema=abilities.structured_output in (None, "json_schema"),
        system=abilities.system_role is not False,
        stream=abilities.streaming is True,
        cap=abilities.max_output_tokens,
        context=abilities.context_tokens,
    )


def simpler(peer: Peer, request: Request, form: Form, fault: Fault) -> Form | None:
    """Return the form to try after a refusal, or None if the refusal is not about the form.

    Raises ServingError for a refusal of the recipe's temperature.
    """
    asked = limit(request, form)
    if is_too_high(fault, asked):
        return lowered_form(form, request, fault, asked)
    for name in _blamed(fault):
        if name == "temperature" and form.temperature:
            check_scale(peer, request, fault)
            return without_temperature(request, form, f"the server answered {peer.quote(fault.message)!r}")
        if name == "schema" and form.schema and request.schema is not None:
            return replace(form, schema=False)
        if name == "stream" and not form.stream:
            return replace(form, stream=True)
        if name == "system" and form.system:
            return replace(form, cached=False) if form.cached else replace(form, system=False)
    return None


def plainer(best: Form, form: Form) -> Form | None:
    """Return the next plainer form, for a gateway that refuses without a reason, or None after the last.

    `best` is the first form that was tried. Parts that are already plain in `best` were stated by the user, and do not
    change.
    """
    if form.stream and not best.stream:
        return None
    if form.schema:
        return replace(form, schema=False)
    if form.cached:
        return replace(form, schema=best.schema, cached=False)
    if form.system:
        return replace(form, schema=best.schema, system=False)
    return None if form.stream else replace(best, temperature=form.temperature, cap=form.cap, stream=True)


def _blamed(fault: Fault) -> list[str]:
    """Return the part of the form that a refusal names, if it refuses the request for its form."""
    if fault.status in (500, 501):  # a chat template that fails
        return blamed(fault, {"system": _SYSTEM})
    if fault.status not in (400, 413, 422):
        return []
    return blamed(fault, {"temperature": "temperature", "schema": _SCHEMA, "stream": r"\bstream", "system": _SYSTEM})


_SCHEMA = "output_config|format|schema"
_SYSTEM = r"cache_control|\bsystem\b|\broles?\b"


def takes_temperature(model: str) -> bool:
    """Return whether to send a model a temperature: yes, except for Claude models since NO_TEMPERATURE_SINCE."""
    found = _NUMBER.search(model)
    return found is None or (int(found[1]), int(found[2] or 0)) < NO_TEMPERATURE_SINCE


def temperature_error(request: Request) -> ServingError:
    """Return the error for a temperature above the protocol's maximum."""
    return ServingError(
        f"The temperature of {request.temperature:g} is too high for the model {request.model!r}: Anthropic's Messages "
        f"API takes 0 to {HIGHEST_TEMPERATURE:g}. Set temperature= to {HIGHEST_TEMPERATURE:g} or less, or choose "
        "another serving=."
    )


def without_temperature(request: Request, form: Form, why: str) -> Form:
    """Return the form without a temperature for the rest of the run, and warn."""
    warn_no_temperature(request.model, request.temperature, why)
    return replace(form, temperature=False)


def headers(form: Form) -> dict[str, str]:
    """Return the headers that a form needs in addition to the SDK's."""
    return {"anthropic-version": VERSION_WITH_TEMPERATURE} if form.temperature else {}


def body(request: Request, form: Form) -> dict[str, Any]:
    """Return the body of a request. A stage's calls share the system text, so it is marked for caching."""
    said = messages(request, form.system)
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": limit(request, form),
        "messages": _cached(request, form, [message for message in said if message["role"] != "system"]),
    }
    if request.system and form.system:
        body["system"] = [_marked(request.system)] if form.cached else request.system
    if form.schema and request.schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": request.schema}}
    if form.temperature:
        body["temperature"] = request.temperature
    if form.stream:
        body["stream"] = True
    return body


def _cached(request: Request, form: Form, said: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Mark the end of a real chat for caching, because the next turn of the dialogue begins with the same text."""
    if not form.cached or request.schema is not None:
        return [*said]
    *before, last = said
    return [*before, {**last, "content": [_marked(last["content"])]}]


def _marked(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}


def read_message(peer: Peer, body: Mapping[str, Any]) -> Response:
    """Return the response in a message.

    Raises TransportError if it is not a message or reports a fault, RefusedRequest if it is empty.
    """
    counts = _counts(usage_of(body))
    with bill_noted(body, counts):
        return _read(peer, body, counts)


def _counts(usage: Mapping[str, Any]) -> Counts:
    return _input(usage), count(usage.get("output_tokens"))


def _read(peer: Peer, body: Mapping[str, Any], counts: Counts) -> Response:
    content, reason = body.get("content"), body.get("stop_reason")
    if not content and not reason:
        raise empty_answer_error(peer, body, "content", "content and stop_reason")
    return Response(
        _text(content, "text"),
        finish_of(peer, reason),
        counts[0],
        counts[1],
        reasoning=_text(content, "thinking"),
        tool_calls=json_text(calls) if (calls := _calls(content)) else "",
        **told(body, reason, _KNOWN, **_unread(content)),
    )


def join(events: list[Any], ended: bool) -> dict[str, Any]:
    """Return the message from the events of a stream. It ends with `message_stop` or a stop reason."""
    message: dict[str, Any] = {}
    blocks: dict[Any, list[dict[str, Any]]] = {}
    for event in events:
        kind = event.get("type")
        if event.get("error") or kind == "error":
            return {"error": "no reason given", **event}
        ended = ended or kind == "message_stop"
        if kind == "message_start" and isinstance(event.get("message"), dict):
            message = dict(event["message"])
        elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            blocks[event.get("index")] = [event["content_block"]]
        elif kind == "content_block_delta" and isinstance(event.get("delta"), dict) and event.get("index") in blocks:
            blocks[event["index"]].append(_piece(event["delta"]))
        elif kind == "message_delta":
            delta, usage = event.get("delta"), event.get("usage")
            message |= delta if isinstance(delta, dict) else {}
            message["usage"] = {**(message.get("usage") or {}), **(usage if isinstance(usage, dict) else {})}
    if not ended and not message.get("stop_reason"):
        return BROKEN_OFF
    return {**message, "content": [_whole(joined(pieces)) for pieces in blocks.values()]}


def _piece(delta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a delta adds to its block. Its type differs from the block's, and citations come one by one."""
    rest = {name: value for name, value in delta.items() if name not in ("type", "citation")}
    return {**rest, "citations": [delta["citation"]]} if "citation" in delta else rest


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block with its tool input, which a stream sends as pieces of JSON text."""
    try:
        told = json.loads(block["partial_json"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return block
    return {**{name: value for name, value in block.items() if name != "partial_json"}, "input": told}


_KNOWN = frozenset({"type", "role", "content", "stop_reason", "usage", "model", "id"})


def _text(content: Any, kind: str) -> str:
    """Return the joined blocks of one type; thinking blocks, which can precede the text, are not part of the answer."""
    if isinstance(content, str):
        return content if kind == "text" else ""
    blocks = [block for block in _blocks(content) if block.get("type") == kind]
    return "".join(block[kind] for block in blocks if isinstance(block.get(kind), str))


def _calls(content: Any) -> list[Any]:
    """Return the blocks in which the model, or the server, calls a tool."""
    return [block for block in _blocks(content) if str(block.get("type")).endswith("tool_use")]


def _unread(content: Any) -> dict[str, Any]:
    """Return the content that is not text, thinking or tool calls: signatures, citations, other types of blocks."""
    rest = [
        {name: value for name, value in block.items() if name != block.get("type")}
        for block in _blocks(content)
        if not str(block.get("type")).endswith("tool_use")
    ]
    unread = [block for block in rest if block.keys() > {"type"}]
    return {"content": unread} if unread else {}


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _input(usage: Mapping[str, Any]) -> int | None:
    """Return all tokens of the prompt: the API counts cache reads and writes separately."""
    tokens = count(usage.get("input_tokens"))
    cached = (count(usage.get(f"cache_{what}_input_tokens")) or 0 for what in ("read", "creation"))
    return None if tokens is None else tokens + sum(cached)


# claude-3-5-sonnet-20241022, claude-sonnet-4-20250514, claude-opus-4-7, anthropic/claude-sonnet-4.6, claude-2.1:
# one or two numbers of at most two digits, before or after the family's name. A date does not count.
_NUMBER = re.compile(r"claude(?:-[a-z]+)*-(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
