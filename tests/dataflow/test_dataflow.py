"""DataFlow's operator interface with the servings of DataFlow and of this package, without DataFlow."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consistent_chat import dataflow
from consistent_chat.dataflow import ConsistentChatGenerator, FileStorage, LLMServingABC
from consistent_chat.errors import BudgetSpent, RecipeError
from tests import dataflow_parts
from tests.dataflow_parts import (
    ASSISTANT,
    USER,
    Storage,
    TheirPrompt,
    TheirServing,
    good,
    is_exact,
    made,
    operator,
)

no_pauses = dataflow_parts.no_pauses


@pytest.mark.parametrize("serving", [TheirServing(), "rehearsal"], ids=["theirs", "ours"])
def test_run_writes_and_returns_exactly_what_is_asked_for(serving: Any, tmp_path: Path) -> None:
    """`run` writes and returns one DataFrame with two columns and the exact number of dialogues and turns."""
    storage = Storage()
    frame = operator(serving, tmp_path).run(storage)
    assert storage.data is frame
    assert is_exact(frame)


def test_two_calls_make_a_wave(tmp_path: Path) -> None:
    """One call requests all skeletons and one all answers, at the operator's temperature."""
    serving = TheirServing()
    made(serving, tmp_path, temperature=0.5)
    assert [len(call) for call in serving.calls] == [18, 18]
    assert serving.temperatures == [0.5, 0.5]
    assert serving.temperature == 0.0
    assert ['"user_1" to' in call[0] for call in serving.calls] == [True, False]


def test_waves_make_no_difference_to_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in several waves gives the same rows as one wave. Each wave takes two calls."""
    whole = made(TheirServing(), tmp_path / "whole")
    monkeypatch.setattr("consistent_chat.drivers.waves.WAVE", 8)
    serving = TheirServing()
    assert made(serving, tmp_path).equals(whole)
    assert [len(call) for call in serving.calls] == [8, 8, 8, 8, 2, 2]


def test_a_second_run_makes_no_calls(tmp_path: Path) -> None:
    """A second run makes no calls and gives the same rows, also without a serving."""
    first, other = made(TheirServing(), tmp_path), TheirServing()
    assert made(other, tmp_path).equals(first)
    assert other.calls == []
    assert made(None, tmp_path, model="their-model").equals(first)


def test_waves_pay_for_nothing_that_merged_stores_have(tmp_path: Path) -> None:
    """The merged stores of a complete run and a stopped run give the rows of a replay without a call.

    The order of merging does not matter.
    """
    made(TheirServing(), tmp_path / "whole")
    texts = {f"user_{turn}": f"Another question {turn}" for turn in range(1, 4)}
    other = TheirServing(lambda prompt, tries: json.dumps(texts))
    with pytest.raises(BudgetSpent):
        made(other, tmp_path / "part", max_calls=18)
    merged = {}
    for first, second in (("whole", "part"), ("part", "whole")):
        packs = tmp_path / f"{first} first" / "packs"
        packs.mkdir(parents=True)
        for place in (first, second):
            for pack in (tmp_path / place / "packs").iterdir():
                shutil.copy(pack, packs)
        merged[first] = made(serving := TheirServing(), packs.parent)
        assert serving.calls == []
        assert merged[first].equals(made(None, packs.parent, model="their-model"))
    assert merged["whole"].equals(merged["part"])


def test_who_does_not_say_its_model_or_temperature_is_warned_of(tmp_path: Path) -> None:
    """A serving without a model name or temperature works, with a warning for each."""

    class Bare(LLMServingABC):
        def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> list[str | None]:
            return [good(prompt, system_prompt) for prompt in user_inputs]

    with pytest.warns(UserWarning, match="its responses are kept under the name 'Bare'"):
        generator = operator(Bare(), tmp_path)
    with pytest.warns(UserWarning, match=r"it samples at its own, not at 0\.9"):
        assert is_exact(generator.run(Storage()))


@pytest.mark.parametrize("place", ["configs", "sampling_params", "vllm_temperature"])
def test_the_temperature_reaches_their_servings(place: str, tmp_path: Path) -> None:
    """The operator's temperature is set wherever a serving keeps its own, which is restored afterwards."""

    class Elsewhere(TheirServing):
        def __init__(self) -> None:
            super().__init__()
            del self.temperature
            self.seen: set[float] = set()
            setattr(self, place, 0.1 if place.endswith("ture") else {"temperature": 0.1})

        @property
        def held(self) -> Any:
            held = getattr(self, place)
            return held["temperature"] if isinstance(held, dict) else held

        def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> Any:
            self.seen.add(self.held)
            return [good(prompt, system_prompt) for prompt in user_inputs]

    serving = Elsewhere()
    made(serving, tmp_path, temperature=0.7)
    assert serving.seen == {0.7}
    assert serving.held == 0.1


@pytest.mark.slow
def test_near_duplicates_are_dropped_in_waves(tmp_path: Path) -> None:
    """Waves drop near-duplicates like other drivers, and a replay gives the same rows."""
    serving = TheirServing()
    same = "Where does the old road to the village by the river end?"

    def script(prompt: str, tries: int) -> Any:
        stem = USER if '"user_1" to' in prompt else ASSISTANT
        is_same = prompt in serving.calls[0][:2]
        words = [same] * 3 if is_same else [f"{random.Random(prompt + x).sample(range(10_000), 20)}" for x in "abc"]
        return json.dumps({f"{stem}_{turn}": text for turn, text in enumerate(words, 1)})

    serving.script = script
    frame = made(serving, tmp_path, drop_near_duplicates=0.8, checks=False)
    assert [talk[0]["value"] for talk in frame["conversation"]].count(same) == 1
    assert made(None, tmp_path, drop_near_duplicates=0.8, checks=False, model="their-model").equals(frame)


def test_descriptions_are_in_two_languages() -> None:
    """The English and the Chinese description both name the main parameters."""
    english, chinese = (ConsistentChatGenerator.get_desc(language) for language in ("en", "zh"))
    assert english != chinese
    assert re.search("[\u4e00-\u9fff]", chinese)
    for name in ("llm_serving", "num_dialogs_per_intent", "num_turns_per_dialog", "temperature", "prompt_template"):
        assert name in english
        assert name in chinese


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({}, r"No model is set. Pass model="),
    "no serving": ({"llm_serving": object()}, "serving must be a name"),
    "a class": ({"llm_serving": TheirServing}, "TheirServing. Pass an instance"),
    "no such field": ({"model": "m", "seeed": 1}, "Did you mean 'seed'"),
    "a layout": ({"model": "m", "layout": "messages"}, "layout is fixed here"),
    "a prompt's class": ({"model": "m", "prompt_template": TheirPrompt}, "must be an object with a method"),
    "a prompt for nobody": ({"llm_serving": "rehearsal", "prompt_template": TheirPrompt()}, "generate_from_input"),
    "intents of a prompt": (
        {"llm_serving": TheirServing(), "prompt_template": TheirPrompt(), "intents": ["educational"]},
        "intents has no effect with a prompt_template",
    ),
    "a limit of the serving's": ({"llm_serving": TheirServing(), "timeout": 1}, "timeout has no effect here"),
    "no turns": ({"model": "m", "num_turns_per_dialog": 0}, "num_turns_per_dialog must be"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_when_the_operator_is_made(given: dict[str, Any], message: str) -> None:
    """A wrong argument raises an error when the operator is constructed, before any call."""
    with pytest.raises(RecipeError, match=message):
        ConsistentChatGenerator(**given)


def test_a_storage_is_looked_at_before_anything_is_paid(tmp_path: Path) -> None:
    """An unusable storage raises an error before any call.

    A storage without a step is refused, because its first file would be overwritten.
    """
    serving = TheirServing()
    (tmp_path / "file").write_text("")
    for storage, message in (
        (FileStorage("", str(tmp_path)), r"Pass storage\.step\(\)"),
        (FileStorage("", str(tmp_path / "file")).step(), "cache_path .* cannot be written: Not a dir"),
        (None, "must be an object with a method"),
    ):
        with pytest.raises(RecipeError, match=message):
            operator(serving, tmp_path).run(storage)
    assert serving.calls == []


@pytest.mark.slow
def test_dataflow_is_never_imported() -> None:
    """The operator never imports DataFlow, which takes seconds and may not be installed."""
    code = (
        "import sys; from consistent_chat.dataflow import ConsistentChatGenerator as C; "
        "C('rehearsal'); print('dataflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_names_are_public() -> None:
    """The module exports the names that the documented example imports, and one more."""
    assert set(dataflow.__all__) == {
        "APILLMServing_request",
        "ConsistentChatGenerator",
        "DataFlowStorage",
        "FileStorage",
        "LLMServingABC",
        "register",
    }
