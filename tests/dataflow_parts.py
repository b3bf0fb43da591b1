"""Stand-ins for what users of DataFlow bring: servings with one method, and prompt objects. They need no DataFlow."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.dataflow import ConsistentChatGenerator

Script = Callable[[str, int], Any]
"""(prompt, how often it was asked before) -> what to give in the place of a good answer, or ... for a good one."""


class TheirServing:
    """A serving with DataFlow's only method. A script may replace any answer."""

    def __init__(self, script: Script | None = None, model_name: str | None = "their-model") -> None:
        self.script = script or (lambda prompt, tries: ...)
        self.temperature = 0.0
        self.calls: list[list[str]] = []
        self.systems: list[str] = []
        self.temperatures: list[float] = []
        self.asked: Counter[str] = Counter()
        if model_name is not None:
            self.model_name = model_name

    def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> Any:
        """Return the answers to all prompts."""
        self.calls.append(list(user_inputs))
        self.systems.append(system_prompt)
        self.temperatures.append(self.temperature)
        return [self._answer(prompt, system_prompt) for prompt in user_inputs]

    def _answer(self, prompt: str, system: str) -> Any:
        tries = self.asked[prompt]
        self.asked[prompt] += 1
        scripted = self.script(prompt, tries)
        return good(prompt, system) if scripted is ... else scripted


def good(prompt: str, system: str) -> str:
    """Return a model's answer: to the package's own prompts, or in DataFlow's formats to those of a prompt object."""
    ours = re.search(r'"(user|assistant)_1" to "\w+_(\d+)"', prompt)
    if ours:
        stem, turns = ours[1], int(ours[2])
        return json.dumps({f"{stem}_{number}": f"{stem} {number} of {len(prompt)}" for number in range(1, turns + 1)})
    templated = re.search(r"exactly (\d+)", system)
    if templated is None:  # a harmless prompt, which only checks that the serving answers
        return "It rained."
    turns = int(templated[1])
    if '"turns"' in system:
        text = json.dumps({"category": "Bread", "turns": [f"question {n} on {prompt}" for n in range(turns)]})
        return f"```json\n{text}\n```"
    return json.dumps([{"response": f"answer {number}"} for number in range(turns)])


class TheirPrompt:
    """Build prompts as DataFlow's ConsistentChatPrompt does: two intents, and topics that `random` draws."""

    TOPICS = ("rye", "wheat", "spelt", "oats", "barley", "maize", "millet", "rice")

    def build_prompt(
        self,
        mode: str,
        num_dialogs_per_intent: int | None = None,
        topic: str | None = None,
        queries: list[str] | None = None,
    ) -> Any:
        """Return all prompts of the first stage, or the prompt of one dialogue's second stage."""
        if mode == "query":
            assert topic is None
            assert queries is None
            return [
                f"{intent}: {random.choice(self.TOPICS)}"
                for intent in ("learn", "buy")
                for _ in range(num_dialogs_per_intent or 0)
            ]
        assert num_dialogs_per_intent is None
        return f"On {topic}: {queries}"


class Storage:
    """Keep the DataFrame that an operator writes."""

    def write(self, data: Any) -> None:
        """Keep the DataFrame."""
        self.data = data


USER, ASSISTANT = "user", "assistant"


def operator(serving: Any, place: Path, **fields: Any) -> ConsistentChatGenerator:
    """Return an operator for 18 dialogues of 3 turns each."""
    settings = {"num_dialogs_per_intent": 2, "num_turns_per_dialog": 3, "responses": str(place), **fields}
    return ConsistentChatGenerator(serving, **settings)


def made(serving: Any, place: Path, **fields: Any) -> Any:
    """Return the rows of one run."""
    return operator(serving, place, **fields).run(Storage())


def is_exact(frame: Any, dialogues: int = 18, turns: int = 3) -> bool:
    """Return whether a DataFrame has exactly the dialogues, turns and columns that were requested."""
    roles = [[message["role"] for message in talk] for talk in frame["conversation"]]
    fields = {tuple(message) for talk in frame["conversation"] for message in talk}
    whole = list(frame.columns) == ["category", "conversation"] and fields == {("role", "value")}
    return whole and roles == [[USER, ASSISTANT] * turns] * dialogues


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace `time.sleep`, so that pauses take no time."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
