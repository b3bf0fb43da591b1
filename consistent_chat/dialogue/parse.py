"""Extracts messages from a model's raw answer, or gives a reason from a fixed list why it cannot.

It ignores what surrounds the JSON (fences, prose, reasoning) and nothing else: it never repairs, cuts, pads or invents
a message.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from consistent_chat.request import Response, parsed_json

LONGEST_EMPTY = 64
"""Maximum characters of a text that may mean "no value", such as "null"."""
_UNSEEN = frozenset({"Cf", "Cc", "Cn", "Co", "Zs", "Zl", "Zp", "Mn"})
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Unicode letters and signs that look like a space: Hangul fillers, the blank braille pattern."""
_MARKS = frozenset({"Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sk"})
_NOTHING = frozenset({"null", "n/a", "n.a", "nan", "nil", "undefined", "object object"})
"""Texts that programs print for a missing value, without surrounding punctuation."""
MAX_FAILURES = 5_000
MAX_REREADING = 20
"""Bounds on the time for hostile text.

First, the maximum number of brackets that are tried but do not open JSON; then the maximum number of characters read
for them, as a multiple of the text's length.
"""


class Reason(str, Enum):
    """Why an answer is unusable. The values appear in files of failures and in reports."""

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
    NEAR_DUPLICATE = "near_duplicate"
    ANSWERS_ITSELF = "answers_itself"
    LEAKS_PROMPT = "leaks_prompt"
    EMPTY_COURTESY = "empty_courtesy"
    BROKEN_OFF = "broken_off"
    MENTIONS_LIST = "mentions_list"
    REPEATS = "repeats"
    MIXED_ROLES = "mixed_roles"
    WRONG_LANGUAGE = "wrong_language"
    NO_WORDS = "no_words"
    GARBLED = "garbled"
    LEFTOVERS = "leftovers"
    NUMBERED = "numbered"
    LOOPS = "loops"
    PLACEHOLDER = "placeholder"
    FOREIGN_SCRIPT = "foreign_script"
    BOILERPLATE = "boilerplate"
    LEAKS_REASONING = "leaks_reasoning"
    SWAPPED_ROLES = "swapped_roles"
    NO_SCORE = "no_score"
    LOW_SCORE = "low_score"
    GROUNDED = "grounded"
    RULE = "rule"
    REJECTED = "rejected"
    CONTAMINATED = "contaminated"
    NO_PREFERENCE = "no_preference"


class Unusable(Exception):
    """An answer that cannot be used: the reason, and what was found."""

    def __init__(self, reason: Reason, detail: str, turn: int | None = None) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.turn = turn
        self.reason = reason
        self.detail = detail


def messages(response: Response, names: Sequence[str]) -> tuple[str, ...]:
    """Return the messages of a JSON object with exactly these keys, in their order.

    If there is no such object, a list with the right number of texts is accepted, either alone or as an object's only
    value. Raises Unusable.
    """
    check_finish(response)
    read = reader(names)
    return read(json_answer(response, read))


def reader(names: Sequence[str]) -> Callable[[Any], tuple[str, ...]]:
    """Return a function that reads a JSON value as messages with these keys, or raises Unusable."""
    return functools.partial(_read, names=names)


def scores(response: Response, criteria: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """Return a score (a whole number from 1 to 5) and a reason for each criterion. Raises Unusable."""
    check_finish(response)
    read = functools.partial(read_scores, criteria=criteria)
    return read(json_answer(response, read))


def json_answer(response: Response, read: Callable[[Any], object]) -> Any:
    """Return the JSON of the answer. Some servers put it into the reasoning field and leave the text empty."""
    if response.text.strip() or not response.reasoning.strip():
        return last_json(response.text, read)[1]
    try:
        return last_json(response.reasoning, read)[1]
    except Unusable as error:
        detail = f"the text is empty, and its reasoning (reasoning_content) holds no answer either: {error.detail}"
        raise Unusable(error.reason, detail) from None


def check_finish(response: Response) -> None:
    """Raise Unusable if the model declined, or if the response was cut off."""
    if response.finish == "refusal":
        raise Unusable(Reason.REFUSED, "the model declined to answer")
    if response.finish == "length":
        raise Unusable(Reason.TRUNCATED, "the answer was cut off at the token limit")


def read_scores(value: Any, criteria: Sequence[str], further: Sequence[str] = ()) -> tuple[tuple[int, str], ...]:
    """Return the score and the reason for each criterion of an object, which may have further keys. Raises Unusable."""
    names = {*further, *(name for criterion in criteria for name in (criterion, f"{criterion}_reason"))}
    if isinstance(value, _Repeated):
        raise Unusable(Reason.REPEATED_KEY, "a JSON object has the same key twice")
    if not isinstance(value, dict) or value.keys() != names:
        raise Unusable(Reason.WRONG_SHAPE, f"not an object with {', '.join(criteria)} and a reason for each")
    return tuple(
        (_score(value[name], name), message_text(value[f"{name}_reason"], f"{name}_reason")) for name in criteria
    )


def _score(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5:
        raise Unusable(Reason.NO_SCORE, f"{name!r} is not a whole number from 1 to 5")
    return value


def _read(value: Any, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(message_text, _values(value, names), names))


def _values(value: Any, names: Sequence[str]) -> list[Any]:
    if type(value) is dict and len(value) == len(names) and all(map(value.__contains__, names)):  # as nearly always
        return [value[name] for name in names]
    if isinstance(value, _Repeated):
        raise Unusable(Reason.REPEATED_KEY, "a JSON object has the same key twice")
    if isinstance(value, dict) and len(value) == 1:
        ((key, only),) = value.items()
        value = only if isinstance(only, list) and key not in names else value
    if isinstance(value, dict):
        if value.keys() != set(names):
            raise Unusable(*_difference(value, names))
        return [value[name] for name in names]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Unusable(Reason.WRONG_SHAPE, f"{type(value).__name__} instead of an object with {names[0]!r}")
    if len(value) != len(names):
        raise Unusable(Reason.WRONG_TURN_COUNT, f"{len(value)} messages instead of {len(names)}")
    return value


def _difference(value: dict[str, Any], names: Sequence[str]) -> tuple[Reason, str]:
    stem = names[0].rpartition("_")[0]
    if not any(re.fullmatch(rf"{stem}_\d+", key) for key in value):
        return Reason.WRONG_SHAPE, f"an object without {names[0]!r}"
    missing = [name for name in names if name not in value]
    if missing and _is_answer(names[0]) and len(value) < len(names):
        return Reason.UNANSWERED, f"no {missing[0]!r}"
    if len(value) == len(names):
        return Reason.WRONG_TURN_COUNT, f"no {missing[0]!r}, but another key in its place"
    return Reason.WRONG_TURN_COUNT, f"{len(value)} messages instead of {len(names)}"


def message_text(value: Any, name: str) -> str:
    """Return a message without surrounding white space; raise Unusable if it is not visible text."""
    if not isinstance(value, str):
        raise Unusable(*_no_text(value, name))
    text = value.strip()
    is_plain = len(text) >= LONGEST_EMPTY and text[0] in _ALPHANUMERIC and "\0" not in text
    if is_plain and (text.isascii() or _is_whole(text)):  # as nearly always
        return text
    if not text or is_empty(text, name):
        raise Unusable(Reason.UNANSWERED if _is_answer(name) else Reason.EMPTY_MESSAGE, f"{name!r} is empty")
    if "\0" in text or not (text.isascii() or _is_whole(text)):
        raise Unusable(Reason.BAD_CHARACTER, f"{name!r} has NUL or a lone surrogate")
    return text


def is_empty(text: str, name: str) -> bool:
    """Return whether a text has nothing visible or means "no text": "null" or, in an answer, "..." or "N/A"."""
    first = text[:1] if text[:1].isascii() else ""
    if not "!" <= first <= "~" and all(map(_is_unseen, text)):
        return True
    if not _is_answer(name):
        return _core(text) in _NOTHING_SAID or text in _EMPTY_VALUES
    are_marks = not first.isalnum() and all(map(_is_mark, text))
    return are_marks or _core(text) in _NOTHING or (len(text) == 4 and text.lower() == "none")


_ALPHANUMERIC = frozenset(filter(str.isalnum, map(chr, range(128))))
_NOTHING_SAID = _NOTHING - {"n/a", "n.a", "nan"}  # a user may say these
_EMPTY_VALUES = frozenset({"[]", "{}", '""', "''"})


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN or character in _BLANKS


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in _MARKS or _is_unseen(character)


_ASCII_MARKS = "".join(filter(_is_mark, map(chr, range(128))))


def _core(text: str) -> str:
    """Return a short text in lower case and plain letters, without surrounding punctuation."""
    if len(text) >= LONGEST_EMPTY:
        return ""
    if text.isascii():
        return text.lower().strip(_ASCII_MARKS)
    plain = unicodedata.normalize("NFKC", text).lower()
    return plain.strip("".join(filter(_is_mark, plain)))


def _no_text(value: Any, name: str) -> tuple[Reason, str]:
    if value is None and _is_answer(name):
        return Reason.UNANSWERED, f"{name!r} is null"
    return Reason.NOT_TEXT, f"{name!r} is of type {type(value).__name__}"


def _is_answer(name: str) -> bool:
    return name.startswith("assistant")


def _is_whole(text: str) -> bool:
    """Return whether a text has no lone surrogate. Encoding the text is twice as fast as a regex."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def last_json(text: str, read: Callable[[Any], object]) -> tuple[int, Any]:
    """Return the last JSON value in a text that has the expected shape, else the last plausible one, and its start.

    Objects take precedence over lists: an object was requested, and prose may contain a list of the same length.
    """
    try:
        return 0, _whole(text.strip())
    except (ValueError, RecursionError):
        pass
    located = candidates(text)
    end = end_of_reasoning(text, located)
    found = [(start, value) for start, _, value in located if start >= end]
    ranked = sorted(found, key=lambda one: isinstance(one[1], dict))
    for start, value in reversed(ranked):
        try:
            read(value)
            return start, value
        except Unusable:
            continue
    meant = [one for one in found if isinstance(one[1], dict) or (one[1] and isinstance(one[1], list))]
    if not meant:
        raise Unusable(Reason.NO_JSON, f"no JSON object in {len(text)} characters")
    return meant[-1]


def _whole(text: str) -> Any:
    """Return the value of a text that is only JSON.

    This is faster than `decode`, which runs two regexes for white space.
    """
    if (texts := _texts(text)) is not None:
        return texts
    value, end = _DECODER.raw_decode(text)
    if end < len(text):
        raise ValueError(f"JSON ends at {end} of {len(text)} characters")
    return value


def _texts(text: str) -> dict[str, str] | None:
    """Return the value of a text that is one JSON object of texts, as most answers are; None for any other text.

    A decoder that detects repeated keys takes six times as long. An object that repeats none has four quotation marks
    per value, besides escaped ones.
    """
    try:
        value = parsed_json(text)
    except (ValueError, RecursionError):
        return None
    if type(value) is not dict:
        return None
    further = text.count('"') - 4 * len(value)
    if further and ("\\\\" in text or further != text.count('\\"')):  # after one backslash, it is an escaped one
        return None
    return value if _ONLY_TEXTS.issuperset(map(type, value.values())) else None


_ONLY_TEXTS = frozenset({str})


def candidates(text: str) -> list[tuple[int, int, Any]]:
    """Return (start, end, value) of the outermost JSON objects and lists in a text, in order."""
    if "{" not in text and "[" not in text:  # the regex takes 0.25 s for 5 MB of prose
        return []
    found, position, failures, reread = [], 0, 0, 0
    while failures < MAX_FAILURES and reread <= MAX_REREADING * len(text):
        opening = _OPENING.search(text, position)
        if opening is None:
            break
        start = opening.end() - 1
        try:
            value, position = _DECODER.raw_decode(text, start)
            found.append((start, position, value))
        except (ValueError, RecursionError) as error:
            position = opening.end()
            failures += 1
            reread += _read_until(error, text) - start
    return found


def _read_until(error: Exception, text: str) -> int:
    """Return how far the decoder read into a text. For an unterminated string the decoder reports only the start."""
    if isinstance(error, json.JSONDecodeError) and not error.msg.startswith("Unterminated string"):
        return error.pos
    return len(text)


def end_of_reasoning(text: str, found: list[tuple[int, int, Any]]) -> int:
    """Return where the model's reasoning ends: after the last closing tag outside the strings of the JSON."""
    edges = [0, *(edge for start, stop, _ in found for edge in (start, stop)), len(text)]
    gaps = zip(edges[::2], edges[1::2])
    return max((tag.end() for gap in gaps for tag in REASONING_END.finditer(text, *gap)), default=0)


class _Repeated(dict[str, Any]):
    """A JSON object with a duplicate key."""


def _noting_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    return mapping if len(mapping) == len(pairs) else _Repeated(mapping)


# strict=False accepts raw line breaks inside strings, which many models write.
_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_noting_repeats)
# An object may be anywhere; a list must start a line, since values["key"] is code.
_OPENING = re.compile(r"(?:\{|^[ \t]*\[)(?=\s*[\"{\[])", re.MULTILINE)
REASONING_END = re.compile(r"</(?:think|thinking|thought|reasoning|analysis)>", re.IGNORECASE)
