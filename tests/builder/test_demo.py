"""The demo loads from recorded responses that ship with the package, without a key or a network."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset, load_dataset

from consistent_chat import drivers
from consistent_chat.builder.config import DEMO, DEMOS
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.files import file_digest
from consistent_chat.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import canonical_json
from consistent_chat.store import ResponseStore
from tests import ROOT
from tools import record_demo


@pytest.fixture(scope="module")
def demo() -> Dataset:
    """Return the demo as a user loads it."""
    return load_dataset("consistent_chat", "demo", split="train")


def test_it_has_two_dialogues_for_each_intent(demo: Dataset) -> None:
    """The demo has 18 dialogues of six turns, two per intent, and all messages differ."""
    intents = Counter(row["intent"] for row in demo["provenance"])
    assert len(intents) == 9
    assert set(intents.values()) == {2}
    assert all([message["role"] for message in talk] == ["user", "assistant"] * 6 for talk in demo["conversation"])
    values = [message["value"] for talk in demo["conversation"] for message in talk]
    assert len(set(values)) == 18 * 12


def test_its_model_is_named_honestly(demo: Dataset) -> None:
    """The provenance names the model "demo", so a reader cannot mistake the text for a provider's model's."""
    assert {row["model"] for row in demo["provenance"]} == {"demo"}


def test_the_bytes_of_its_store_are_those_of_the_first_version() -> None:
    """Responses without newer fields are written as in the first version, so stored records keep their digests."""
    journal = DEMO / "responses" / "journals" / "demo.jsonl"
    assert file_digest(journal) == "51808dd4bf9100d82d4368f25cf9964f254d4e0aab29f1e32b6b0379cf9d7838"
    for record in ResponseStore(str(DEMO / "responses")).records():
        assert canonical_json(record.kept.answer().plain()).decode() == record.response


def test_it_shows_how_failed_draws_are_walked_through() -> None:
    """Three draws in the demo fail, each for a different reason, and each is replaced by another draw."""
    stats = RunStats()
    recipe = Recipe.from_file(str(DEMO / "demo.consistent_chat.yaml"))
    list(drivers.run(recipe, range(18), ResponseStore(str(DEMO / "responses")), None, Limits(), stats))
    assert stats.failed == {"wrong_turn_count": 1, "truncated": 1, "no_json": 1}


@pytest.mark.parametrize("name", record_demo.DEMOS)
def test_the_recorded_responses_are_those_that_were_written(name: str, tmp_path: Path) -> None:
    """tools/record_demo.py reproduces the shipped bytes, so prompts, plan, keys and dialogues agree."""
    record_demo.main(tmp_path, name)
    shipped = record_demo.PACKAGE / name / "responses"
    for path in shipped.rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(shipped)).read_bytes() == path.read_bytes(), path.name


def test_another_demo_has_other_languages_and_code() -> None:
    """The other demo has one split of two dialogues per recipe, in its language; the split `code` contains code."""
    made = load_dataset("consistent_chat", "demo_languages")
    assert {split: len(rows) for split, rows in made.items()} == dict.fromkeys(DEMOS["demo_languages"], 2)
    assert {row["provenance"]["model"] for rows in made.values() for row in rows} == {"demo"}
    told = {split: json.dumps(rows["conversation"][:], ensure_ascii=False) for split, rows in made.items()}
    assert re.search("[ぁ-ん]", told["japanese"])
    assert all(re.search(r"\b(nicht|que)\b", told[split]) for split in ("german", "spanish"))
    assert all("`" in json.dumps(talk) for talk in made["code"]["conversation"])


def test_no_draw_of_the_other_demo_failed() -> None:
    """Every recorded response of the other demo passes every check at the first draw, in every language."""
    for recipe in record_demo.recipes("demo_languages"):
        stats = RunStats()
        store = ResponseStore(str(record_demo.PACKAGE / "demo_languages" / "responses"))
        assert len(list(drivers.run(recipe, range(2), store, None, Limits(), stats))) == 2
        assert not stats.failed


def test_it_follows_the_built_in_taxonomy_unselected(demo: Dataset) -> None:
    """The demo uses the first specs of the default plan, and each row has the values of its spec."""
    specs = list(Plan(Recipe(model="demo", num_dialogs_per_intent=2)))
    told = [(row["category"], row["provenance"]["topic"], row["provenance"]["persona"]) for row in demo]
    assert told == [(spec.category, spec.topic, spec.persona) for spec in specs]


def test_it_varies_as_conversations_do(demo: Dataset) -> None:
    """Users are brief and lengths uneven (MT-Bench-101: median 11, variation 0.7 to 0.8); no stock phrases occur."""
    lengths: dict[str, list[int]] = {"user": [], "assistant": []}
    stale = re.compile(
        r"great question|as an ai|language model|assistant_\d|user_\d|happy to help|feel free", re.IGNORECASE
    )
    for talk in demo["conversation"]:
        assert not stale.search(json.dumps(talk))
        for message in talk:
            lengths[message["role"]].append(len(message["value"].split()))
    assert 9 <= statistics.median(lengths["user"]) <= 13
    assert all(0.7 <= statistics.pstdev(found) / statistics.mean(found) <= 0.9 for found in lengths.values())


@pytest.mark.slow
def test_it_reaches_for_no_network(tmp_path: Path) -> None:
    """Loading the demo opens no connection, although `datasets` reports the loads of its own builders to a server."""
    script = """
import socket, sys
sys.addaudithook(lambda event, given: event in ("socket.connect", "socket.getaddrinfo") and print(event, given))
import consistent_chat, datasets
assert len(datasets.load_dataset("consistent_chat", "demo", split="train")) == 18
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_it_leaves_nothing_behind(demo: Dataset, tmp_path: Path) -> None:
    """Loading the demo creates no response store."""
    load_dataset(
        "consistent_chat", "demo", split="train", responses=str(tmp_path / "none"), download_mode="force_redownload"
    )
    assert not (tmp_path / "none").exists()
