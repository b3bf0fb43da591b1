"""Personas, splits, a system prompt, checks, near-duplicate removal and a judge work together in one recipe."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import load_dataset

from consistent_chat.card import About, Seen, card
from consistent_chat.commands.estimate import estimate
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue.judge import CRITERIA
from consistent_chat.drivers import RunStats
from consistent_chat.reports import Summary, report
from tests.provider import Call, Provider, Reply

WRITER, JUDGE = "claude-sonnet-4-6", "claude-haiku-4-5"
RECIPE: dict[str, Any] = {
    "model": WRITER,
    "judge_model": JUDGE,
    "min_score": 3,
    "drop_near_duplicates": True,
    "splits": {"train": 4, "validation": 1, "test": 1},
    "system_prompt": "You are the ship's cook of the Marigold.",
    "personas": ["a nurse on night shifts", "a retired clockmaker"],
    "num_turns_per_dialog": 2,
    "intents": ["simulation", "educational", "transaction"],
}
NOUNS = (
    "garden engine river teacher budget lantern bicycle kettle harbour novel window forest contract violin "
    "invoice mountain orchard camera passport bridge sweater telescope bakery"
)


def answered(call: Call) -> Reply:
    """Return a different text for each request; some fail a check, the judge or the search for near-duplicates."""
    drawn = random.Random(f"{call.mark} {call.attempt}")
    if call.stage == "judge":
        scores: dict[str, Any] = {f"{name}_reason": "So it is." for name in CRITERIA}
        scores |= {name: drawn.choice([4, 5]) for name in CRITERIA}
        return Reply.text(json.dumps({**scores, "consistency": 2} if drawn.random() < 0.25 else scores))
    if call.stage == "skeleton" and drawn.random() < 0.4:
        drawn = random.Random("the same again")
    said = {name: f"What of the {' and the '.join(drawn.sample(NOUNS.split(), 6))}?" for name in call.names}
    if call.stage == "answers" and drawn.random() < 0.2:
        said[call.names[0]] = "Sure! Let me know if you have any questions."
    return Reply.text(json.dumps(said))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build once, write `rows.json` and `stats.json` next to the store, and return the store's location."""
    folder = tmp_path_factory.mktemp("together")
    with Provider(answered) as provider:
        called = {"serving": "anthropic", "base_url": provider.url, "api_key": "a-key"}
        builder = open_builder(None, cache_dir=str(folder / "cache"), responses=str(folder / "s"), **called, **RECIPE)
        builder.download_and_prepare()
    total = RunStats()
    for stats in builder.all_stats.values():
        total.add(stats.counts())
    (folder / "rows.json").write_text(json.dumps({split: list(rows) for split, rows in builder.as_dataset().items()}))
    (folder / "stats.json").write_text(json.dumps(total.counts()))
    return str(folder / "s")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a separate cache for each test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def beside(store: str, name: str) -> Any:
    """Read a JSON file that the build left next to its responses."""
    return json.loads(Path(store).with_name(name).read_text())


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("given", [{}, {"streaming": True}, {"num_proc": 2}])
def test_the_same_rows_come_out_again(store: str, given: dict[str, Any]) -> None:
    """A replay, a stream and two processes give the rows of the build, which had failures of three kinds."""
    made = load_dataset("consistent_chat", responses=store, **RECIPE, **given)
    assert {split: list(rows) for split, rows in made.items()} == beside(store, "rows.json")
    assert set(beside(store, "stats.json")["failed"]) == {"low_score", "empty_courtesy", "near_duplicate"}


def read(store: str, way: str) -> Summary:
    """Return the report on the recipe or on the store by itself."""
    return report(store) if way == "store" else report(None, responses=store, **RECIPE)


@pytest.mark.parametrize("way", ["recipe", "store"])
def test_a_report_has_the_judge_and_its_price(store: str, way: str) -> None:
    """The report has the judge's cost under its own model, its scores, and the number of dialogues that it rejected."""
    summary = read(store, way)
    assert [used.model for used in summary.used] == [JUDGE, WRITER]
    assert list(summary.scores) == [f"judgement: {name}" for name in CRITERIA]
    assert summary.total.reasons["low_score"] > 0
    assert all(used.cost for used in summary.used)
    assert min(summary.scores["judgement: consistency"]) >= (3 if way == "recipe" else 2)


def test_a_store_by_itself_knows_what_all_of_it_cost(store: str) -> None:
    """The report on a store shows the same cost as the build, within 5%."""
    spent = sum(used.cost or 0 for used in report(store).used)
    assert spent == pytest.approx(beside(store, "stats.json")["cost"], rel=0.05)


def test_a_card_tells_of_the_judge(store: str) -> None:
    """The card names the judge, and the card's cost and number of near-duplicates match the report."""
    builder = open_builder(None, responses=store, **RECIPE)
    seen = Seen()
    for split in builder.recipes:
        for dialogue in builder.replay(split):
            seen.see(split, dialogue)
    recipes = builder.recipes
    summary = read(store, "recipe")
    assert seen.cost(recipes) == pytest.approx(sum(used.cost or 0 for used in summary.used))
    about = About("me/it", "hf://datasets/me/it", "it", recipes, dict.fromkeys(recipes, "r.yaml"))
    text = card(about, seen)
    assert "<code>claude-haiku-4-5</code> scored each dialogue from 1 to 5" in text
    assert f"- {summary.total.reasons['near_duplicate']} near&#95;duplicate" in text


def test_nothing_is_left_to_estimate(store: str) -> None:
    """The estimate finds no missing responses, even though substitutes replaced some specs."""
    builder = open_builder(None, responses=store, **RECIPE)
    assert beside(store, "stats.json")["substitutes"] > 0
    for split, plan in builder.plans().items():
        assert estimate(builder.recipes[split], plan, builder.store()).missing == 0
