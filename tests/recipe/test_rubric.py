"""The field `judge`: its values, and how it combines with `judge_model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import Recipe

WRONG: list[tuple[Any, str]] = [
    ({}, "judge must be a mapping with model and criteria"),
    ([], "judge must be a mapping with model and criteria"),
    ({"modell": "m"}, "judge must have no field 'modell'. Did you mean 'model'"),
    ({"model": "http://x/v1"}, "judge must name models: one must be the name of a model, without '://'"),
    ({"model": []}, "judge must name 1 to 5 models, not 0"),
    ({"model": [*"abcdef"]}, "judge must name 1 to 5 models, not 6"),
    ({"model": ["a", "a"]}, "judge must name different models"),
    ({"criteria": {"tone": "x"}}, "judge must name a model"),
    ({"model": "m", "criteria": {}}, "criteria must be a mapping of 1 to 12 names"),
    ({"model": "m", "criteria": ["tone"]}, "criteria must be a mapping"),
    ({"model": "m", "criteria": {"Tone": "x"}}, "must have names of up to 40 lower-case letters"),
    ({"model": "m", "criteria": {5: "x"}}, "must have names of up to 40 lower-case letters"),
    ({"model": "m", "criteria": {"at_fault": "x"}}, "other than score, at_fault"),
    ({"model": "m", "criteria": {"a": "x", "a_reason": "y"}}, "must not have a_reason"),
    ({"model": "m", "criteria": {"tone": True}}, "criteria.tone must have a text. Only consistency"),
    ({"model": "m", "criteria": {"tone": {"weight": 2}}}, "criteria.tone must have a text"),
    ({"model": "m", "criteria": {"tone": 5}}, "criteria.tone.text must be valid text"),
    ({"model": "m", "criteria": {"tone": "x" * 2001}}, "criteria.tone.text must be valid text of 1 to 2,000"),
    ({"model": "m", "criteria": {"tone": {"text": "x", "wait": 2}}}, "must have no field 'wait'. Did you mean 'weigh"),
    ({"model": "m", "criteria": {"tone": {"text": "x", "weight": -1}}}, "tone.weight must be a number from 0 to 1000"),
    ({"model": "m", "criteria": {"tone": {"text": "x", "least": 6}}}, "tone.least must be a number from 1 to 5"),
    ({"model": "m", "criteria": {"tone": {"text": "x", "weight": 0}}}, "must have a criterion with a weight above 0"),
    ({"model": "m", "criteria": {"grounded": True}}, "judge must have your own text for grounded"),
    ({"model": "m", "criteria": {f"c{n}": "x" for n in range(13)}}, "criteria must be a mapping of 1 to 12"),
]


@pytest.mark.parametrize(("value", "message"), WRONG)
def test_a_wrong_judge_is_one_clear_message(value: Any, message: str) -> None:
    """A wrong value raises an error of one line that names the field, before any call."""
    with pytest.raises(RecipeError) as raised:
        Recipe(model="w", judge=value)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_model_is_given_once() -> None:
    """The model may be in either field. The same model in both is accepted, and different models are refused."""
    criteria = {"tone": "Kind?"}
    one = Recipe(model="w", judge={"model": "j", "criteria": criteria})
    assert one == Recipe(model="w", judge_model="j", judge={"criteria": criteria})
    assert one == Recipe(model="w", judge_model="j", judge={"model": "j", "criteria": criteria})
    with pytest.raises(RecipeError, match=r"judge.model and judge_model name different models \(j, k\)"):
        Recipe(model="w", judge_model="k", judge={"model": "j"})


def test_an_option_replaces_the_judges_of_a_file(tmp_path: Path) -> None:
    """The option `judge_model` replaces the models in a file's `judge`, and keeps its criteria.

    The option `judge` replaces the `judge_model` in a file.
    """
    (path := tmp_path / "a.yaml").write_text("judge:\n  model: [j, k]\n  criteria: {tone: Kind?}\n")
    (flat := tmp_path / "b.yaml").write_text("judge_model: j\n")
    made = Recipe.from_file(str(path), judge_model="other")
    assert (made.judges, made.judge) == (("other",), {"criteria": {"tone": {"text": "Kind?"}}})
    assert Recipe.from_file(str(flat), judge={"model": "other"}).judges == ("other",)


def test_an_error_of_a_file_has_its_line(tmp_path: Path) -> None:
    """An error in a file names the line, as for any other field."""
    (path := tmp_path / "a.yaml").write_text("model: m\njudge:\n  model: j\n  criteria: {tone: true}\n")
    with pytest.raises(RecipeError, match=r"^a\.yaml, line 2 \(judge\): judge must be valid: criteria.tone"):
        Recipe.from_file(str(path))


def test_grounded_is_built_in_for_seeds_with_a_source(tmp_path: Path) -> None:
    """The criterion `grounded` has a built-in text if the seeds have a source, so it needs no text in the recipe."""
    (data := tmp_path / "a.jsonl").write_text('{"body": "The lamp X200 is dimmable."}\n')
    seeds = {"data": str(data), "fields": {"source": "body"}}
    made = Recipe(model="w", seeds=seeds, judge={"model": "j", "criteria": {"grounded": True}})
    assert made.rubric is not None
    assert made.rubric.names == ("grounded",)
