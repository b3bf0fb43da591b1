"""DataFlow's operator interface, with any serving of theirs or ours, and no DataFlow installed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from consistent_chat import ConsistentChatGenerator
from consistent_chat.errors import RecipeError


class Storage:
    """A storage keeps the DataFrame that it is given."""

    def write(self, data: Any) -> None:
        self.data = data


class TheirServing:
    """Has DataFlow's one method; its first call fails, as theirs does: with None."""

    model_name = "their-model"

    def __init__(self) -> None:
        self.inputs: list[str] = []

    def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> list[str | None]:
        self.inputs += user_inputs
        if len(self.inputs) == 1:
            return [None]
        stem, turns = re.search(r'"(user|assistant)_1" to "\w+_(\d+)"', system_prompt).groups()  # type: ignore[union-attr]
        return [
            json.dumps({f"{stem}_{n}": f"{stem} {len(text)}" for n in range(1, int(turns) + 1)}) for text in user_inputs
        ]


@pytest.mark.parametrize("serving", [TheirServing(), "rehearsal"], ids=["theirs", "ours"])
def test_run_writes_exactly_what_is_asked_for(serving: Any, tmp_path: Path) -> None:
    """Two columns, exact counts, and the parameters reach the model."""
    storage = Storage()
    operator = ConsistentChatGenerator(
        serving, num_dialogs_per_intent=2, num_turns_per_dialog=3, temperature=0.5, responses=str(tmp_path)
    )
    assert operator.run(storage) == ["category", "conversation"]
    assert list(storage.data.columns) == ["category", "conversation"]
    assert [len(talk) for talk in storage.data["conversation"]] == [6] * 18
    assert storage.data["conversation"][0][0]["role"] == "user"


def test_a_second_run_calls_nobody(tmp_path: Path) -> None:
    """The responses are stored like any others."""
    serving = TheirServing()
    for _ in range(2):
        ConsistentChatGenerator(serving, num_dialogs_per_intent=1, responses=str(tmp_path)).run(Storage())
    assert len(serving.inputs) == 18 + 1


def test_without_a_model_there_is_one_message() -> None:
    """Before anything is called."""
    with pytest.raises(RecipeError, match=r"No model is named. Pass model="):
        ConsistentChatGenerator()
