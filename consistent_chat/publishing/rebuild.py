"""Builds the rows and failures of a dataset as Parquet files, from the recipes and responses in a folder.

The files have no metadata of `datasets`, so that every version reads them and every version gives the same bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from consistent_chat import row
from consistent_chat.commands.failures import FAILURES
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.publishing import layout
from consistent_chat.recipe import Recipe

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
