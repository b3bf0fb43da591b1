"""Measure on whole dialogues how many bad ones the checks find and how many good ones they report by mistake.

The rules were tuned on bad_dialogues.yaml; bad_dialogues_held_out.yaml has other wordings and languages of the same
kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from consistent_chat.dialogue import checks
from consistent_chat.dialogue.checks import Finding
from consistent_chat.recipe.rules import DEFAULTS

TEXTS = Path(__file__).parent / "texts"


def cases(name: str) -> list[dict[str, Any]]:
    """Return the cases of a file."""
    found: list[dict[str, Any]] = yaml.safe_load((TEXTS / f"{name}.yaml").read_text("utf-8"))
    return found


def found(chat: Sequence[str], language: str = "English") -> list[Finding]:
    """Return the findings in a chat whose user messages and answers alternate."""
    return checks.findings([*map(str.strip, chat[::2])], [*map(str.strip, chat[1::2])], DEFAULTS, language)


def is_found(case: Mapping[str, Any]) -> bool:
    """Tell whether a bad case has a finding on the side that it names."""
    return any(each.side == case["side"] for each in found(case["chat"], case.get("language", "English")))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("bad_dialogues", 0.95), ("bad_dialogues_held_out", 0.85)])
def test_bad_dialogues_are_found(name: str, least: float) -> None:
    """The checks find at least 95 percent of the bad dialogues, and 85 percent of those held out."""
    bad = cases(name)
    missed = [case for case in bad if not is_found(case)]
    assert len({case["kind"] for case in bad}) >= 32
    assert len(missed) <= (1 - least) * len(bad), missed


def test_good_dialogues_that_are_hard_give_no_alarm() -> None:
    """No check reports a good dialogue with thanks, role play, letters, code, games, exercises, mixed languages."""
    alarms = [
        (case["kind"], each)
        for case in cases("good_dialogues")
        for each in found(case["chat"], case.get("language", "English"))
    ]
    assert alarms == []


def test_what_small_models_write_is_found() -> None:
    """The checks find at least nine in ten bad messages of small models that do not follow instructions."""
    missed = []
    for case in cases("small_models"):
        said = case["messages"]
        asked, answered = (
            (said, ["Yes, that is fine."] * len(said)) if case["side"] == "users" else (case["asked"], said)
        )
        chat = [text for pair in zip(asked, answered) for text in pair]
        missed += [] if is_found({"side": case["side"], "chat": chat}) else [case["kind"]]
    assert len(missed) <= 0.1 * len(cases("small_models")), missed


def test_a_finding_says_where_it_is() -> None:
    """A finding has the name of the reason, the side, the turn and a description."""
    (finding,) = found(["hi, is it far?", "Two miles.", "by bus?", "[Insert bus times here]"])
    assert finding == ("placeholder", "answers", 2, "assistant_2 is only a placeholder: '[Insert bus times here]'")
