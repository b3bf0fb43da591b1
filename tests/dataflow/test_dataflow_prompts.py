"""DataFlow's operator with prompt objects: exact counts, and answers in the format that the prompts ask for."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.errors import RecipeError
from tests import dataflow_parts
from tests.dataflow_parts import (
    TheirPrompt,
    TheirServing,
    is_exact,
    made,
)

no_pauses = dataflow_parts.no_pauses


def test_a_prompt_objects_dialogues_are_exact(tmp_path: Path) -> None:
    """The prompt object decides the number of intents, the operator that of turns, and the model names the category."""
    serving = TheirServing()
    frame = made(serving, tmp_path, prompt_template=TheirPrompt())
    assert is_exact(frame, 4)
    assert set(frame["category"]) == {"Bread"}
    assert [len(call) for call in serving.calls] == [4, 4]
    assert all("exactly 3" in system for system in serving.systems)


def test_a_prompt_object_draws_the_same_again(tmp_path: Path) -> None:
    """The recipe's seed makes prompts repeatable, and the global state of `random` is unchanged afterwards."""
    random.seed(1)
    expected = random.Random(1).random()
    first = made(TheirServing(), tmp_path, prompt_template=TheirPrompt(), num_dialogs_per_intent=9)
    assert random.random() == expected
    assert made(None, tmp_path, prompt_template=TheirPrompt(), num_dialogs_per_intent=9, model="their-model").equals(
        first
    )
    other = TheirServing()
    made(other, tmp_path, prompt_template=TheirPrompt(), num_dialogs_per_intent=9, seed=1)
    assert len(other.calls[0]) > 9


def test_equal_skeletons_have_answers_of_their_own(tmp_path: Path) -> None:
    """Dialogues with equal questions have separate answers."""
    serving, number = TheirServing(), itertools.count()
    same = json.dumps({"category": "Bread", "turns": ["one", "two", "three"]})
    serving.script = lambda prompt, tries: (
        json.dumps([{"response": f"{next(number)}"}] * 3) if prompt.startswith("On ") else same
    )
    frame = made(serving, tmp_path, prompt_template=TheirPrompt())
    assert {talk[1]["value"] for talk in frame["conversation"]} == {"0", "1", "2", "3"}
    assert made(None, tmp_path, prompt_template=TheirPrompt(), model="their-model").equals(frame)


SHAPES: dict[str, Any] = {
    "as it should be": [{"response": "a"}, {"response": "b"}, {"response": "c"}],
    "within an object": {"responses": [{"response": "a"}, {"response": "b"}, {"response": "c"}]},
    "texts": ["a", "b", "c"],
    "an object's only value": {"answers": ["a", "b", "c"]},
}


NO_SHAPES: dict[str, Any] = {
    "too few": [{"response": "a"}],
    "too many": [{"response": "a"}] * 4,
    "an empty one": [{"response": "a"}, {"response": " "}, {"response": "c"}],
    "no response in it": [{"answer": "a"}] * 3,
    "numbers": {"responses": [1, 2, 3]},
    "another object": {"answers": ["a", "b", "c"], "more": [1]},
    "text": "a, b, c",
}


@pytest.mark.parametrize("shape", [*SHAPES.values(), *NO_SHAPES.values()], ids=[*SHAPES, *NO_SHAPES])
def test_answers_to_a_prompt_object_are_read_or_drawn_again(shape: Any, tmp_path: Path) -> None:
    """Answers in the formats of DataFlow's prompts are read, and answers in other formats are drawn again."""
    serving = TheirServing(lambda prompt, tries: json.dumps(shape) if prompt.startswith("On ") and not tries else ...)
    frame = made(serving, tmp_path, prompt_template=TheirPrompt())
    assert is_exact(frame, 4)
    taken = [message["value"] for message in frame["conversation"][0][1::2]]
    assert taken == (["a", "b", "c"] if shape in SHAPES.values() else ["answer 0", "answer 1", "answer 2"])


SKELETONS: dict[str, Any] = {
    "too few": {"category": "Bread", "turns": ["one"]},
    "no category": {"turns": ["one", "two", "three"]},
    "no turns": {"category": "Bread"},
    "no object": ["one", "two", "three"],
    "an empty turn": {"category": "Bread", "turns": ["one", "", "three"]},
}


@pytest.mark.parametrize("shape", SKELETONS.values(), ids=SKELETONS)
def test_skeletons_of_a_wrong_shape_are_drawn_again(shape: Any, tmp_path: Path) -> None:
    """Skeletons in a wrong format are drawn again, and never padded."""
    serving = TheirServing(
        lambda prompt, tries: json.dumps(shape) if not prompt.startswith("On ") and not tries else ...
    )
    frame = made(serving, tmp_path, prompt_template=TheirPrompt())
    assert is_exact(frame, 4)
    assert frame["conversation"][0][0]["value"].startswith("question 0")


def test_of_more_turns_the_first_are_taken(tmp_path: Path) -> None:
    """Surplus turns are cut off.

    DataFlow's own prompt asks for 6 to 8 turns, whatever num_turns_per_dialog is.
    """
    long = json.dumps({"category": "Bread", "turns": [f"turn {number}" for number in range(8)]})
    serving = TheirServing(lambda prompt, tries: ... if prompt.startswith("On ") else long)
    frame = made(serving, tmp_path, prompt_template=TheirPrompt())
    assert [message["value"] for message in frame["conversation"][0][::2]] == ["turn 0", "turn 1", "turn 2"]
    assert "turn 3" not in serving.calls[1][0]


def test_a_prompt_that_fails_for_good_is_replaced(tmp_path: Path) -> None:
    """A prompt that has only unusable responses is replaced by another prompt of the same intent."""
    serving = TheirServing()
    serving.script = lambda prompt, tries: "No." if prompt == serving.calls[0][3] else ...
    frame = made(serving, tmp_path, prompt_template=TheirPrompt(), max_draws=2)
    assert is_exact(frame, 4)
    assert serving.calls[0][3].startswith("buy: ")
    assert serving.calls[0][3] not in frame["conversation"][3][0]["value"]
    assert "buy: " in frame["conversation"][3][0]["value"]


def test_a_prompt_object_of_another_kind_is_one_message(tmp_path: Path) -> None:
    """A wrong prompt object raises an error with the exception of its method or the type of its result."""

    class Other:
        def build_prompt(self) -> str:
            return "?"

    class Wrong:
        def build_prompt(self, **given: Any) -> str:
            return "?"

    for template, message in ((Other(), "failed with TypeError"), (Wrong(), "must return a list of texts, not str")):
        with pytest.raises(RecipeError, match=message):
            made(TheirServing(), tmp_path, prompt_template=template)
