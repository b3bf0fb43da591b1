"""Builds a folder with all files of a published dataset except its card and manifest."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from consistent_chat import drivers
from consistent_chat.builder import ConsistentChat
from consistent_chat.dialogue.at_once import fill
from consistent_chat.drivers.replay import walk
from consistent_chat.errors import MissingResponse
from consistent_chat.plan.plan import Plan
from consistent_chat.publishing import layout, recipe_file
from consistent_chat.publishing.rebuild import See, rebuild
from consistent_chat.recipe import EXTENSION, Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.backends import MARKED, MARKER
from consistent_chat.store.pack import write_pack
from consistent_chat.store.record import Record

RECORDS_PER_PACK = 20_000
"""Number of records in a pack. A larger dataset of the same recipe starts with the same packs: they are sent once."""


@dataclass(frozen=True)
class Made:
    """A folder, and the recipe and recipe file of each split."""

    folder: Path
    recipes: Mapping[str, Recipe]
    files: Mapping[str, str]


def make(builder: ConsistentChat, name: str, folder: Path, see: See) -> Made:
    """Build the files of a dataset from recorded responses. `name` is the recipe's name; `see` gets every dialogue.

    The rows are made from the responses in the folder, so they are exactly what can be rebuilt from it. Raises
    MissingResponse, UnfilledSlot, PublishError.
    """
    responses = folder / layout.RESPONSES
    responses.mkdir()
    (responses / MARKER).write_bytes(MARKED)
    for records in _batches(select(builder.recipes, builder.recorded())):
        write_pack(records, responses / "packs")
    files = recipe_names(builder.recipes, name)
    for split, file in files.items():
        recipe_file.write(builder.recipes[split], folder / file)
    rebuild(folder, files, folder, see)
    return Made(folder, builder.recipes, files)


def recipe_names(recipes: Mapping[str, Recipe], name: str) -> dict[str, str]:
    """Return the name of each split's recipe file: by the dataset's name if it has one split, else by the split's."""
    return {split: f"{name if len(recipes) == 1 else split}{EXTENSION}" for split in recipes}


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(itertools.islice(records, RECORDS_PER_PACK)):
        yield batch


NAMED = 8
"""Number of dialogues without a response that an error names; it counts all of them."""


def select(recipes: Mapping[str, Recipe], store: ResponseStore) -> Iterator[Record]:
    """Yield the records that a replay of these recipes uses, each once, in the order of splits, plans and draws.

    All get generation 0; superseded records are left out. Raises UnfilledSlot. After the last record it raises
    MissingResponse if responses are missing: the message names the first dialogues without one and their number.
    """
    missing: list[tuple[str, int]] = []
    first, total, used = "", 0, _Noting(store)
    for split, recipe in recipes.items():
        plan = Plan(recipe)
        total += len(plan)
        try:
            for _ in drivers.run(recipe, range(len(plan)), used, None, drivers.Limits(), drivers.RunStats()):  # type: ignore[arg-type]
                yield from used.taken()
        except MissingResponse as error:
            first = first or str(error)
            walks = (walk(partial(fill, recipe, plan, index), used) for index in range(len(plan)))
            lacking = [index for index, progress in enumerate(walks) if isinstance(progress.step, Request)]
            missing += [(split, index) for index in lacking] or [(split, -1)]
        yield from used.taken()
    if missing:
        raise MissingResponse(_message(first, missing, total))


class _Noting:
    """A store that remembers the records found in it."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store
        self._found: list[Record] = []
        self._seen: set[str] = set()
        self.records, self.close = store.records, store.close
        self.note_checks, self.mark_checked = store.note_checks, store.mark_checked

    def find(self, request: Request) -> Response | None:
        """Return a response as `ResponseStore.find` does."""
        response = self._store.find(request)
        if response is not None:
            self._note(request, response)
        return response

    def find_all(self, request: Request) -> list[Response]:
        """Return all responses as `ResponseStore.find_all` does."""
        responses = self._store.find_all(request)
        for response in responses:
            self._note(request, response)
        return responses

    def taken(self) -> list[Record]:
        """Return the records found since the last call, each once."""
        found, self._found = self._found, []
        return found

    def _note(self, request: Request, response: Response) -> None:
        record = Record.of(request, response)
        if record.digest not in self._seen:
            self._seen.add(record.digest)
            self._found.append(record)


def _message(first: str, missing: list[tuple[str, int]], total: int) -> str:
    named = ", ".join(f"{split} {index}" for split, index in missing[:NAMED])
    more = ", ..." if len(missing) > NAMED else ""
    return f"{len(missing):,} of {total:,} dialogues lack a response ({named}{more}), so nothing is published. {first}"
