"""A review: what people say about single dialogues. A mark names its dialogue by request keys, so it survives growth.

    marks:
    - keys: [sha256:..., sha256:...]
      verdict: reject
      reason: the second answer is wrong
    - keys: [sha256:..., sha256:...]
      verdict: keep
      edits: {assistant_2: "..."}

The file may be a stranger's, so it is plain data, and everything in it is checked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.fields import one_of, suggestion, text, type_error
from consistent_chat.recipe.safe_yaml import Document

FIELDS = ("keys", "verdict", "reason", "note", "edits")
VERDICTS = ("keep", "reject")
MAX_MARKS = 20_000
MAX_KEYS = 300
"""Maximum number of keys of a mark. A dialogue has from two responses to two per turn, and those of judges."""
MAX_REASON, MAX_MESSAGE = 2_000, 100_000
_KEY = re.compile("sha256:[0-9a-f]{64}")
_MESSAGE = re.compile("(?:user|assistant)_[1-9][0-9]{0,2}")
_UNPRINTED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON does not escape and YAML cannot read."""


@dataclass(frozen=True)
class Mark:
    """What a person says about the dialogue with these response keys. `edits` are messages by name."""

    keys: tuple[str, ...]
    verdict: str = "keep"
    reason: str = ""
    note: str = ""
    edits: tuple[tuple[str, str], ...] = ()

    @property
    def plain(self) -> dict[str, Any]:
        """The mark as in a file, without empty fields."""
        values = {"keys": list(self.keys), "verdict": self.verdict, "reason": self.reason, "note": self.note}
        return {name: value for name, value in {**values, "edits": dict(self.edits)}.items() if value}


@dataclass(frozen=True)
class Review:
    """Marks, in the order of the file. Reviews with equal marks are equal, whichever file they come from."""

    marks: tuple[Mark, ...]

    @property
    def plain(self) -> dict[str, Any]:
        """The review as in a file."""
        return {"marks": [mark.plain for mark in self.marks]}

    @property
    def text(self) -> str:
        """The review as the text of a file, which `load` reads back as it is."""
        return "".join([_HEAD, *map(_lines, self.marks)]) if self.marks else f"{_HEAD.rstrip()} []\n"

    @cached_property
    def _by_key(self) -> dict[str, Mark]:
        return {key: mark for mark in self.marks for key in mark.keys}

    def of(self, key: str) -> Mark | None:
        """Return the mark of the dialogue whose last answers have this key. Each key belongs to one dialogue."""
        return self._by_key.get(key)


def load(document: Document, path: tuple[str, ...] = ()) -> Review:
    """Return the review in a document, or at a path in it. Raises RecipeError, which names the line of the error."""
    values = document.data
    if not isinstance(values, Mapping) or values.keys() - {"marks"} or not isinstance(values.get("marks"), list):
        raise RecipeError(f"{document.where(*path)}: review must be a mapping with `marks`, a list.")
    if len(values["marks"]) > MAX_MARKS:
        raise RecipeError(f"{document.where(*path)}: review must have at most {MAX_MARKS:,} marks.")
    marks: list[Mark] = []
    seen: dict[frozenset[str], int] = {}
    for number, given in enumerate(values["marks"]):
        try:
            mark = _mark(given)
        except RecipeError as error:
            raise RecipeError(f"{document.where(*path, 'marks', number)}: {error}") from None
        earlier = seen.setdefault(frozenset(mark.keys), number)
        if earlier != number:
            raise RecipeError(
                f"{document.where(*path, 'marks', number)}: a review must have one mark for each dialogue; mark "
                f"{earlier + 1} names the same one."
            )
        marks.append(mark)
    return Review(tuple(marks))


def _mark(given: Any) -> Mark:
    if not isinstance(given, Mapping):
        raise type_error("a mark", given, f"a mapping of {', '.join(FIELDS)}")
    for name in given:
        if name not in FIELDS:
            raise RecipeError(f"a mark has no field {name!r}.{suggestion(name, FIELDS)}")
    verdict = one_of(*VERDICTS)("verdict", given.get("verdict", "keep"))
    reason, note = (_optional(name, given.get(name)) for name in ("reason", "note"))
    if verdict == "reject" and not reason:
        raise RecipeError("a mark that rejects must have a reason.")
    edits = _edits(given.get("edits") or {})
    if verdict == "reject" and edits:
        raise RecipeError("a mark that rejects must have no edits, because its dialogue is replaced.")
    return Mark(_keys(given.get("keys")), verdict, reason, note, edits)


def _keys(value: Any) -> tuple[str, ...]:
    is_list = isinstance(value, Sequence) and not isinstance(value, str) and 1 <= len(value) <= MAX_KEYS
    if not is_list or not all(isinstance(key, str) and _KEY.fullmatch(key) for key in value):
        raise type_error("keys", value, f"1 to {MAX_KEYS} request keys, sha256:<64 hex digits>")
    return tuple(value)


def _optional(name: str, value: Any) -> str:
    return "" if value in (None, "") else str(text(MAX_REASON)(name, value))


def _edits(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise type_error("edits", value, "a mapping of messages, such as assistant_2, to their texts")
    for name in value:
        if not isinstance(name, str) or not _MESSAGE.fullmatch(name):
            raise type_error("edits must name messages: one", name, "user_<turn> or assistant_<turn>")
    return tuple((name, str(text(MAX_MESSAGE)(f"edits.{name}", given))) for name, given in value.items())


_HEAD = "# People's marks, for the recipe field `review`.\nmarks:\n"


def _lines(mark: Mark) -> str:
    """Return a mark as YAML, with all texts in quotes as in JSON."""
    said = [f"- keys: [{', '.join(map(_quoted, mark.keys))}]", f"  verdict: {mark.verdict}"]
    said += [f"  {name}: {_quoted(value)}" for name, value in (("reason", mark.reason), ("note", mark.note)) if value]
    said += ["  edits:"] if mark.edits else []
    said += [f"    {name}: {_quoted(value)}" for name, value in mark.edits]
    return "\n".join(said) + "\n"


def _quoted(value: str) -> str:
    return _UNPRINTED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
