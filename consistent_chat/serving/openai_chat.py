"""The format of OpenAI's chat completions: converts a request to JSON, and JSON to a response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from consistent_chat.request import Request, Response, json_text
from consistent_chat.serving.blame import blamed, check_scale, warn_no_temperature
from consistent_chat.serving.cap import is_too_high, limit, lowered_form
from consistent_chat.serving.http import Fault, Peer, count
from consistent_chat.serving.responses import (
    BROKEN_OFF,
    Counts,
    bill_noted,
    empty_answer_error,
    finish_of,
    joined,
    raise_reported_fault,
    told,
    usage_of,
)
from consistent_chat.serving.settings import Abilities

PATH = "/chat/completions"
LIMITS = ("max_completion_tokens", "max_tokens")
"""Names of the token limit: the newer one, which OpenAI requires, and the older one, which other servers know."""


@dataclass(frozen=True)
class Form:
    """The form of a request, apart from its prompt.

    It has an index into SCHEMAS, a name from LIMITS, a temperature, a system message. With `usage`, a stream is asked
    to report its tokens. `cap` is the highest token limit that the model accepts, `context` the maximum tokens of a
    prompt and its answer together, if stated or detected; `density` is the number of tokens per byte of a prompt, as
    counted by the server.
    """

    limit: str
    renamed: bool = False
    rung: int = 0
    temperature: bool = True
    system: bool = True
    stream: bool = False
    usage: bool = True
    cap: int | None = None
    context: int | None = None
    density: float | None = None


def stated(abilities: Abilities, name: str) -> Form:
    """Return the form that follows from the stated abilities of a server; `name` is the name of its token limit."""
    return Form(
        name,
        rung={"json_object": 2, "none": 3}.get(abilities.structured_output or "", 0),
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
    for name in _blamed(form, fault):
        if name == "temperature" and form.temperature:
            check_scale(peer, request, fault)
            why = f"the server answered {peer.quote(fault.message)!r}"
            warn_no_temperature(request.model, request.temperature, why)
            return replace(form, temperature=False)
        if name == "limit" and not form.renamed:
            return replace(form, limit=LIMITS[form.limit == LIMITS[0]], renamed=True)
        if name == "schema" and form.rung + 1 < len(SCHEMAS) and request.schema is not None:
            return replace(form, rung=form.rung + 1)
        if name == "usage" and form.stream and form.usage:
            return replace(form, usage=False)
        if name == "stream" and not form.stream:
            return replace(form, stream=True)
        if name == "system" and form.system:
            return replace(form, system=False)
    return None


def plainer(best: Form, form: Form) -> Form | None:
    """Return the next plainer form, or None after the last: other ways to ask for JSON, no system role, a stream.

    `best` is the first form that was tried. Parts that are already plain in `best` were stated by the user, and do not
    change.
    """
    if form.stream and not best.stream:
        return replace(form, usage=False) if form.usage else None
    if form.rung + 1 < len(SCHEMAS) and form.system == best.system:
        return replace(form, rung=form.rung + 1)
    if form.system:
        return replace(form, rung=best.rung, system=False)
    return None if best.stream else replace(form, rung=best.rung, system=best.system, stream=True)


def messages(request: Request, system: bool = True) -> list[dict[str, str]]:
    """Return the messages of the protocol: the system text comes first, or is put before the first user message."""
    said = [dict(message) for message in request.messages]
    if not request.system:
        return said
    if system:
        return [{"role": "system", "content": request.system}, *said]
    first, *others = said
    return [{**first, "content": f"{request.system}\n\n{first['content']}"}, *others]


def json_schema(request: Request) -> dict[str, Any]:
    """Return the `response_format` that asks for the request's schema."""
    schema = {"name": "dialogue", "strict": True, "schema": request.schema}
    return {"type": "json_schema", "json_schema": schema}


def read_completion(peer: Peer, body: Mapping[str, Any]) -> Response:
    """Return the response in a chat completion.

    Raises Fault or TransportError if it is not a completion or reports a fault, RefusedRequest if it has no choice.
    """
    counts = _counts(usage_of(body))
    with bill_noted(body, counts):
        return _read(peer, body, counts)


def _counts(usage: Mapping[str, Any]) -> Counts:
    return count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))


def _read(peer: Peer, body: Mapping[str, Any], counts: Counts) -> Response:
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    if choice is None:
        raise empty_answer_error(peer, body, "choices", "choices with a message")
    raise_reported_fault(peer, choice.get("error"))
    message, reason = _message(choice), choice.get("finish_reason")
    finish = finish_of(peer, reason)
    if not isinstance(message, dict):
        if finish != "refusal":
            raise empty_answer_error(peer, {**body, "choices": []} if reason else body, "choices", "a message")
        message = {}
    raise_reported_fault(peer, message.get("error"))
    refusal, content = _text(message.get("refusal")), message.get("content")
    calls = json_text(message["tool_calls"]) if message.get("tool_calls") else ""
    return Response(
        refusal or _text(content),
        "refusal" if refusal else finish,
        counts[0],
        counts[1],
        reasoning=next(filter(None, (_text(message.get(name)) for name in _REASONING)), _thought(content)),
        tool_calls=calls,
        **told(body, reason, _KNOWN, **_unread(choice, message, calls), **_unread_parts(content, bool(refusal))),
    )


def _message(choice: Mapping[str, Any]) -> Any:
    """Return a choice's message; some servers send only its text, as in the older completions API."""
    text = choice.get("text")
    return {"content": text} if "message" not in choice and isinstance(text, str) else choice.get("message")


def _unread(choice: Mapping[str, Any], message: Mapping[str, Any], calls: str) -> dict[str, Any]:
    """Return the fields of a choice and its message that are not read, under distinct names."""
    rest = {f"choice.{name}": value for name, value in choice.items() if name not in _OF_CHOICE and value is not None}
    read = _OF_MESSAGE if calls else _OF_MESSAGE - {"tool_calls"}
    said = {f"message.{name}": value for name, value in message.items() if name not in read}
    return {**rest, **{name: value for name, value in said.items() if value not in (None, [], "")}}


def _unread_parts(content: Any, refused: bool) -> dict[str, Any]:
    """Return the parts of the content that are neither text nor thinking; all parts if the text is a refusal."""
    if refused:
        return {"message.content": content} if content else {}
    parts = content if isinstance(content, list) else []
    unread = [part for part in parts if isinstance(part, dict) and part.get("type", "text") not in _READ_PARTS]
    return {"message.content": unread} if unread else {}


def join(events: list[Any], ended: bool) -> dict[str, Any]:
    """Return the completion from the chunks of a stream; for fields of the completion itself, the last value wins.

    The end of a stream is `[DONE]`, or else a finish reason.
    """
    whole: dict[str, Any] = {}
    pieces: list[dict[str, Any]] = []
    for chunk in events:
        if chunk.get("error"):
            return dict(chunk)
        whole |= {
            name: value for name, value in chunk.items() if name not in ("choices", "object") and value is not None
        }
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict) or choice.get("index", 0) != 0:
                continue
            if choice.get("error"):
                return {**whole, "choices": [{"error": choice["error"]}]}
            told = choice.get("delta") or _message(choice)
            rest = {name: value for name, value in choice.items() if name not in ("delta", "message", "text", "error")}
            pieces.append({**rest, "message": told if isinstance(told, dict) else {}})
    if not ended and pieces and not any(piece.get("finish_reason") for piece in pieces):
        return BROKEN_OFF
    return {**whole, "choices": [{"index": 0, **joined(pieces)}] if pieces else []}


def arguments(request: Request, form: Form) -> dict[str, Any]:
    """Return the body of a request."""
    arguments: dict[str, Any] = {"model": request.model, "messages": messages(request, form.system)}
    arguments[form.limit] = limit(request, form)
    response_format = None if request.schema is None else SCHEMAS[form.rung](request)
    if response_format is not None:
        arguments["response_format"] = response_format
    if form.temperature:
        arguments["temperature"] = request.temperature
    if form.stream:
        arguments |= {"stream": True, **({"stream_options": {"include_usage": True}} if form.usage else {})}
    return arguments


def _blamed(form: Form, fault: Fault) -> list[str]:
    """Return the part of the form that a refusal names, if it refuses the request for its form."""
    if fault.status in (500, 501):  # llama.cpp's Python server: the text of a validation error
        return blamed(fault, {"schema": _SCHEMA, "system": _SYSTEM, "stream": _STREAM})
    if not 400 <= fault.status < 500 or fault.status in (401, 403, 408, 409, 429):
        return []
    names = {"temperature": "temperature", "limit": rf"\b{form.limit}\b", "schema": _SCHEMA}
    return blamed(fault, {**names, "system": _SYSTEM, "stream": _STREAM, "usage": "stream_options|include_usage"})


def _text(content: Any) -> str:
    """Return a message's text: a string, text parts, strings, or the answer object itself."""
    if isinstance(content, list):
        return "".join(map(_part, content))
    if isinstance(content, dict):
        is_part = isinstance(content.get("text"), str) and set(content) <= _OF_PART
        return content["text"] if is_part else json_text(content)
    return content if isinstance(content, str) else ""


def _thought(content: Any) -> str:
    """Return the text of thinking parts, which precede the answer."""
    return "".join(map(_thinking, content)) if isinstance(content, list) else ""


def _thinking(part: Any) -> str:
    if not isinstance(part, dict) or part.get("type") not in _THINKING_PARTS:
        return ""
    return _text(part.get(part["type"], part.get("text")))


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type", "text") not in _TEXT_PARTS:
        return ""
    return part["text"] if isinstance(part.get("text"), str) else ""


SCHEMAS: tuple[Callable[[Request], dict[str, Any] | None], ...] = (
    json_schema,
    lambda request: {"type": "json_object", "schema": request.schema},
    lambda request: {"type": "json_object"},
    lambda request: None,
)
"""The ways to ask for JSON, the strictest first: for OpenAI and vLLM, llama.cpp, older servers, all others."""


_SCHEMA = "response_format|json_schema|schema|validation"


_TEXT_PARTS = ("text", "output_text")
_THINKING_PARTS = ("thinking", "reasoning")
"""Types of parts with the model's reasoning, in a field of that name or in `text`. Mistral's models send such parts."""
_READ_PARTS = _TEXT_PARTS + _THINKING_PARTS
_SYSTEM = r"\bsystem\b|\bdeveloper (?:role|message|instruction)|\broles?\b"
_STREAM = r"\bstream(?:ing|ed)?\b"
_REASONING = ("reasoning_content", "reasoning")
"""Field names of reasoning: of DeepSeek, Qwen, vLLM and llama.cpp; of OpenRouter, Ollama and newer vLLM."""
_OF_PART = {"type", "text", "annotations"}
_KNOWN = frozenset({"choices", "usage", "model", "id", "object", "created"})
_OF_CHOICE = {"index", "message", "text", "finish_reason", "error"}
_OF_MESSAGE = {"role", "content", "refusal", "reasoning_content", "reasoning", "tool_calls", "error"}
