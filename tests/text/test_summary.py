"""Tests of summaries and errors in a console and in a notebook: a line, a table or a message without active content."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from consistent_chat.commands.estimate import Estimate
from consistent_chat.drivers import RunStats
from consistent_chat.errors import BudgetSpent, ConsistentChatError, RecipeError, StoreError, TransportError
from consistent_chat.publishing.diff import VerificationResult
from consistent_chat.reports.check import CheckReport
from consistent_chat.reports.summary import Summary
from consistent_chat.store.maintenance import Checked
from consistent_chat.text import Summarized

HOSTILE = "<img src=x onerror=alert(1)> & \x1b[31m"
SUMMARIES = {
    "run": RunStats(dialogues=1, calls=2, failed=Counter({HOSTILE: 1})),
    "estimate": Estimate(HOSTILE, 9, 9, 18, 100, 200, None, 0),
    "verification": VerificationResult(rows={HOSTILE: 2}),
    "store": Checked(responses=3, faults=[HOSTILE]),
    "chats": CheckReport(chats=3, flagged=1),
    "report": Summary(HOSTILE, {}),
}


@pytest.mark.parametrize("summary", SUMMARIES.values(), ids=SUMMARIES)
def test_a_summary_is_a_line_or_inert_html(summary: Summarized) -> None:
    """A summary is a short line with its class, or inert HTML.

    Neither has a character that controls a terminal or a browser.
    """
    line, page = repr(summary), summary._repr_html_()
    assert line.startswith(f"<{type(summary).__name__}: ")
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line + page
    assert "<img" not in page


def test_the_table_of_a_report_has_its_figures() -> None:
    """The table of a report has the names and values that the report's page shows first."""
    page: Any = Summary("demo", {})._repr_html_()
    assert '<th style="text-align: left">Dialogues</th><td style="text-align: left">0</td>' in page


@pytest.mark.parametrize("kind", [ConsistentChatError, RecipeError, StoreError, TransportError, BudgetSpent])
def test_a_notebook_shows_an_error_as_its_message(kind: type[ConsistentChatError]) -> None:
    """A notebook shows an error as its message, by the method that IPython calls instead of printing the frames."""
    assert kind("model is\nwrong")._render_traceback_() == [f"{kind.__name__}: model is wrong"]


def test_an_error_of_load_dataset_is_one_message_too() -> None:
    """An error in `load_dataset` is the package's own error and is shown as one message."""
    from datasets import load_dataset

    with pytest.raises(RecipeError) as caught:
        load_dataset("consistent_chat", "demo", split="train", temperature=9)
    assert caught.value._render_traceback_() == [f"RecipeError: {caught.value}"]
