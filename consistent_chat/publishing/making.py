"""A folder with all that a published dataset has, but its card and manifest."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from consistent_chat.builder import ConsistentChat
from consistent_chat.publishing import layout, recipe_file
from consistent_chat.publishing.rebuilding import See, rebuild
from consistent_chat.publishing.selecting import select
from consistent_chat.recipe import EXTENSION, Recipe
from consistent_chat.store.pack import write_pack
from consistent_chat.store.record import Record
from consistent_chat.store.writing import MARKED, MARKER

RECORDS_PER_PACK = 20_000
"""A larger dataset of the same recipe begins with the packs of the smaller one, which are then not sent again."""


@dataclass(frozen=True)
class Made:
    """A folder, and the recipe and the recipe's file of each split."""

    folder: Path
    recipes: Mapping[str, Recipe]
    files: Mapping[str, str]


def make(builder: ConsistentChat, name: str, folder: Path, see: See) -> Made:
    """Make the files of a dataset from what is recorded; `name` is that of its recipe, `see` gets every dialogue.

    The rows are made from the responses in the folder: what is published is what can be rebuilt. Raises
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
    """Return the name of each split's recipe file: the dataset's where there is one split, else the split's."""
    return {split: f"{name if len(recipes) == 1 else split}{EXTENSION}" for split in recipes}


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(itertools.islice(records, RECORDS_PER_PACK)):
        yield batch
