"""Reads a server's answer: joins a stream into one object, and finds out why an answer ended or is missing."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consistent_chat.errors import RefusedRequest, ServingError, TransportError
from consistent_chat.request import Response, bounded_json
from consistent_chat.serving.http import Fault, Peer, broken, fault_of

Counts = tuple["int | None", "int | None"]
"""Tokens in and out, as a server has counted them."""

_KINDS = (
    ("refusal", "refus|filter|safety|moderat|prohibit|block|sensitive|recitation|spii|guardrail|violation|policy"),
    ("fault", r"error|insufficient|resource|network|abort|cancel|timeout|timed|unavailable|overload|fail|interrupt"),
    ("length", r"length|max|limit|trunc|window|exceed|incomplete"),
    ("stop", r"^(?:stop|end|eos|done|complete|finish|normal|none|null)"),
)
"""Kinds of finish reasons, and words that identify them in the providers' many spellings; the first match wins."""


def finish_of(peer: Peer, reason: Any) -> str:
    """Return a finish reason of any spelling as "stop", "length" or "refusal"; an unknown one unchanged.

    Raises TransportError for a reason that reports a fault of the server, because the answer is not complete.
    """
    if not isinstance(reason, str) or not reason:
        return "stop"
    kind = _kind(reason[:100]) or reason
    if kind == "fault":
        raise TransportError(f"{peer.place} sent an incomplete answer with the finish reason {peer.quote(reason)!r}.")
    return kind


@functools.lru_cache(maxsize=64)
def _kind(reason: str) -> str | None:
    return next((kind for kind, words in _KINDS if re.search(words, reason, re.IGNORECASE)), None)


def raise_reported_fault(peer: Peer, told: Any) -> None:
    """Raise the error in the body of a 200, if `told` is one, as if the server had sent its code as a status."""
    if not told or not isinstance(told, (dict, str)):
        return
    code = told.get("code") if isinstance(told, dict) else None
    digits = str(code) if str(code).isdecimal() and 400 <= int(str(code)[:4]) < 600 else "500"
    raise fault_of(int(digits), {}, json.dumps({"error": told}).encode())


def usage_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the usage that a server reports in an answer; empty if it is not an object."""
    usage = body.get("usage")
    return usage if isinstance(usage, dict) else {}


@contextlib.contextmanager
def bill_noted(body: Mapping[str, Any], counts: Counts) -> Iterator[None]:
    """Note the tokens of a faulty answer in the error that the block raises: the server bills them."""
    try:
        yield
    except (ServingError, Fault) as error:
        if None not in counts:
            error.billed = Response("", "stop", counts[0], counts[1], **told(body, None, frozenset(body)))
        raise


def empty_answer_error(peer: Peer, body: Mapping[str, Any], field: str, lack: str) -> ServingError | Fault:
    """Return the error for a 200 without an answer: a reported fault, or a refusal if it has the field, else malformed.

    A server that returns an empty list of answers to a prompt refuses that prompt.
    """
    if body.get("error"):
        try:
            raise_reported_fault(peer, body["error"])
        except Fault as fault:
            return fault
    if field in body and not body[field]:
        words = peer.quote(json.dumps({name: value for name, value in body.items() if name != "id"}))
        return RefusedRequest(f"{peer.place} answered without {lack}: {words}.", words)
    return broken(peer, body, lack)


def told(body: Mapping[str, Any], reason: Any, known: frozenset[str], **fields: Any) -> dict[str, str]:
    """Return a server's other fields as the extra fields of a response: unchanged, and within bounds."""
    usage = body.get("usage")
    extra = {**{name: value for name, value in body.items() if name not in known}, **fields}
    return {
        "finish_reason": reason if isinstance(reason, str) else "",
        "model": str(body.get("model") or "")[:500],
        "id": str(body.get("id") or "")[:500],
        "usage": bounded_json(usage) if isinstance(usage, dict) and usage else "",
        "extra": bounded_json(extra) if extra else "",
    }


BROKEN_OFF = {"error": {"code": 502, "message": "the stream ended early"}}
"""The error of an incomplete stream: a partial answer is not an answer."""
DEPTH = 6
"""Number of levels that are joined: a choice, its message, tool calls, one tool call, its function, and one spare."""
ONCE = frozenset({"id", "index", "name", "object", "role", "type", "finish_reason", "stop_reason"})
"""Names of fields that are sent in full; some servers repeat them in every piece."""


def joined(pieces: Sequence[Mapping[str, Any]], depth: int = DEPTH) -> dict[str, Any]:
    """Return the object whose fields came in pieces, in linear time. Nulls are ignored.

    Texts are joined, lists are extended, list items that have an `index` are joined by it; for anything else, and for
    the names in ONCE, the last value wins.
    """
    told: dict[str, list[Any]] = {}
    for piece in pieces:
        for name, value in piece.items():
            if value is not None:
                told.setdefault(name, []).append(value)
    return {name: values[-1] if name in ONCE else _joined(values, depth) for name, values in told.items()}


def _joined(values: list[Any], depth: int) -> Any:
    if len(values) == 1:
        return values[0]
    if all(isinstance(value, str) for value in values):
        return "".join(values)
    if depth and all(isinstance(value, dict) for value in values):
        return joined(values, depth - 1)
    if any(isinstance(value, list) for value in values):
        return _items([item for value in values for item in (value if isinstance(value, list) else [value])], depth)
    return values[-1]


def _items(items: list[Any], depth: int) -> list[Any]:
    """Join the items of a list by their index, if all have one."""
    if not depth or not all(isinstance(item, dict) and isinstance(item.get("index"), int) for item in items):
        return items
    by_index: dict[int, list[Any]] = {}
    for item in items:
        by_index.setdefault(item["index"], []).append(item)
    return [joined(by_index[index], depth - 1) for index in sorted(by_index)]
