"""Builds a folder with all files of a published dataset except its manifest.

The rows and failures are rebuilt from the recipes and responses in the folder. Their files have no metadata of
`datasets`, so that every version reads them and every version gives the same bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from consistent_chat import card, drivers, row
from consistent_chat.builder import ConsistentChat
from consistent_chat.card import About, Seen
from consistent_chat.commands.build import FAILURES
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers.replay import walk
from consistent_chat.errors import MissingResponse
from consistent_chat.plan.plan import Plan
from consistent_chat.publishing import layout, recipe_file
from consistent_chat.publishing.hub import RepoTarget
from consistent_chat.recipe import EXTENSION, Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.backends import MARKED, MARKER
from consistent_chat.store.pack import write_pack
from consistent_chat.store.record import Record

RECORDS_PER_PACK = 20_000
"""Number of records in a pack.

A larger dataset of the same recipe starts with the same packs, which are sent only once.
"""


@dataclass(frozen=True)
class Made:
    """A folder, and the recipe and recipe file of each split."""

    folder: Path
    recipes: Mapping[str, Recipe]
    files: Mapping[str, str]


def make(builder: ConsistentChat, name: str, folder: Path, see: See) -> Made:
    """Build the files of a dataset from recorded responses. `name` is the recipe's name; `see` gets every dialogue.

    The rows are made from the responses in the folder, so they are exactly the rows that can be rebuilt from it. If
    columns of the seeds are withheld, the folder has no responses, and the rows are made from the builder's own. Raises
    MissingResponse, UnfilledSlot, PublishError.
    """
    responses = folder / layout.RESPONSES
    responses.mkdir()
    (responses / MARKER).write_bytes(MARKED)
    withheld = recipe_file.withheld_of(builder.recipes.values())
    for records in _batches(select(builder.recipes, builder.recorded())):
        if not withheld:  # the requests that are stored with the responses quote the sources
            write_pack(records, responses / "packs")
    files = recipe_names(builder.recipes, name)
    for split, file in files.items():
        recipe_file.write(builder.recipes[split], folder / file)
    if withheld:
        _write_rows(builder, folder, see)
    else:
        rebuild(folder, files, folder, see)
    return Made(folder, builder.recipes, files)


def describe(made: Made, target: RepoTarget, licence: str | None, seen: Seen, previous: str) -> dict[str, bytes]:
    """Return the card and its plots by path. Text that users wrote into the previous card is kept.

    Raises ConsistentChatError if the header of the previous card cannot be read.
    """
    about = About(
        name=str(target),
        url=target.url,
        title=target.title,
        recipes=made.recipes,
        files=made.files,
        configs=list(layout.configs(made.folder, made.recipes)),
        licence=licence,
        withheld=recipe_file.withheld_of(made.recipes.values()),
    )
    return {path: text.encode("utf-8") for path, text in card.files(about, seen, previous).items()}


def recipe_names(recipes: Mapping[str, Recipe], name: str) -> dict[str, str]:
    """Return the name of each split's recipe file: the dataset's name if it has one split, else the split's name."""
    return {split: f"{name if len(recipes) == 1 else split}{EXTENSION}" for split in recipes}


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(itertools.islice(records, RECORDS_PER_PACK)):
        yield batch


NAMED = 8
"""Maximum number of dialogues without a response that an error names. The error counts all of them."""


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
        self.records, self.close, self.read_ahead = store.records, store.close, store.read_ahead
        self.note_checks, self.mark_checked = store.note_checks, store.mark_checked

    def find(self, request: Request) -> Response | None:
        """Return a response like `ResponseStore.find`."""
        response = self._store.find(request)
        if response is not None:
            self._note(request, response)
        return response

    def find_all(self, request: Request) -> list[Response]:
        """Return all responses like `ResponseStore.find_all`."""
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


MESSAGES_PER_FILE = 250_000
"""Maximum number of rows in a file. Rows have a few kilobytes, so a file has a few hundred megabytes."""
ROWS_PER_GROUP = 1_000
_WRITING: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True, "write_page_index": True}
_FAILURES = FAILURES.arrow_schema.remove_metadata()

See = Callable[[str, Dialogue], None]


def rebuild(folder: Path, recipes: Mapping[str, str], output: Path, see: See = lambda split, dialogue: None) -> None:
    """Write the rows and failures of a folder's recipes, by split, into another folder or the same one.

    Makes no calls. `see` gets every dialogue, in order. Raises MissingResponse, DamagedRecord, RecipeError.
    """
    files = {split: str(folder / path) for split, path in recipes.items()}
    builder = open_builder(files, responses=str(folder / layout.RESPONSES), mode="replay")
    _write_rows(builder, output, see)


def _write_rows(builder: ConsistentChat, output: Path, see: See) -> None:
    schema = builder.info.features.arrow_schema.remove_metadata()
    for split, plan in builder.plans().items():
        recipe = builder.recipes[split]
        with _Table(output / layout.failures(split), _FAILURES) as failures:
            dialogues = _seen(builder.replay(split), split, see, failures)
            for path, count in _shards(split, len(plan), recipe):
                with _Table(output / path, schema) as rows:
                    for dialogue in itertools.islice(dialogues, count):
                        rows.add(row.row(dialogue, recipe))


class _Table:
    """Writes a Parquet file in groups of rows. Without rows it creates no file."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._writer: Any = None
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def add(self, values: dict[str, Any]) -> None:
        """Append a row."""
        self._rows.append(values)
        if len(self._rows) == ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._path.parent.mkdir(exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, self._schema, **_WRITING)
        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows = []


def _seen(dialogues: Iterable[Dialogue], split: str, see: See, failures: _Table) -> Iterator[Dialogue]:
    for dialogue in dialogues:
        see(split, dialogue)
        for failure in row.failures(dialogue):
            failures.add({"split": split, **failure})
        yield dialogue


def _shards(split: str, length: int, recipe: Recipe) -> list[tuple[str, int]]:
    """Return the path of each file of a split's rows and its number of rows. They depend on the recipe only."""
    most = max(ROWS_PER_GROUP, MESSAGES_PER_FILE // (2 * recipe.most_turns))
    starts = range(0, length, most)
    return [
        (layout.shard(split, number, len(starts)), min(most, length - start)) for number, start in enumerate(starts)
    ]
