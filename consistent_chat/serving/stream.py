"""Joins the pieces of a stream into the object that a server would have sent without streaming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BROKEN_OFF = {"error": {"code": 502, "message": "the stream broke off before its end"}}
"""The error of a stream without an end: a partial answer is not an answer."""
DEPTH = 6
"""Levels that are joined: a choice, its message, tool calls, one of them, its function, and one spare."""
ONCE = frozenset({"id", "index", "name", "object", "role", "type", "finish_reason", "stop_reason"})
"""Names whose value is sent in full; some servers repeat it in every piece."""


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
