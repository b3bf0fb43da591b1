"""DataFlow's operator interface, with any serving of theirs or ours, and no DataFlow installed."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from consistent_chat import dataflow
from consistent_chat.dataflow import APILLMServing_request, ConsistentChatGenerator, FileStorage, LLMServingABC
from consistent_chat.dataflow.storage import WRITERS
from consistent_chat.errors import BudgetSpent, ConsistentChatError, RecipeError, ServingError, UnfilledSlot
from tests.dataflow_parts import Script, Storage, TheirPrompt, TheirServing, good
from tests.provider import Provider, Reply

USER, ASSISTANT = "user", "assistant"


def operator(serving: Any, place: Path, **fields: Any) -> ConsistentChatGenerator:
    """Return an operator for 18 dialogues of 3 turns."""
    settings = {"num_dialogs_per_intent": 2, "num_turns_per_dialog": 3, "responses": str(place), **fields}
    return ConsistentChatGenerator(serving, **settings)


def made(serving: Any, place: Path, **fields: Any) -> Any:
    """Return the rows of one run."""
    return operator(serving, place, **fields).run(Storage())


def is_exact(frame: Any, dialogues: int = 18, turns: int = 3) -> bool:
    """Tell whether a DataFrame has what was asked for, and nothing else."""
    roles = [[message["role"] for message in talk] for talk in frame["conversation"]]
    fields = {tuple(message) for talk in frame["conversation"] for message in talk}
    whole = list(frame.columns) == ["category", "conversation"] and fields == {("role", "value")}
    return whole and roles == [[USER, ASSISTANT] * turns] * dialogues


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


# --- the operator ---


@pytest.mark.parametrize("serving", [TheirServing(), "rehearsal"], ids=["theirs", "ours"])
def test_run_writes_and_returns_exactly_what_is_asked_for(serving: Any, tmp_path: Path) -> None:
    """Two columns, exact counts, as one DataFrame."""
    storage = Storage()
    frame = operator(serving, tmp_path).run(storage)
    assert storage.data is frame
    assert is_exact(frame)


def test_two_calls_make_a_wave(tmp_path: Path) -> None:
    """All skeletons are asked for at once, then all answers, at the temperature of the operator."""
    serving = TheirServing()
    made(serving, tmp_path, temperature=0.5)
    assert [len(call) for call in serving.calls] == [18, 18]
    assert serving.temperatures == [0.5, 0.5]
    assert serving.temperature == 0.0
    assert ['"user_1" to' in call[0] for call in serving.calls] == [True, False]


def test_waves_make_no_difference_to_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large run has several, each of two calls."""
    whole = made(TheirServing(), tmp_path / "whole")
    monkeypatch.setattr("consistent_chat.drivers.waves.WAVE", 8)
    serving = TheirServing()
    assert made(serving, tmp_path).equals(whole)
    assert [len(call) for call in serving.calls] == [8, 8, 8, 8, 2, 2]


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("template", [None, TheirPrompt()], ids=["our prompts", "their prompts"])
@pytest.mark.parametrize("salt", range(4))
def test_faults_of_all_kinds_at_once(salt: int, template: Any, tmp_path: Path) -> None:
    """Four answers of ten are missing or unusable; the replay gives the same rows without a call."""

    def script(prompt: str, tries: int) -> Any:
        number = hashlib.sha256(f"{salt} {tries} {prompt}".encode()).digest()[0]
        return (None, "", "[1]", '{"user_1": "a"}')[number % 4] if number < 102 else ...

    dialogues = 40 if template else 180
    serving = TheirServing(script)
    frame = made(serving, tmp_path, prompt_template=template, num_dialogs_per_intent=20)
    assert is_exact(frame, dialogues)
    assert frame.equals(made(None, tmp_path, prompt_template=template, num_dialogs_per_intent=20, model="their-model"))


def test_a_second_run_makes_no_calls(tmp_path: Path) -> None:
    """The responses are stored like any others, and give the same rows, without any serving too."""
    first, other = made(TheirServing(), tmp_path), TheirServing()
    assert made(other, tmp_path).equals(first)
    assert other.calls == []
    assert made(None, tmp_path, model="their-model").equals(first)


def test_waves_pay_for_nothing_that_merged_stores_have(tmp_path: Path) -> None:
    """One run was complete and another was stopped: together they give the rows of a replay without a call."""
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


FAULTS: dict[str, Script] = {
    "none at first": lambda prompt, tries: None if tries == 0 else ...,
    "no json at first": lambda prompt, tries: "I would rather not." if tries == 0 else ...,
    "a list of one at first": lambda prompt, tries: '["one"]' if tries == 0 else ...,
    "empty at first": lambda prompt, tries: "" if tries == 0 else ...,
    "every third none": lambda prompt, tries: None if (len(prompt) + tries) % 3 == 0 else ...,
    "numbers at first": lambda prompt, tries: 42 if tries == 0 else ...,
}


@pytest.mark.parametrize("script", FAULTS.values(), ids=FAULTS)
def test_counts_are_exact_whatever_comes_back(script: Script, tmp_path: Path) -> None:
    """A missing answer is requested again, an unusable one is drawn again."""
    assert is_exact(made(TheirServing(script), tmp_path))


def test_an_answer_in_tags_is_read(tmp_path: Path) -> None:
    """DataFlow's serving puts a model's reasoning before its answer."""

    class Thinking(TheirServing):
        def _answer(self, prompt: str, system: str) -> str:
            draft = '["x", "x", "x"]' if '"turns"' not in system else '{"category": "x", "turns": ["x", "x", "x"]}'
            return f"<think>Say, {draft}</think>\n<answer>{good(prompt, system)}</answer>"

    for template in (None, TheirPrompt()):
        frame = made(Thinking(), tmp_path, prompt_template=template)
        assert is_exact(frame, 4 if template else 18)
        assert not any(message["value"] == "x" for talk in frame["conversation"] for message in talk)


def test_a_prompt_that_is_never_answered_is_replaced(tmp_path: Path) -> None:
    """It counts as declined when others are answered after it; the replay knows that too."""
    serving = TheirServing()
    serving.script = lambda prompt, tries: None if prompt == serving.calls[0][0] else ...
    frame = made(serving, tmp_path)
    assert is_exact(frame)
    assert serving.asked[serving.calls[0][0]] == 3
    assert made(None, tmp_path, model="their-model").equals(frame)


@pytest.mark.parametrize("left", [1, 3])
def test_refused_prompts_cost_those_prompts_alone(left: int, tmp_path: Path) -> None:
    """Also in a run that has nothing else to ask: a harmless prompt tells whether the serving answers."""
    with pytest.raises(BudgetSpent):
        made(TheirServing(), tmp_path, max_calls=36 - left)
    rest = TheirServing()
    rest.script = lambda prompt, tries: None if prompt in rest.calls[0] else ...
    frame = made(rest, tmp_path)
    assert is_exact(frame)
    assert {rest.asked[prompt] for prompt in rest.calls[0]} == {3}
    assert len(rest.calls[0]) == left
    assert made(None, tmp_path, model="their-model").equals(frame)


def test_a_serving_that_goes_away_declines_nothing(tmp_path: Path) -> None:
    """Then the run stops, and goes on later where it was."""
    whole = made(TheirServing(), tmp_path / "whole")
    serving = TheirServing()
    serving.script = lambda prompt, tries: (
        ... if sum(map(len, serving.calls)) <= 18 or len(serving.calls) == 1 else None
    )
    with pytest.raises(ServingError, match=r"TheirServing gave no answer to 18 prompts.* rerun to resume"):
        made(serving, tmp_path)
    again = TheirServing()
    assert made(again, tmp_path).equals(whole)
    assert [len(call) for call in again.calls] == [18]


def test_a_serving_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """After three calls, and the message says what came back instead of text."""
    serving = TheirServing(lambda prompt, tries: {"text": "?"})
    with pytest.raises(ServingError, match=r"TheirServing gave no answer to 18 prompts: it gave dict where text"):
        made(serving, tmp_path)
    assert len(serving.calls) == 3


@pytest.mark.parametrize(("odd", "survives"), [({1}, True), ({1, 2, 3}, False)], ids=["once", "always"])
def test_what_is_no_list_is_no_answer(odd: set[int], survives: bool, tmp_path: Path) -> None:
    """It is asked for again, and named when nothing else comes."""

    class Odd(TheirServing):
        def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> Any:
            answers = super().generate_from_input(user_inputs, system_prompt)
            return dict(enumerate(answers)) if len(self.calls) in odd else answers

    if survives:
        assert is_exact(made(Odd(), tmp_path))
    else:
        with pytest.raises(ServingError, match="it returned dict where a list should be"):
            made(Odd(), tmp_path)


def test_nothing_of_use_ends_the_run(tmp_path: Path) -> None:
    """Instead of paying for every draw of every substitute."""
    serving = TheirServing(lambda prompt, tries: "No.")
    with pytest.raises(UnfilledSlot, match=r"30 consecutive responses were unusable.*no_json.*'No\.'"):
        made(serving, tmp_path)
    assert len(serving.calls) == 2


@pytest.mark.parametrize("lost", [1, 18])
def test_too_few_answers_are_never_mixed_up(lost: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who answers fewer prompts than it was asked is asked one by one: no answer goes to another prompt."""

    class Losing(TheirServing):
        def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> Any:
            answers = super().generate_from_input(user_inputs, system_prompt)
            return answers[lost:] if len(answers) > 1 else answers

    whole = made(TheirServing(), tmp_path / "whole")
    assert made(Losing(), tmp_path).equals(whole)
    assert "answers cannot be matched to prompts" in caplog.text


def test_an_exception_of_the_serving_is_one_message(tmp_path: Path) -> None:
    """What was answered before is kept."""
    serving = TheirServing()

    def script(prompt: str, tries: int) -> Any:
        if len(serving.calls) == 2:
            raise RuntimeError("out of memory")
        return ...

    serving.script = script
    with pytest.raises(ServingError, match=r"TheirServing failed with RuntimeError: out of memory.*rerun to resume"):
        made(serving, tmp_path)
    assert len(made(again := TheirServing(), tmp_path)) == 18
    assert len(again.calls) == 1


def test_limits_hold_in_waves(tmp_path: Path) -> None:
    """max_calls counts answers, and the next run goes on."""
    serving = TheirServing()
    for _ in range(3):
        with pytest.raises(BudgetSpent, match="max_calls=10"):
            made(serving, tmp_path, max_calls=10)
    assert is_exact(made(serving, tmp_path, max_calls=10))
    assert sum(serving.asked.values()) == 36


def test_what_is_not_answered_does_not_count(tmp_path: Path) -> None:
    """For max_calls: it has brought nothing."""
    serving = TheirServing(lambda prompt, tries: None if tries == 0 else ...)
    assert is_exact(made(serving, tmp_path, max_calls=36))
    assert sum(serving.asked.values()) == 72


def test_a_serving_that_comes_back_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it was away, if not too long at a time."""
    monkeypatch.setattr("consistent_chat.drivers.waves.WAVE", 2)
    serving = TheirServing()
    serving.script = lambda prompt, tries: ... if len(serving.calls) % 3 else None
    assert is_exact(made(serving, tmp_path))
    assert len(serving.calls) > 18


def test_who_does_not_say_its_model_or_temperature_is_warned_of(tmp_path: Path) -> None:
    """It works all the same."""

    class Bare(LLMServingABC):
        def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> list[str | None]:
            return [good(prompt, system_prompt) for prompt in user_inputs]

    with pytest.warns(UserWarning, match="its responses are kept under the name 'Bare'"):
        generator = operator(Bare(), tmp_path)
    with pytest.warns(UserWarning, match=r"it samples at its own, not at 0\.9"):
        assert is_exact(generator.run(Storage()))


@pytest.mark.parametrize("place", ["configs", "sampling_params", "vllm_temperature"])
def test_the_temperature_reaches_their_servings(place: str, tmp_path: Path) -> None:
    """Wherever they keep it; afterwards it is theirs again."""

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
    """As by the other drivers; the replay comes to the same rows."""
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
    """Each names every parameter."""
    english, chinese = (ConsistentChatGenerator.get_desc(language) for language in ("en", "zh"))
    assert english != chinese
    assert re.search("[\u4e00-\u9fff]", chinese)
    for name in ("llm_serving", "num_dialogs_per_intent", "num_turns_per_dialog", "temperature", "prompt_template"):
        assert name in english
        assert name in chinese


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({}, r"No model is named. Pass model="),
    "no serving": ({"llm_serving": object()}, "serving must be a name"),
    "a class": ({"llm_serving": TheirServing}, "TheirServing itself. Pass an object of it"),
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
    """Before anything is called."""
    with pytest.raises(RecipeError, match=message):
        ConsistentChatGenerator(**given)


def test_a_storage_is_looked_at_before_anything_is_paid(tmp_path: Path) -> None:
    """One without a step would have the first entry's file overwritten."""
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
    """It takes seconds, and may not be there."""
    code = (
        "import sys; from consistent_chat.dataflow import ConsistentChatGenerator as C; "
        "C('rehearsal'); print('dataflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- prompt objects ---


def test_a_prompt_objects_dialogues_are_exact(tmp_path: Path) -> None:
    """Its number of intents, our number of turns, the category that the model names."""
    serving = TheirServing()
    frame = made(serving, tmp_path, prompt_template=TheirPrompt())
    assert is_exact(frame, 4)
    assert set(frame["category"]) == {"Bread"}
    assert [len(call) for call in serving.calls] == [4, 4]
    assert all("exactly 3" in system for system in serving.systems)


def test_a_prompt_object_draws_the_same_again(tmp_path: Path) -> None:
    """By the recipe's seed; the state of `random` is left as it was."""
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
    """A model that writes the same questions to each prompt may still answer them differently."""
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
    """In the shapes that DataFlow's prompts ask for."""
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
    """None is padded."""
    serving = TheirServing(
        lambda prompt, tries: json.dumps(shape) if not prompt.startswith("On ") and not tries else ...
    )
    frame = made(serving, tmp_path, prompt_template=TheirPrompt())
    assert is_exact(frame, 4)
    assert frame["conversation"][0][0]["value"].startswith("question 0")


def test_of_more_turns_the_first_are_taken(tmp_path: Path) -> None:
    """DataFlow's own prompt asks for 6 to 8, whatever num_turns_per_dialog says."""
    long = json.dumps({"category": "Bread", "turns": [f"turn {number}" for number in range(8)]})
    serving = TheirServing(lambda prompt, tries: ... if prompt.startswith("On ") else long)
    frame = made(serving, tmp_path, prompt_template=TheirPrompt())
    assert [message["value"] for message in frame["conversation"][0][::2]] == ["turn 0", "turn 1", "turn 2"]
    assert "turn 3" not in serving.calls[1][0]


def test_a_prompt_that_fails_for_good_is_replaced(tmp_path: Path) -> None:
    """By another one of the same intent."""
    serving = TheirServing()
    serving.script = lambda prompt, tries: "No." if prompt == serving.calls[0][3] else ...
    frame = made(serving, tmp_path, prompt_template=TheirPrompt(), max_draws=2)
    assert is_exact(frame, 4)
    assert serving.calls[0][3].startswith("buy: ")
    assert serving.calls[0][3] not in frame["conversation"][3][0]["value"]
    assert "buy: " in frame["conversation"][3][0]["value"]


def test_a_prompt_object_of_another_kind_is_one_message(tmp_path: Path) -> None:
    """It names the method and what came of it."""

    class Other:
        def build_prompt(self) -> str:
            return "?"

    class Wrong:
        def build_prompt(self, **given: Any) -> str:
            return "?"

    for template, message in ((Other(), "failed with TypeError"), (Wrong(), "must return a list of texts, not str")):
        with pytest.raises(RecipeError, match=message):
            made(TheirServing(), tmp_path, prompt_template=template)


# --- the storage ---


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet", "pickle"])
def test_a_file_lies_where_dataflow_has_it(kind: str, tmp_path: Path) -> None:
    """Under the name of the step, and nothing else beside it; the next step reads it, except pickle."""
    storage = FileStorage("", str(tmp_path), "dataflow_cache_step", kind)
    frame = operator("rehearsal", tmp_path / "responses").run(storage.step())
    files = [path.name for path in tmp_path.iterdir() if path.is_file()]
    assert files == [f"dataflow_cache_step_step1.{kind}"]
    then = storage.step()
    if kind == "pickle":
        with pytest.raises(RecipeError, match="is not read here"):
            then.read()
    else:
        assert then.get_keys_from_dataframe() == ["category", "conversation"]
        assert list(then.read()["category"]) == list(frame["category"])
        assert len(then.read("dict")) == 18


def test_the_first_step_reads_its_file_or_nothing(tmp_path: Path) -> None:
    """As DataFlow's does."""
    (tmp_path / "first.jsonl").write_text('{"a": 1}\n')
    assert FileStorage(str(tmp_path / "first.jsonl")).step().read("dict") == [{"a": 1}]
    assert FileStorage("").step().get_keys_from_dataframe() == []
    with pytest.raises(RecipeError, match="no cache_type 'jsnl'"):
        FileStorage("", cache_type="jsnl")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is there whole or not at all; one that succeeds takes its place."""
    storage = FileStorage("", str(tmp_path)).step()
    path = Path(storage.write([{"a": 1}]))
    assert storage.write([{"a": 2}]) == str(path)

    def half(frame: Any, file: Any) -> None:
        file.write(b'{"a"')
        raise OSError("No space left on device")

    monkeypatch.setitem(WRITERS, "jsonl", half)
    with pytest.raises(ConsistentChatError, match="No space"):
        storage.write([{"a": 3}])
    assert path.read_text() == '{"a":2}\n'
    assert list(tmp_path.iterdir()) == [path]


# --- the serving ---


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set DataFlow's own variable."""
    monkeypatch.setenv("DF_API_KEY", "sk-of-dataflow")


def api(provider: Provider, **fields: Any) -> APILLMServing_request:
    """Return our serving under DataFlow's name, on the local server."""
    return APILLMServing_request(api_url=f"{provider.openai_url}/chat/completions", model_name="gpt-4o", **fields)


def test_their_serving_by_its_parameters_is_ours(key: None, tmp_path: Path) -> None:
    """The address as DataFlow gives it, its key, the operator's temperature, retries, as many calls as workers."""
    with Provider(lambda call: Reply.error(500, "Busy") if call.number == 3 else None, delay=0.01) as provider:
        assert is_exact(made(api(provider, max_workers=4), tmp_path, temperature=0.4))
        assert len(provider.requests) == 37
        assert provider.in_flight_peak <= 4
    assert {call.body["temperature"] for call in provider.requests} == {0.4}
    assert {call.headers["authorization"] for call in provider.requests} == {"Bearer sk-of-dataflow"}


def test_their_serving_takes_prompt_objects(key: None, tmp_path: Path) -> None:
    """Through the one method that all of DataFlow's have; no schema goes with such a prompt."""

    def script(call: Any) -> Reply:
        system, user = (message["content"] for message in call.body["messages"])
        return Reply.text(good(user, system))

    with Provider(script) as provider:
        assert is_exact(made(api(provider), tmp_path, prompt_template=TheirPrompt(), temperature=0.4), 4)
    assert len(provider.requests) == 8
    assert {call.body["temperature"] for call in provider.requests} == {0.4}
    assert not any("response_format" in call.body for call in provider.requests)


REFUSALS = {"a bad request": 400, "a filter": 403, "a template": 500}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between tries."""
    monkeypatch.setattr("consistent_chat.drivers.retry.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("consistent_chat.drivers.retry.LONGEST_PAUSE", 0.01)


@pytest.mark.parametrize("status", REFUSALS.values(), ids=REFUSALS)
def test_prompts_are_answered_in_their_order_and_none_where_refused(status: int, key: None, quick: None) -> None:
    """As DataFlow's own does for all of its operators; one refused prompt costs that prompt alone."""

    def script(call: Any) -> Reply:
        text = call.body["messages"][1]["content"]
        return Reply.error(status, "I do not like it") if text == "b" else Reply.text(text.upper())

    with Provider(script) as provider:
        assert api(provider).generate_from_input(["a", "b", "c"]) == ["A", None, "C"]
        assert provider.requests[0].body["messages"][0]["content"] == "You are a helpful assistant"


@pytest.mark.parametrize("status", REFUSALS.values(), ids=REFUSALS)
def test_a_prompt_of_a_prompt_object_that_is_refused_is_replaced(
    status: int, key: None, quick: None, tmp_path: Path
) -> None:
    """By another one of the same intent; the replay knows that too."""
    refused: list[str] = []

    def script(call: Any) -> Reply:
        system, user = (message["content"] for message in call.body["messages"])
        refused[:] = refused or [user]
        if user == refused[0]:
            return Reply.error(status, "I do not like it")
        return Reply.text(good(user, system) if "exactly" in system else "It rained.")

    given: dict[str, Any] = {"prompt_template": TheirPrompt(), "num_dialogs_per_intent": 1}
    with Provider(script) as provider:
        frame = made(api(provider), tmp_path, **given)
    assert is_exact(frame, 2)
    assert made(None, tmp_path, model="gpt-4o", **given).equals(frame)


def test_a_wrong_key_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And no key at all is one before."""
    monkeypatch.delenv("DF_API_KEY", raising=False)
    with pytest.raises(ValueError, match="no key in the environment variable DF_API_KEY"):
        APILLMServing_request()
    monkeypatch.setenv("MY_KEY", "wrong-key")
    with Provider() as provider:
        for template in (None, TheirPrompt()):
            with pytest.raises(ServingError, match="The key was refused"):
                made(api(provider, key_name_of_api_key="MY_KEY"), tmp_path, prompt_template=template)


WRONG_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "an address": ({"api_url": "localhost:8000"}, "must be an address"),
    "a query": ({"api_url": "http://localhost/chat/completions?v=1"}, "has a query"),
    "no text": ({"api_url": None}, "api_url must be an address"),
    "workers": ({"max_workers": 0}, "max_workers must be"),
    "seconds": ({"read_timeout": -1}, "read_timeout must be"),
    "a setting": ({"top_p": 0.9}, "cannot send 'top_p'"),
    "no model": ({"model_name": ""}, "needs the model_name"),
}


@pytest.mark.parametrize(("given", "message"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_a_wrong_setting_is_said_at_once(given: dict[str, Any], message: str, key: None) -> None:
    """In the words of DataFlow's parameters."""
    with pytest.raises(RecipeError, match=message):
        APILLMServing_request(**given)


def test_no_address_is_openais_or_the_environments(key: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The documented example leaves api_url empty."""
    with Provider() as provider:
        monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
        assert is_exact(made(APILLMServing_request(api_url="", model_name="gpt-4o", max_workers=30), tmp_path))


def test_names_are_public() -> None:
    """Those that the documented example imports, and one more."""
    assert set(dataflow.__all__) == {
        "APILLMServing_request",
        "ConsistentChatGenerator",
        "DataFlowStorage",
        "FileStorage",
        "LLMServingABC",
        "register",
    }
