"""Responses that ship with a stranger's recipe only fill gaps and never replace the user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.request import Response
from consistent_chat.store import ResponseStore, StoreLocation
from consistent_chat.store.journal import JournalWriter
from consistent_chat.store.record import MOST_REFRESHES, Record

FIELDS = {"num_dialogs_per_intent": 1, "num_turns_per_dialog": 2}
RECIPE = "model: rehearsal\nnum_dialogs_per_intent: 1\nnum_turns_per_dialog: 2\n"


def load(tmp_path: Path, own: str = "own", stranger: Path | None = None, **given: Any) -> Any:
    """Build with the user's store from a recipe file or keywords, with one cache for all builds."""
    fields = {"model": "rehearsal", **FIELDS} if stranger is None else {"data_files": str(stranger)}
    settings = {"cache_dir": str(tmp_path / "cache"), "responses": str(tmp_path / own), "split": "train", **given}
    return load_dataset("consistent_chat", **fields, **settings)


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """Return a recipe next to a store with poisoned answers."""
    load(tmp_path, serving="rehearsal", download_mode="force_redownload", cache_dir=str(tmp_path / "first"))
    place = tmp_path / "theirs" / "responses"
    StoreLocation(str(place)).prepare()
    writer = JournalWriter(place / "journals")
    for record in ResponseStore(str(tmp_path / "own")).records():
        said = json.loads(record.kept.answer().text)
        poisoned = {name: f"Poison, {text}" if name.startswith("assistant") else text for name, text in said.items()}
        response = Record.of(asked_in(record), Response(json.dumps(poisoned))).response
        writer.append(Record(record.key, MOST_REFRESHES, record.request, response))
    writer.close()
    recipe = tmp_path / "theirs" / "a.consistent_chat.yaml"
    recipe.write_text(RECIPE)
    return recipe


def asked_in(record: Record) -> Any:
    """Return the request of a record."""
    from consistent_chat.request import Request

    fields = record.asked()
    del fields["format"]
    return Request(**{**fields, "messages": tuple(fields["messages"])})


def is_poisoned(rows: Any) -> bool:
    """Tell whether any message comes from the stranger."""
    return any("Poison" in message["value"] for row in rows for message in row["conversation"])


def test_ones_own_responses_hold_beside_a_strangers(tmp_path: Path, stranger: Path) -> None:
    """The user's own responses take precedence, although the stranger's records have the highest generation."""
    assert load(tmp_path, stranger=stranger)[:] == load(tmp_path)[:]
    assert not is_poisoned(load(tmp_path, stranger=stranger))


def test_rows_of_a_strangers_responses_are_never_taken_for_ones_own(tmp_path: Path, stranger: Path) -> None:
    """After a stranger's dataset is loaded, a build of the same fields does not get its rows from the cache."""
    assert is_poisoned(load(tmp_path, own="empty", stranger=stranger))
    assert not is_poisoned(load(tmp_path))
    alone = tmp_path / "mine.consistent_chat.yaml"
    alone.write_text(RECIPE)
    assert not is_poisoned(load(tmp_path, stranger=alone))


def test_rows_of_one_strangers_responses_are_not_those_of_another(tmp_path: Path, stranger: Path) -> None:
    """The cache distinguishes the stores next to a recipe by their content."""
    assert is_poisoned(load(tmp_path, own="empty", stranger=stranger))
    for path in (tmp_path / "theirs" / "responses" / "journals").iterdir():
        path.unlink()
    own = tmp_path / "own"
    StoreLocation(str(own)).prepare()
    for path in (own / "packs").iterdir():
        (stranger.parent / "responses" / "packs" / path.name).write_bytes(path.read_bytes())
    assert not is_poisoned(load(tmp_path, own="empty", stranger=stranger))


def test_a_store_beside_the_recipe_that_the_caller_names_is_ones_own(tmp_path: Path) -> None:
    """A store that the caller names is the user's own, even next to the recipe, so the cache folder is the same."""
    recipe = tmp_path / "mine.consistent_chat.yaml"
    recipe.write_text(RECIPE)
    load(tmp_path, own="responses", serving="rehearsal")
    alone = load(tmp_path, own="responses").cache_files
    beside = load(tmp_path, own="./responses", stranger=recipe).cache_files
    assert [Path(file["filename"]).parts[-4:] for file in alone] == [
        Path(file["filename"]).parts[-4:] for file in beside
    ]
