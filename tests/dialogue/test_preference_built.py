"""Test preference pairs in recipes and builds: their columns, splits and costs, and the server that answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Features, Value, load_dataset, load_dataset_builder

from consistent_chat import drivers
from consistent_chat.builder.features import features
from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.cli import main
from consistent_chat.commands.estimate import estimate
from consistent_chat.commands.preview import requests
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.errors import RecipeError
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.serving.roles import ServingByRole
from consistent_chat.store import ResponseStore
from tests.answers import Answers
from tests.dialogue.test_preference import FIELDS, _answer, better


def test_the_columns_are_those_that_trl_reads() -> None:
    """The columns `prompt`, `chosen` and `rejected` are lists of messages: TRL's conversational preference format."""
    columns = features(Recipe(**FIELDS, preferences={}))
    messages = [{"role": Value("string"), "content": Value("string")}]
    assert {name: columns[name] for name in ("prompt", "chosen", "rejected")} == Features(
        prompt=messages, chosen=messages, rejected=messages
    )


def test_only_recipes_that_use_it_change() -> None:
    """Explicit defaults give the same fingerprint as omitted fields; every other value of `preferences` changes it."""
    plain = Recipe(**{**FIELDS, "min_score": 2})
    assert fingerprint(Recipe(**FIELDS, min_score=2, preferences=None)) == fingerprint(plain)
    parts = [{}, {"rejected_model": "s"}, {"temperature": 1}, {"turn": "last"}, {"min_gap": 2}]
    assert len({fingerprint(Recipe(**FIELDS, preferences=part)) for part in parts}) == 5
    spelt = {"rejected_model": None, "temperature": None, "turn": "drawn", "min_gap": 1}
    assert fingerprint(Recipe(**FIELDS, preferences=spelt)) == fingerprint(Recipe(**FIELDS, preferences={}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preferences": {"rejected": "x"}}, "there is no 'rejected'. Did you mean 'rejected_model'?"),
        ({"preferences": {"rejected_model": "http://x/y"}}, "preferences.rejected_model must be the name of a model"),
        ({"preferences": {"turn": "first"}}, "preferences.turn must be one of drawn, last"),
        ({"preferences": {"min_gap": 5}}, "preferences.min_gap must be a number from 0 to 4"),
        ({"preferences": {"temperature": 3}}, "preferences.temperature must be a number from 0 to 2"),
        ({"preferences": {}, "layout": "messages"}, "preferences needs layout 'preference' and a judge"),
        ({"preferences": {}, "layout": "kto", "min_score": 3}, "preferences needs layout 'preference'"),
        ({"preferences": {}, "judge_model": None}, "preferences needs layout 'preference' and a judge"),
        ({"preferences": {}, "reasoning": True}, "layout 'preference' has no reasoning"),
    ],
)
def test_what_makes_no_pairs_is_said(given: dict[str, Any], message: str) -> None:
    """A recipe whose `preferences` cannot make pairs is refused when it is created, before any call."""
    with pytest.raises(RecipeError, match=message.replace("(", r"\(").replace("?", r"\?")):
        Recipe(**{**FIELDS, **given})


@pytest.mark.usefixtures("folder")
def test_splits_have_the_columns_of_pairs_or_none() -> None:
    """A split with pairs of answers and a split with pairs of whole dialogues cannot be combined.

    Their columns differ, although both have the layout `preference`.
    """
    for name, own in (("train", {"preferences": {}}), ("test", {"min_score": 3})):
        Path(f"{name}.consistent_chat.yaml").write_text(json.dumps({**FIELDS, **own}))
    files = {name: f"{name}.consistent_chat.yaml" for name in ("train", "test")}
    with pytest.raises(RecipeError, match="All splits must have the same columns"):
        load_dataset_builder("consistent_chat", data_files=files)


@pytest.mark.usefixtures("folder")
def test_a_rehearsal_has_a_pair_for_each_dialogue(capsys: pytest.CaptureFixture[str]) -> None:
    """A rehearsal makes a pair for each dialogue, and a replay gives the same rows.

    `estimate` counts all calls, and `preview` shows the request for the alternative answer.
    """
    given: dict[str, Any] = {
        "intents": ["simulation"], "num_dialogs_per_intent": 3, "judge_model": "rehearsal", "layout": "preference",
        "preferences": {"rejected_model": "rehearsal", "temperature": 1.0}, "responses": "responses",
    }  # fmt: skip
    options = ["--intents", "simulation", "--num-dialogs-per-intent", "3", "--judge-model", "judge",
               "--layout", "preference", "--preferences", '{"rejected_model": "student"}', "--model", "m"]  # fmt: skip
    assert main(["estimate", *options, "--responses", "none"]) == 0
    assert "18 calls" in capsys.readouterr().out
    made_rows = list(load_dataset("consistent_chat", serving="rehearsal", split="train", **given))
    assert len(made_rows) == 3
    assert all(row["score_chosen"] == 5.0 and row["score_rejected"] == 1.0 for row in made_rows)
    replayed = list(load_dataset("consistent_chat", model="rehearsal", split="train", streaming=True, **given))
    assert replayed == made_rows
    shown = requests(Recipe(**{**FIELDS, "preferences": {"rejected_model": "student"}}), 1)
    assert [one.request.stage for one in shown][:4] == ["skeleton", "answers", "judge", "alternative"]


def test_a_limit_of_dollars_needs_the_price_of_the_other_model(tmp_path: Path) -> None:
    """A cost limit is refused before any call if the price of the rejected model is not known."""
    priced = {"model": "claude-sonnet-4-6", "judge_model": "claude-haiku-4-5"}
    recipe, answers = Recipe(**{**FIELDS, **priced, "preferences": {"rejected_model": "student"}}), Answers()
    store, limits = ResponseStore(str(tmp_path)), Limits(max_cost=1.0)
    with pytest.raises(RecipeError, match="no price is known for the model 'student'"):
        next(drivers.run(recipe, [0], store, lambda: answers, limits, RunStats()))
    assert not answers.calls


def test_an_estimate_counts_what_is_compared_again(tmp_path: Path) -> None:
    """An estimate includes both comparisons of each alternative answer that had no winner."""
    recipe = Recipe(**{**FIELDS, "num_turns_per_dialog": 1, "preferences": {}, "num_dialogs_per_intent": 1})

    def scores(first: str, second: str) -> tuple[int, int]:
        return (3, 3) if "Other amber" in first + second else better(first, second)

    serving, store = Answers(lambda request, _: _answer(request, scores)), ResponseStore(str(tmp_path))
    list(drivers.run(recipe, [0], store, lambda: serving, Limits(), RunStats()))
    assert serving.calls == 9
    assert estimate(recipe, Plan(recipe), ResponseStore(str(tmp_path))).calls == 8 * 9


def test_the_other_answers_have_a_server_of_their_own(tmp_path: Path) -> None:
    """The server of the role `alternative` receives only the requests for other answers.

    The judge's server compares the answers.
    """
    recipe = Recipe(**{**FIELDS, "num_turns_per_dialog": 1, "preferences": {"rejected_model": "student"}})
    servings = {role: Answers(lambda request, _: _answer(request, better)) for role in recipe.roles}
    serving, store = ServingByRole(servings), ResponseStore(str(tmp_path))
    (done,) = drivers.run(recipe, [0], store, lambda: serving, Limits(), RunStats())
    asked = {role: one.calls for role, one in servings.items()}
    assert asked == {"user": 1, "assistant": 1, "judge": 3, "alternative": 1}
    assert list(servings["alternative"].asked) == [done.pair.keys[0]] if done.pair else False
