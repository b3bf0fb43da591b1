"""Explains a missing response: names the nearest recorded request and how it differs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from consistent_chat.request import Request
from consistent_chat.store.store import ResponseStore

LOOKED_AT = 20_000
"""Maximum number of records compared, so that the message comes within seconds."""

EXCERPT = 60


def explain_miss(request: Request, index: int, store: ResponseStore) -> str:
    """Return the message for a request that is not recorded."""
    asked = request.identity()
    records = itertools.islice(store.records(), LOOKED_AT)
    closest_records = max(
        (record.asked() for record in records), key=lambda found: _likeness(asked, found), default=None
    )
    where = "The store is empty."
    if closest_records is not None:
        where = f"The nearest recorded request differs in {_differences(asked, closest_records)}."
    return (
        f"No response is recorded for dialogue {index}, draw {request.draw} of {request.key}. {where} "
        "Pass serving= (and, unless it runs locally, a key) to request it, or another location as responses=."
    )


def _likeness(asked: dict[str, Any], found: dict[str, Any]) -> tuple[int, int]:
    same = sum(asked[name] == found.get(name) for name in asked)
    return same, _common(_text(asked["messages"]), _text(found.get("messages", [])))


def _differences(asked: dict[str, Any], found: dict[str, Any]) -> str:
    names = [name for name in asked if asked[name] != found.get(name)]
    return "; ".join(f"{name}: {_excerpts(asked[name], found.get(name))}" for name in names) or "nothing"


def _excerpts(asked: Any, found: Any) -> str:
    if not isinstance(asked, (str, list, Mapping)):
        return f"{_short(str(found))} is recorded, {_short(str(asked))} is asked"
    one, other = _text(found), _text(asked)
    start = max(0, _common(one, other) - EXCERPT // 3)
    lead = "..." if start else ""
    return f"{_short(lead + one[start:])!r} is recorded, {_short(lead + other[start:])!r} is asked"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(message["content"] for message in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, Mapping) else str(value)


def _short(text: str) -> str:
    return text if len(text) <= EXCERPT else text[: EXCERPT - 3] + "..."


def _common(one: str, other: str) -> int:
    """Return the length of the prefix that two texts share; by bisection, since texts can be long."""
    start, end = 0, min(len(one), len(other))
    while start < end:
        middle = (start + end + 1) // 2
        if one[start:middle] == other[start:middle]:
            start = middle
        else:
            end = middle - 1
    return start
