"""Marks of a review that can be changed: the file in which they are kept, and records of Argilla.

Records are the JSON that Argilla's `records.to_json` writes and `records.from_json` reads. A record has the key of a
dialogue's last answers as its id, the chat as the field `chat`, and the answers to four questions: `verdict` (keep or
reject), `reason`, `note`, and `edits`, a text with `assistant_2: ...` in YAML. Marks go out as suggestions, since
responses belong to users of a server. No server and no library is needed here.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.files import atomic_write, read_plain
from consistent_chat.recipe import file, review, safe_yaml
from consistent_chat.recipe.review import Mark, Review
from consistent_chat.recipe.safe_yaml import Document
from consistent_chat.reports.records import ReportRow


class Marks:
    """Marks in the order in which their dialogues were first marked. A dialogue is named by its answers' key."""

    def __init__(self, given: Sequence[Mark] = ()) -> None:
        self._marks: dict[int, Mark] = {}
        self._places: dict[str, int] = {}
        self._next = itertools.count()
        for mark in given:
            self._put(next(self._next), mark)

    def of(self, key: str) -> Mark | None:
        """Return the mark of a dialogue, or None."""
        return self._marks.get(self._places.get(key, -1))

    def change(self, key: str, keys: Sequence[str], **change: Any) -> Mark:
        """Change the mark of a dialogue, or make it one with these request keys. Raises RecipeError."""
        before = self.of(key) or Mark(tuple(keys))
        values: Mapping[str, Any] = {**before.plain, **change}
        document = Document({"marks": [{name: value for name, value in values.items() if value}]}, "the mark")
        try:
            (mark,) = review.load(document).marks
        except RecipeError as error:
            raise RecipeError(str(error).removeprefix("the mark (marks.0): ")) from None
        place = self._places.get(key)
        self._put(next(self._next) if place is None else place, mark)
        return mark

    def remove(self, key: str) -> None:
        """Remove the mark of a dialogue, if there is one."""
        self._marks.pop(self._places.get(key, -1), None)

    @property
    def review(self) -> Review:
        """The review with these marks."""
        return Review(tuple(self._marks.values()))

    def _put(self, place: int, mark: Mark) -> None:
        self._marks[place] = mark
        self._places.update(dict.fromkeys(mark.keys, place))


def read(path: str, base: Review | None = None) -> Marks:
    """Return the marks of a review file, if it exists, after those of `base`. Raises RecipeError."""
    before = () if base is None else base.marks
    found = review.load(file.read(path, {})).marks if os.path.exists(path) else ()
    named = {frozenset(mark.keys) for mark in found}
    return Marks([*(mark for mark in before if frozenset(mark.keys) not in named), *found])


def write(path: str, marks: Marks) -> None:
    """Write a review file; the old one is replaced at once."""
    with atomic_write(path) as target:
        target.write(marks.review.text.encode("utf-8"))


QUESTIONS = ("verdict", "reason", "note", "edits")
AGENT = "consistent_chat review"
MAX_BYTES = 1 << 30
"""Maximum size of a file of records: read at once, as Argilla reads it."""


def write_records(entries: Iterable[ReportRow], marks: Marks, path: str) -> str:
    """Write a record for each dialogue, and return what was written."""
    count = 0
    with atomic_write(path) as file:
        for count, entry in enumerate(entries, 1):
            record = _record(entry, marks.of(entry.answers_key))
            text = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace")
            file.write((b"[\n" if count == 1 else b",\n") + text)
        file.write(b"\n]\n" if count else b"[]\n")
    return f"{count:,} records are in {path}."


def _record(entry: ReportRow, mark: Mark | None) -> dict[str, Any]:
    chat = [{"role": role, "content": text} for role, text in entry.messages]
    said = {} if mark is None else {**mark.plain, "edits": _written(mark)}
    suggestions = {name: {"value": said[name], "score": None, "agent": AGENT} for name in QUESTIONS if said.get(name)}
    empty: dict[str, Any] = {"metadata": {}, "responses": {}, "vectors": {}}
    return {"id": entry.answers_key, "fields": {"chat": chat}, "suggestions": suggestions, **empty}


def _written(mark: Mark) -> str:
    return yaml.safe_dump(dict(mark.edits), allow_unicode=True, sort_keys=False) if mark.edits else ""


def read_records(path: str, marks: Marks, known: Mapping[str, Sequence[str]]) -> str:
    """Change marks to what the responses in a file of records say, and return how many there are.

    `known` are the request keys of dialogues by the ids of their records. Of several people's responses, one rejection
    rejects; their reasons and notes are joined. Raises RecipeError with the number of a wrong record.
    """
    taken = lacking = strange = 0
    for number, record in enumerate(_records(path), 1):
        where = f"{os.path.basename(path)}, record {number}"
        if not isinstance(record, Mapping) or not isinstance(record.get("id"), str):
            raise RecipeError(f"{where} is not a record of Argilla: it needs an id and responses.")
        said = _said(record.get("responses") or {}, where)
        if not said:
            continue
        key = record["id"]
        if said.get("verdict") == "reject" and not said.get("reason"):
            lacking += 1
        elif key not in known:
            strange += 1
        else:
            try:
                marks.change(key, known[key], **said)
            except RecipeError as error:
                raise RecipeError(f"{where}: {error}") from None
            taken += 1
    left = [f"{lacking:,} rejections without a reason"] if lacking else []
    left += [f"{strange:,} records of other dialogues"] if strange else []
    return f"{taken:,} marks read from {path}.{' Left out: ' + ', '.join(left) + '.' if left else ''}"


def _records(path: str) -> list[Any]:
    try:
        records = json.loads(read_plain(path, MAX_BYTES))
    except OSError as error:
        raise ConsistentChatError(f"{path} cannot be read: {error.strerror}. Check the path.") from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(
            f"{path} is not JSON: {error}. Pass the file that Argilla's records.to_json writes."
        ) from None
    if not isinstance(records, list):
        raise RecipeError(f"{path} must be a list of records. Pass the file that Argilla's records.to_json writes.")
    return records


def _said(responses: Any, where: str) -> dict[str, Any]:
    """Return the answers to our questions: `verdict`, `reason`, `note` and `edits`, each only if it was given."""
    if not isinstance(responses, Mapping):
        raise RecipeError(f"{where}: responses must be a mapping of questions to lists of responses.")
    given = {name: _values(responses.get(name), f"{where}: {name}") for name in QUESTIONS}
    said: dict[str, Any] = {name: "\n".join(given[name]) for name in ("reason", "note") if given[name]}
    if given["verdict"]:
        said["verdict"] = "reject" if "reject" in given["verdict"] else given["verdict"][0]
    edits: dict[str, Any] = {}
    for text in given["edits"]:
        found = safe_yaml.parse(text, f"{where}: edits").data
        if not isinstance(found, Mapping):
            raise RecipeError(f"{where}: edits must name messages, a line each, such as assistant_2: its new text")
        edits = {**found, **edits}  # of two edits of a message, the first
    if edits and said.get("verdict") != "reject":
        said["edits"] = edits
    return said


def _values(responses: Any, where: str) -> list[str]:
    """Return the texts of a question's responses, each once."""
    if responses is None:
        return []
    if not isinstance(responses, list) or not all(isinstance(one, Mapping) for one in responses):
        raise RecipeError(f"{where} must be a list of responses with a value.")
    values = [one.get("value") for one in responses]
    if not all(value is None or isinstance(value, str) for value in values):
        raise RecipeError(f"{where} must have texts as values.")
    return list(dict.fromkeys(value.strip() for value in values if value and value.strip()))
