"""The rows and failures of a dataset as Parquet files, made anew from a folder's recipes and responses alone.

They are written without what `datasets` would note in them, so that every version of it reads them, and the same bytes
come out under any.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from consistent_chat import row
from consistent_chat.dialogue import Dialogue
from consistent_chat.export import FAILURES
from consistent_chat.opening import open_builder
from consistent_chat.publishing import layout
from consistent_chat.recipe import Recipe

MESSAGES_PER_FILE = 250_000
"""Of about a kilobyte each at the most, so that a file has a few hundred megabytes."""
ROWS_PER_GROUP = 1_000
_WRITING: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True, "write_page_index": True}
_FAILURES = FAILURES.arrow_schema.remove_metadata()

See = Callable[[str, Dialogue], None]


def rebuild(folder: Path, recipes: Mapping[str, str], output: Path, see: See = lambda split, dialogue: None) -> None:
    """Write the rows and failures of a folder's recipes, by split, into another one (or the same).

    Nobody is called. `see` gets every dialogue, in order. Raises MissingResponse, DamagedRecord, RecipeError.
    """
    files = {split: str(folder / path) for split, path in recipes.items()}
    builder = open_builder(files, responses=str(folder / layout.RESPONSES), mode="replay")
    schema = builder.info.features.arrow_schema.remove_metadata()
    for name in layout.ROWS:
        (output / name).mkdir(parents=True, exist_ok=True)
    for split, plan in builder.plans().items():
        with pq.ParquetWriter(output / layout.failures(split), _FAILURES, **_WRITING) as unusable:
            dialogues = _seen(builder.replay(split), split, see, unusable)
            for path, count in _shards(split, len(plan), builder.recipes[split]):
                _write(itertools.islice(dialogues, count), builder.recipes[split], schema, output / path)


def _seen(dialogues: Iterable[Dialogue], split: str, see: See, unusable: pq.ParquetWriter) -> Iterator[Dialogue]:
    for dialogue in dialogues:
        see(split, dialogue)
        if dialogue.failed:
            failures = [{"split": split, **failure} for failure in row.failures(dialogue)]
            unusable.write_table(pa.Table.from_pylist(failures, _FAILURES))
        yield dialogue


def _shards(split: str, length: int, recipe: Recipe) -> list[tuple[str, int]]:
    """Return the path of each file of a split's rows, and how many rows it has: a function of the recipe alone."""
    most = max(ROWS_PER_GROUP, MESSAGES_PER_FILE // (2 * recipe.num_turns_per_dialog))
    starts = range(0, length, most)
    return [
        (layout.shard(split, number, len(starts)), min(most, length - start)) for number, start in enumerate(starts)
    ]


def _write(dialogues: Iterator[Dialogue], recipe: Recipe, schema: pa.Schema, path: Path) -> None:
    with pq.ParquetWriter(path, schema, **_WRITING) as writer:
        while group := [row.row(dialogue, recipe) for dialogue in itertools.islice(dialogues, ROWS_PER_GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, schema))
