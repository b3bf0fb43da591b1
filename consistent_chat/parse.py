"""Takes messages out of a model's raw answer, or says by a name from a fixed list why it cannot.

It forgives packaging (fences, prose, reasoning around the JSON) and nothing else: it never repairs, cuts,
pads or invents a message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

from consistent_chat.request import Response

MAX_CANDIDATES = 200
"""How many opening brackets are tried as the start of the JSON, so that hostile text costs bounded time."""


class Reason(str, Enum):
    """Why an answer is of no use. The values are kept in ledgers and reports."""

    REFUSED = "refused"
    TRUNCATED = "truncated"
    NO_JSON = "no_json"
    WRONG_SHAPE = "wrong_shape"
    REPEATED_KEY = "repeated_key"
    WRONG_TURN_COUNT = "wrong_turn_count"
    EMPTY_MESSAGE = "empty_message"
    NOT_TEXT = "not_text"
    UNANSWERED = "unanswered_question"
    BAD_CHARACTER = "bad_character"


class Unusable(Exception):
    """An answer that cannot be used, with its reason and what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


def messages(response: Response, names: Sequence[str]) -> tuple[str, ...]:
    """Return the messages of a JSON object with exactly these keys, in their order.

    A list of as many texts, alone or as an object's only value, is read the same way. Raises Unusable.
    """
    if response.finish == "refusal":
        raise Unusable(Reason.REFUSED, "the model declined to answer")
    if response.finish == "length":
        raise Unusable(Reason.TRUNCATED, "the answer was cut at the limit of tokens")
    return _read(_last_json(response.text, names), names)


def _read(value: Any, names: Sequence[str]) -> tuple[str, ...]:
    values = _values(value, names)
    return tuple(_message(text, name) for text, name in zip(values, names))


def _values(value: Any, names: Sequence[str]) -> list[Any]:
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), list):
        value = next(iter(value.values()))
    if isinstance(value, dict):
        stem = names[0].rpartition("_")[0]
        if not any(re.fullmatch(rf"{stem}_\d+", key) for key in value):
            raise Unusable(Reason.WRONG_SHAPE, f"an object without {names[0]!r}")
        if set(value) != set(names):
            raise Unusable(*_difference(value, names))
        return [value[name] for name in names]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Unusable(Reason.WRONG_SHAPE, f"{type(value).__name__} where an object with {names[0]!r} should be")
    if len(value) != len(names):
        raise Unusable(Reason.WRONG_TURN_COUNT, f"{len(value)} messages instead of {len(names)}")
    return value


def _difference(value: dict[str, Any], names: Sequence[str]) -> tuple[Reason, str]:
    missing = [name for name in names if name not in value]
    if missing and names[0].startswith("assistant") and len(value) < len(names):
        return Reason.UNANSWERED, f"no {missing[0]!r}"
    return Reason.WRONG_TURN_COUNT, f"{len(value)} messages instead of {len(names)}"


def _message(value: Any, name: str) -> str:
    answer = name.startswith("assistant")
    if value is None and answer:
        raise Unusable(Reason.UNANSWERED, f"{name!r} is null")
    if not isinstance(value, str):
        raise Unusable(Reason.NOT_TEXT, f"{name!r} is of type {type(value).__name__}")
    text = value.strip()
    if not text:
        raise Unusable(Reason.UNANSWERED if answer else Reason.EMPTY_MESSAGE, f"{name!r} is empty")
    if _BAD.search(text):
        raise Unusable(Reason.BAD_CHARACTER, f"{name!r} has NUL or half a surrogate pair")
    return text


def _last_json(text: str, names: Sequence[str]) -> Any:
    """Return the last JSON value in a text that has the shape, or else the last one that could be meant."""
    try:
        return _DECODER.decode(text.strip())
    except (ValueError, RecursionError):
        pass
    found = _after_reasoning(text, _candidates(text))
    for value in reversed(found):
        try:
            _read(value, names)
            return value
        except Unusable:
            continue
    meant = [value for value in found if isinstance(value, dict) or (value and isinstance(value, list))]
    if not meant:
        raise Unusable(Reason.NO_JSON, f"no JSON object in {len(text)} characters")
    return meant[-1]


def _candidates(text: str) -> list[tuple[int, int, Any]]:
    """Return (start, end, value) of the outermost JSON objects and lists in a text, in order."""
    found, position = [], 0
    for _ in range(MAX_CANDIDATES):
        start = _OPENING.search(text, position)
        if start is None:
            break
        try:
            value, position = _DECODER.raw_decode(text, start.start())
            found.append((start.start(), position, value))
        except (ValueError, RecursionError):
            position = start.end()
    return found


def _after_reasoning(text: str, found: list[tuple[int, int, Any]]) -> list[Any]:
    """Leave out what stands in the model's reasoning: before the last closing tag that is in no string of the JSON."""
    tags = (tag.end() for tag in _REASONING_END.finditer(text))
    ends = [end for end in tags if not any(start < end <= stop for start, stop, _ in found)]
    return [value for start, _, value in found if start >= max(ends, default=0)]


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise Unusable(Reason.REPEATED_KEY, "a key stands twice in one JSON object")
    return mapping


# strict=False takes raw line breaks inside strings, which many models write.
_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_unrepeated)
_OPENING = re.compile(r"[{\[]")
_REASONING_END = re.compile(r"</(?:think|thinking|thought|reasoning|analysis)>")
_BAD = re.compile("[\0\ud800-\udfff]")
