"""Tests of what a command prints while it runs and when it stops: bars on a terminal, lines elsewhere, the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consistent_chat.builder import progress
from consistent_chat.builder.progress import CallsBar
from consistent_chat.cli import main
from consistent_chat.drivers import RunStats
from consistent_chat.recipe import Recipe
from consistent_chat.text import counted
from consistent_chat.text.console import lines_instead_of_bars
from consistent_chat.text.languages import unknown
from tests.faults import UNUSABLE
from tests.provider import Provider

pytestmark = pytest.mark.usefixtures("folder")
SMALL = ["--num-dialogs-per-intent=1", "--num-turns-per-dialog=1", "--intents=simulation"]


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(0, "row", "0 rows"), (1, "row", "1 row"), (2_000, "row", "2,000 rows"), (1, "retry", "1 retry"),
     (2, "retry", "2 retries"), (2, "day", "2 days")],
)  # fmt: skip
def test_numbers_have_their_plural(number: int, noun: str, text: str) -> None:
    """A count has the singular or plural form of a regular noun."""
    assert counted(number, noun) == text


def test_a_log_gets_no_bars(capsys: pytest.CaptureFixture[str]) -> None:
    """If standard error is not a terminal, no bars are drawn and one line is printed."""
    assert main(["build", "--serving=rehearsal", *SMALL, "--output=x.jsonl"]) == 0
    told = capsys.readouterr().err
    assert "\r" not in told
    (line,) = told.splitlines()
    assert line.startswith("x.jsonl: 1 row of train (")


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """While no response arrives, lines show the number of calls in flight and how long the oldest has waited."""
    monkeypatch.setattr(progress, "TICK", 0.01)
    monkeypatch.setattr(progress, "LINES_EVERY", 0.02)
    monkeypatch.setattr(progress, "LONG", 0.0)
    stats, told = RunStats(), ""
    with lines_instead_of_bars(), CallsBar(Recipe("a-model"), stats), stats.sending():
        for _ in range(1_000):
            if "in flight" in (told := told + capsys.readouterr().err):
                break
            progress.time.sleep(0.01)
    assert "Calling a-model: 0 calls, 0 tokens, 1 in flight, the oldest for 0 s" in told
    assert not stats.in_flight


def test_where_rows_that_were_built_before_come_from_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """For rows that were built before, the command says which cache they come from and how to rebuild them."""
    for _ in range(2):
        assert main(["build", "--serving=rehearsal", *SMALL, "--output=x.jsonl"]) == 0
    assert "(built before, from the cache in " in (told := capsys.readouterr().err)
    assert "; --force rebuilds it)" in told


@pytest.mark.parametrize("stopped_by", ["--max-calls=3", "--max-draws=2"])
def test_a_build_that_stops_leaves_its_failures(stopped_by: str) -> None:
    """A build that stops still writes its failures, which often explain why it stopped.

    Here unusable answers use up the budget or the permitted draws.
    """
    with Provider(lambda call: next(iter(UNUSABLE.values()))) as provider:
        given = [f"--base-url={provider.url}", "--api-key=a-key", "--model=claude-haiku-4-5", "--serving=anthropic"]
        assert main(["build", *given, *SMALL, stopped_by, "--failures=f.jsonl", "--output=x.jsonl"]) in (1, 3)
    failures = [json.loads(line) for line in Path("f.jsonl").read_text("utf-8").splitlines()]
    assert len(failures) >= 2
    assert {one["stage"] for one in failures} == {"skeleton"}
    assert not Path("x.jsonl").exists()


def test_a_mistyped_language_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """The warning suggests the nearest name; the build continues, because models know languages that are in no list."""
    assert unknown("English") == unknown("German") == unknown("Brazilian Portuguese") == ""
    assert "Did you mean" not in unknown("Qwertyuiop")
    assert main(["build", "--serving=rehearsal", *SMALL, "--language=Germna", "--output=x.jsonl"]) == 0
    assert "'Germna' is not in Unicode's list of languages" in (told := capsys.readouterr().err)
    assert "Did you mean 'German'?" in told
