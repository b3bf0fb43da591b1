"""DataFlow's operator with servings that fail, refuse or answer wrongly: exact counts, and messages with the reason."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.errors import BudgetSpent, ServingError, UnfilledSlot
from tests import dataflow_parts
from tests.dataflow_parts import (
    Script,
    TheirPrompt,
    TheirServing,
    good,
    is_exact,
    made,
)

no_pauses = dataflow_parts.no_pauses


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("template", [None, TheirPrompt()], ids=["our prompts", "their prompts"])
@pytest.mark.parametrize("salt", range(4))
def test_faults_of_all_kinds_at_once(salt: int, template: Any, tmp_path: Path) -> None:
    """With 40% of the answers missing or unusable, the counts are exact and a replay gives the same rows."""

    def script(prompt: str, tries: int) -> Any:
        number = hashlib.sha256(f"{salt} {tries} {prompt}".encode()).digest()[0]
        return (None, "", "[1]", '{"user_1": "a"}')[number % 4] if number < 102 else ...

    dialogues = 40 if template else 180
    serving = TheirServing(script)
    frame = made(serving, tmp_path, prompt_template=template, num_dialogs_per_intent=20)
    assert is_exact(frame, dialogues)
    assert frame.equals(made(None, tmp_path, prompt_template=template, num_dialogs_per_intent=20, model="their-model"))


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
    """The counts are exact: a missing answer is requested again, and an unusable one is drawn again."""
    assert is_exact(made(TheirServing(script), tmp_path))


def test_an_answer_in_tags_is_read(tmp_path: Path) -> None:
    """The answer is read from its tags, because DataFlow's serving puts a model's reasoning before it."""

    class Thinking(TheirServing):
        def _answer(self, prompt: str, system: str) -> str:
            draft = '["x", "x", "x"]' if '"turns"' not in system else '{"category": "x", "turns": ["x", "x", "x"]}'
            return f"<think>Say, {draft}</think>\n<answer>{good(prompt, system)}</answer>"

    for template in (None, TheirPrompt()):
        frame = made(Thinking(), tmp_path, prompt_template=template)
        assert is_exact(frame, 4 if template else 18)
        assert not any(message["value"] == "x" for talk in frame["conversation"] for message in talk)


def test_a_prompt_that_is_never_answered_is_replaced(tmp_path: Path) -> None:
    """A prompt without an answer is replaced after three attempts if other prompts are answered.

    A replay gives the same rows.
    """
    serving = TheirServing()
    serving.script = lambda prompt, tries: None if prompt == serving.calls[0][0] else ...
    frame = made(serving, tmp_path)
    assert is_exact(frame)
    assert serving.asked[serving.calls[0][0]] == 3
    assert made(None, tmp_path, model="their-model").equals(frame)


@pytest.mark.parametrize("left", [1, 3])
def test_refused_prompts_cost_those_prompts_alone(left: int, tmp_path: Path) -> None:
    """Only the refused prompts are replaced, even in a run without other requests.

    In that case a harmless prompt shows whether the serving still answers.
    """
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
    """If the serving stops answering, the run stops without a decline, and the next run continues it."""
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
    """The run stops after three calls without an answer. The message says what came instead of text."""
    serving = TheirServing(lambda prompt, tries: {"text": "?"})
    with pytest.raises(ServingError, match=r"TheirServing gave no answer to 18 prompts: it gave dict where text"):
        made(serving, tmp_path)
    assert len(serving.calls) == 3


@pytest.mark.parametrize(("odd", "survives"), [({1}, True), ({1, 2, 3}, False)], ids=["once", "always"])
def test_what_is_no_list_is_no_answer(odd: set[int], survives: bool, tmp_path: Path) -> None:
    """A result that is not a list is requested again. If no list comes, the error names its type."""

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
    """The run stops after 30 consecutive unusable responses, instead of paying for every draw of every substitute."""
    serving = TheirServing(lambda prompt, tries: "No.")
    with pytest.raises(UnfilledSlot, match=r"30 consecutive responses were unusable.*no_json.*'No\.'"):
        made(serving, tmp_path)
    assert len(serving.calls) == 2


@pytest.mark.parametrize("lost", [1, 18])
def test_too_few_answers_are_never_mixed_up(lost: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If a serving returns too few answers, its prompts are sent one by one.

    No answer is matched with the wrong prompt.
    """

    class Losing(TheirServing):
        def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> Any:
            answers = super().generate_from_input(user_inputs, system_prompt)
            return answers[lost:] if len(answers) > 1 else answers

    whole = made(TheirServing(), tmp_path / "whole")
    assert made(Losing(), tmp_path).equals(whole)
    assert "answers cannot be matched to prompts" in caplog.text


def test_an_exception_of_the_serving_is_one_message(tmp_path: Path) -> None:
    """An exception of the serving becomes one error with its text, and earlier responses are kept."""
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
    """`max_calls` counts answers, and the next run continues."""
    serving = TheirServing()
    for _ in range(3):
        with pytest.raises(BudgetSpent, match="max_calls=10"):
            made(serving, tmp_path, max_calls=10)
    assert is_exact(made(serving, tmp_path, max_calls=10))
    assert sum(serving.asked.values()) == 36


def test_what_is_not_answered_does_not_count(tmp_path: Path) -> None:
    """Missing answers do not count towards `max_calls`."""
    serving = TheirServing(lambda prompt, tries: None if tries == 0 else ...)
    assert is_exact(made(serving, tmp_path, max_calls=36))
    assert sum(serving.asked.values()) == 72


def test_a_serving_that_comes_back_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of short outages of the serving does not stop the run."""
    monkeypatch.setattr("consistent_chat.drivers.waves.WAVE", 2)
    serving = TheirServing()
    serving.script = lambda prompt, tries: ... if len(serving.calls) % 3 else None
    assert is_exact(made(serving, tmp_path))
    assert len(serving.calls) > 18
