"""The notes of an estimate show the limit that applies and the cost of the other forms of making dialogues."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistent_chat.cli import main
from consistent_chat.commands.estimate_notes import bound_by, compare
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.serving.settings import Abilities

DEFAULT = Recipe(model="some-model")


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (Abilities(), ""),
        (Abilities(context_tokens=32_768, max_output_tokens=16_384), ""),
        (Abilities(max_output_tokens=4096), "max_output_tokens= leaves 4,096 of 7,168 tokens"),
        (Abilities(context_tokens=8192), "context_tokens= leaves "),
        (Abilities(context_tokens=4096, max_output_tokens=8192), "context_tokens= leaves "),
        (Abilities(context_tokens=1024), "Set num_turns_per_dialog= to "),
    ],
)
def test_the_limit_that_binds_is_named(stated: Abilities, said: str) -> None:
    """The note names the limit and the tokens that it leaves, or what to change if nothing fits."""
    line = bound_by(DEFAULT, Plan(DEFAULT), stated)
    assert said in line
    assert bool(line) == bool(said)


def test_calls_waves_and_prices_of_the_three_forms() -> None:
    """The three forms take 2, 7 and 12 calls per dialogue of six turns, in as many waves, and each costs more."""
    recipe = Recipe(model="claude-haiku-4-5", num_dialogs_per_intent=20)
    forms = compare(recipe, Plan(recipe))
    assert [form.waves for form in forms] == [2, 7, 12]
    assert [form.calls for form in forms] == [360, 1260, 2160]
    costs = [form.cost or 0 for form in forms]
    assert 0 < costs[0] < costs[1] < costs[2]


def test_forms_that_do_not_combine_are_left_out() -> None:
    """A recipe with several answers to choose from has only one form."""
    recipe = Recipe(model="m", num_answers=2, judge_model="j")
    (form,) = compare(recipe, Plan(recipe))
    assert (form.answers, form.waves, form.cost) == ("at_once", 5, None)


def test_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate of a recipe turn by turn also shows the other forms."""
    monkeypatch.chdir(tmp_path)
    options = ["--model", "claude-haiku-4-5", "--responses", "here", "--num-dialogs-per-intent", "1"]
    assert main(["estimate", *options, "--answers", "turn_by_turn"]) == 0
    told = capsys.readouterr().out
    assert "to do: 63 calls" in told
    assert "users at_once, answers at_once: 2 waves, 18 calls" in told
    assert "users turn_by_turn, answers turn_by_turn: 12 waves, 108 calls" in told
