"""The check of figures against the source: what is made up, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from consistent_chat.dialogue import checks
from consistent_chat.dialogue.parse import Unusable
from consistent_chat.recipe import Recipe

SOURCE = "Order X200-77 of 3 May 2026: a lamp for 1,250.00 euros, sent at 10:30. Mail help@lamps.example."
ASKED = ("When was it sent, and is 49.90 too much?", "My number is 0170 555 1234.")


def found(*answers: str, source: str = SOURCE, **given: Any) -> str:
    """Return what is found, empty if nothing is."""
    thresholds = {"broken_off": False, "repeats": False, **given}
    try:
        checks.answers(answers, ASKED, Recipe(checks=thresholds), source)
    except Unusable as error:
        return f"{error.reason.value}: {error.detail}"
    return ""


GOOD = [
    "It was sent on 3 May 2026 at 10:30 and cost 1250 euros, or €1,250. It is order X200-77.",
    "It left on 2026-05-03 at 10.30. Write to help@lamps.example with the order 77 and X200.",
    "49.90 would be less than 1.250,00. First 1. look, then 2. ask, and wait for 5 days.",
    "Run this:\n```\nport = 8080 + 9090 + 7070\n```\nThen it is `0.12.33`.",
    "It may take 24 hours, at most 48.",
    "It is the lamp with the mark 4f9e-a12b-77c0, of 2026, sent on May 3rd at 10:30h.",
]


@pytest.mark.parametrize("answer", GOOD)
def test_what_was_said_may_be_said_again(answer: str) -> None:
    """In other formats, in parts; and a figure or two of one's own."""
    assert found(answer) == ""
    assert found(answer, "We call 0170 555 1234 at 10:30.") == ""


BAD = [
    "It was sent on 14 May 2027 at 11:45.",
    "Call 0800 123 456 or write to other@lamps.example.",
    "It cost 999 euros, the tax was 189.81, and returns take 45 days.",
    "See https://lamps.example/returns, www.lamps.example/help and sales@lamps.example.",
]


@pytest.mark.parametrize("answer", BAD)
def test_figures_that_are_made_up_are_found(answer: str) -> None:
    """Three different ones in one answer."""
    assert found(answer).startswith("grounded: assistant_1 has figures that stand nowhere before: ")
    assert found(answer, source="") == ""
    assert found(answer, grounded=False) == ""
    assert found(answer, grounded=50) == ""


def test_a_later_message_grounds_nothing_before_it() -> None:
    """And the threshold counts each figure once."""
    assert "assistant_1" in found("We call 0170 555 1234.")
    assert found("It is 999, yes 999, or 999.00, and 999!") == ""
    assert "'999'" in found("It is 999.", grounded=1)


def test_a_hostile_answer_costs_linear_time() -> None:
    """A long word is looked at once."""
    assert found("a" * 100_000 + ".", loops=False) == found("1.2" * 30_000 + ".", loops=False) == ""


def test_only_another_threshold_is_part_of_a_recipe() -> None:
    """So that recipes without seeds are what they were."""
    assert Recipe(checks={"grounded": 3}).checks == Recipe(checks={"grounded": True}).checks == Recipe().checks
    assert Recipe(checks={"grounded": 4}).checks == {**Recipe().checks, "grounded": 4}
    assert Recipe(checks={"grounded": False}).checks == {**Recipe().checks, "grounded": False}
