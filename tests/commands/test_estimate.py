"""The estimate shows what a build will cost before it runs, and the basis of the numbers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import datasets
import pytest

from consistent_chat import drivers
from consistent_chat.cli import main
from consistent_chat.commands.estimate import BATCH_DISCOUNT, LOOKED_AT, TOKENS_PER_CHARACTER, estimate
from consistent_chat.dialogue.at_once import fill
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from tests.answers import Answers
from tests.provider import Provider

RECIPE = Recipe(model="claude-haiku-4-5", num_dialogs_per_intent=20)

WORDS = [
    "river",
    "stone",
    "market",
    "evening",
    "bicycle",
    "window",
    "garden",
    "letter",
    "kitchen",
    "winter",
    "morning",
    "train",
    "paper",
    "forest",
    "bridge",
]


def _words(dice: random.Random, characters: int) -> str:
    """Return a text of a given length that no check reports as a loop."""
    return " ".join(dice.choices(WORDS, k=characters))[:characters].strip()


def varied(request: Request, attempt: int) -> Response:
    """Return an answer whose length depends on the request; one in ten is unusable, and tokens are counted."""
    dice = random.Random(request.key)
    long = 150 if "user_1" in request.schema["required"] else 600
    texts = {name: _words(dice, dice.randint(long // 2, long * 3 // 2)) for name in request.schema["required"]}
    text = json.dumps(texts) if dice.random() > 0.1 else "no"
    asked = len(request.system) + sum(len(message["content"]) for message in request.messages)
    return Response(text, input_tokens=asked // 3, output_tokens=max(1, len(text) // 5))


def build(place: str, recipe: Recipe, indices: range) -> RunStats:
    """Make the dialogues at these indices and return the stats of the run."""
    stats = RunStats()
    store = ResponseStore(place)
    list(drivers.run(recipe, indices, store, lambda: Answers(varied), Limits(), stats))
    return stats


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_after_a_pilot_it_is_within_a_fifth_of_what_the_build_reports(place: str, seed: int) -> None:
    """After a pilot, calls, tokens and cost are within a fifth of the build's, although answers vary and some fail."""
    recipe = Recipe(model="claude-haiku-4-5", num_dialogs_per_intent=20, seed=seed, checks=False)
    plan = Plan(recipe)
    build(place, recipe, range(18))
    told = estimate(recipe, plan, ResponseStore(place))
    took = build(place, recipe, range(len(plan)))
    assert told.missing == 162
    assert told.measured >= 36
    assert told.calls == pytest.approx(took.calls, rel=0.2)
    assert told.input_tokens == pytest.approx(took.input_tokens, rel=0.2)
    assert told.output_tokens == pytest.approx(took.output_tokens, rel=0.2)
    assert told.cost == pytest.approx(took.cost, rel=0.2)


@pytest.mark.slow
def test_before_anything_is_recorded_the_prompts_are_rendered(place: str) -> None:
    """With an empty store, the estimate counts the characters of the rendered first-stage prompts."""
    plan = Plan(RECIPE)
    first = [next(fill(RECIPE, plan, index)) for index in range(len(plan))]
    characters = sum(len(request.system) + len(request.messages[0]["content"]) for request in first)
    told = estimate(RECIPE, plan, ResponseStore(place))
    assert (told.missing, told.calls, told.measured) == (180, 360, 0)
    assert TOKENS_PER_CHARACTER * characters < told.input_tokens < 3 * TOKENS_PER_CHARACTER * characters
    assert "the lengths that the plan sets" in str(told)


@pytest.mark.slow
def test_more_turns_take_more(place: str) -> None:
    """Eight turns take about four times the output tokens of two turns, and more input tokens."""
    few, many = (Recipe(model="m", num_turns_per_dialog=turns) for turns in (2, 8))
    short, long = (estimate(recipe, Plan(recipe), ResponseStore(place)) for recipe in (few, many))
    assert long.output_tokens == pytest.approx(4 * short.output_tokens, rel=0.15)
    assert short.input_tokens < long.input_tokens


PAIRED: dict[str, Any] = {"judge_model": "j", "layout": "preference", "preferences": {"rejected_model": "m"}}


@pytest.mark.parametrize(
    ("given", "calls"),
    [({}, 18), ({"answers": "turn_by_turn"}, 27), pytest.param(PAIRED, 54, marks=pytest.mark.slow)],
    ids=["at once", "turn by turn", "pairs"],
)
@pytest.mark.parametrize("rule", [{"required": ["hello"]}, {"max_words": 2}])
def test_own_rules_do_not_hold_for_placeholders(given: dict[str, Any], calls: int, rule: Any, place: str) -> None:
    """The recipe's own rules do not apply to the estimate's placeholders, which could never satisfy them."""
    made = Recipe(model="m", num_dialogs_per_intent=1, num_turns_per_dialog=2, rules={"own": rule}, **given)
    assert estimate(made, Plan(made), ResponseStore(place)).calls == calls


@pytest.mark.slow
def test_what_is_recorded_costs_nothing_more(place: str) -> None:
    """With all responses recorded, the estimate is zero and says that nothing is left to do."""
    recipe = Recipe(model="claude-haiku-4-5", num_dialogs_per_intent=3)
    plan = Plan(recipe)
    build(place, recipe, range(len(plan)))
    told = estimate(recipe, plan, ResponseStore(place))
    assert (told.missing, told.calls, told.input_tokens, told.output_tokens) == (0, 0, 0, 0)
    assert str(told) == "27 dialogues, 27 of them recorded: nothing left to do"


def test_an_unknown_price_is_said(place: str) -> None:
    """Without a known price, the tokens are still shown; with one, the estimate shows half of it for a batch."""
    unknown = Recipe(model="my-own-model")
    assert "cost: no price is known for 'my-own-model'" in str(estimate(unknown, Plan(unknown), ResponseStore(place)))
    told = estimate(RECIPE, Plan(RECIPE), ResponseStore(place))
    assert told.cost is not None
    assert f"as a batch ${told.cost * BATCH_DISCOUNT:,.4f}" in str(told)


@pytest.mark.slow
def test_of_a_large_plan_a_part_is_looked_at(place: str) -> None:
    """For a large plan, the estimate samples all intents equally, and the total is accurate within one percent."""
    few, many = (Recipe(model="m", num_dialogs_per_intent=count) for count in (100, 10_000))
    assert len(Plan(many)) > 10 * LOOKED_AT
    small, large = (estimate(recipe, Plan(recipe), ResponseStore(place)) for recipe in (few, many))
    assert (large.missing, large.calls) == (90_000, 180_000)
    assert large.input_tokens == pytest.approx(100 * small.input_tokens, rel=0.01)


def test_the_command_makes_no_calls_and_a_pilot_is_part_of_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`estimate` makes no calls without `--pilot`, and the build reuses the pilot's responses."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    options = ("--responses", "responses", "--model", "claude-sonnet-4-6", "--num-dialogs-per-intent", "2")
    with Provider() as provider:
        calling = ("--serving", "anthropic", "--base-url", provider.url, "--api-key", "a-key")
        assert main(["estimate", *options, *calling]) == 0
        assert provider.requests == []
        assert main(["estimate", *options, *calling, "--pilot", "4"]) == 0
        assert len(provider.requests) == 8
        assert main(["build", *options, *calling, "--output", "made.jsonl"]) == 0
        assert len(provider.requests) == 36
    told = capsys.readouterr().out
    assert "train: 18 dialogues, 0 of them recorded\nto do: 36 calls, " in told
    assert "train: 18 dialogues, 4 of them recorded\nto do: 28 calls, " in told
    assert "basis: measured on 8 recorded answers" in told


@pytest.mark.slow
def test_a_pilot_of_a_large_plan_is_measured_whole(place: str) -> None:
    """All responses of a pilot are measured, although only a sample of a large plan is examined."""
    recipe = Recipe(model="claude-haiku-4-5", num_dialogs_per_intent=2_000)
    plan = Plan(recipe)
    took = build(place, recipe, range(30))
    told = estimate(recipe, plan, ResponseStore(place))
    assert (told.recorded, told.measured) == (took.calls, took.calls)
    assert (told.dialogues, told.missing) == (18_000, 17_970)
    assert 60 <= told.usable < told.recorded
    assert f"{told.usable:,} of all {told.recorded:,} were usable" in str(told)
    assert 1.0 < told.spread < 2.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_what_a_build_costs_lies_in_the_range(place: str, seed: int) -> None:
    """The range narrows with more recorded responses, and contains the actual cost of the build."""
    recipe = Recipe(model="claude-haiku-4-5", num_dialogs_per_intent=20, seed=seed, checks=False)
    plan, told = Plan(recipe), []
    for pilot in (9, 90):
        build(place, recipe, range(pilot))
        told.append(estimate(recipe, plan, ResponseStore(place)))
    took = build(place, recipe, range(len(plan)))
    assert told[1].spread < told[0].spread
    assert told[1].cost is not None
    assert took.cost is not None
    assert told[1].cost / told[1].spread <= took.cost <= told[1].cost * told[1].spread
