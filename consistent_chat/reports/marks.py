"""Marks in the making: those of a review that can be changed, and the file in which they are kept."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.files import atomic_write
from consistent_chat.recipe import file, review
from consistent_chat.recipe.review import Mark, Review
from consistent_chat.recipe.safe_yaml import Document


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
