"""What a recipe takes in the three forms, side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistent_chat.cli import main
from consistent_chat.commands.forms import compare
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe


def test_calls_waves_and_prices_of_the_three_forms() -> None:
    """Two, seven and twelve calls for six turns; each form costs more than the one before it."""
    recipe = Recipe(model="claude-haiku-4-5", num_dialogs_per_intent=20)
    forms = compare(recipe, Plan(recipe))
    assert [form.waves for form in forms] == [2, 7, 12]
    assert [form.calls for form in forms] == [360, 1260, 2160]
    costs = [form.cost or 0 for form in forms]
    assert 0 < costs[0] < costs[1] < costs[2]


def test_forms_that_do_not_combine_are_left_out() -> None:
    """With several answers to choose from there is only one form."""
    recipe = Recipe(model="m", num_answers=2, judge_model="j")
    (form,) = compare(recipe, Plan(recipe))
    assert (form.answers, form.waves, form.cost) == ("at_once", 5, None)


def test_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An estimate of a recipe turn by turn shows the others beside it."""
    monkeypatch.chdir(tmp_path)
    options = ["--model", "claude-haiku-4-5", "--responses", "here", "--num-dialogs-per-intent", "1"]
    assert main(["estimate", *options, "--answers", "turn_by_turn"]) == 0
    told = capsys.readouterr().out
    assert "to do: 63 calls" in told
    assert "users at_once, answers at_once: 2 waves, 18 calls" in told
    assert "users turn_by_turn, answers turn_by_turn: 12 waves, 108 calls" in told
