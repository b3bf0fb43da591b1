"""`consistent-chat review`: marks are made on the terminal, saved in the page's format, and exchanged with Argilla."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.cli import main
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.review import Mark, Review, load
from consistent_chat.recipe.safe_yaml import parse
from consistent_chat.reports.marks import Marks

pytestmark = pytest.mark.usefixtures("folder")

KEYS = [[f"sha256:{digit * 64}" for digit in pair] for pair in ("ab", "ac", "de")]
HOSTILE = "\x1b]52;c;x\x07 \u202e \x9b2J - [x]: #\u2028\ufffe"


def write_rows(judge: tuple[str, ...] = (), **more: Any) -> None:
    """Write a dataset of three dialogues. The first two have the same user messages. `judge` is the judge's key."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Is it far, {HOSTILE}?"},
                {"role": "assistant", "content": f"Answer {number}."},
            ],
            "provenance": {"request_keys": [*keys, *judge], "topic": f"walks {number} {HOSTILE}"},
            **more,
        }
        for number, keys in enumerate(KEYS, 1)
    ]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def reviewed(monkeypatch: pytest.MonkeyPatch, *lines: str, options: tuple[str, ...] = ()) -> tuple[Mark, ...]:
    """Pass lines to the command, and return the marks that are in the file afterwards."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    assert main(["review", "rows.jsonl", "--output", "rows.review.yaml", *options]) == 0
    path = Path("rows.review.yaml")
    return load(parse(path.read_text("utf-8"), "x")).marks if path.exists() else ()


def test_marks_are_those_that_the_page_makes(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Commands reject with a reason, keep with a note, and edit a message; a recipe reads the same marks.

    Control characters in typed or shown text never reach the terminal.
    """
    write_rows()
    lines = ["x It is dull.", "", "a", f"n so {HOSTILE}", "e assistant_1 Ten minutes.", "j", "j", "e system_1 x"]
    marks = reviewed(monkeypatch, *lines, "x", "?")
    assert marks == (
        Mark(tuple(KEYS[0]), "reject", "It is dull."),
        Mark(tuple(KEYS[1]), "keep", "", f"so {HOSTILE}", (("assistant_1", "Ten minutes."),)),
    )
    said = capsys.readouterr()
    assert "a mark that rejects must have a reason" in said.out
    assert "there is no message 'system_1' to edit. Use: user_1, assistant_1." in said.out
    assert "assistant_1 (edited)\n" in said.out.replace(" \n", "\n").replace("      ", "")
    assert not set("\x1b\x9b\u202e") & set(said.out + said.err)
    Path("r.consistent_chat.yaml").write_text("model: m\nreview: rows.review.yaml\n")
    read = Recipe.from_file("r.consistent_chat.yaml").loaded_review
    assert read is not None
    assert read.marks == marks


def test_a_review_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A review continues at the first dialogue without a mark.

    Marks can be changed and removed, and marks of other dialogues stay.
    """
    write_rows()
    reviewed(monkeypatch, "a", "j", "x Wrong.", "q", "a")
    capsys.readouterr()
    marks = reviewed(monkeypatch, "n third", "k", "a", "k", "u", "k")
    assert "walks 3" in capsys.readouterr().out.partition("walks 2")[0]
    assert marks == (Mark(tuple(KEYS[1])), Mark(tuple(KEYS[2]), note="third"))
    write_rows((f"sha256:{'f' * 64}",), judgement={"consistency": 5})
    assert reviewed(monkeypatch, "n judged")[-1] == Mark((*KEYS[0], f"sha256:{'f' * 64}"), note="judged")
    assert reviewed(monkeypatch, "k", "n known")[0] == Mark(tuple(KEYS[1]), note="known")


def test_argillas_records_bring_the_marks_back(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Marks are exported as suggestions, and imported from the responses of any number of annotators."""
    write_rows()
    reviewed(monkeypatch, "x It is dull.", "j", "e user_1 Is it near?")
    assert reviewed(monkeypatch, options=("--export", "records.json")) == reviewed(monkeypatch)
    records = json.loads(Path("records.json").read_text("utf-8"))
    assert [record["id"] for record in records] == [keys[-1] for keys in KEYS]
    assert records[0]["suggestions"]["reason"] == {
        "value": "It is dull.",
        "score": None,
        "agent": "consistent_chat review",
    }
    assert records[1]["fields"]["chat"][1] == {"role": "assistant", "content": "Answer 2."}
    for record in records[:2]:
        record["responses"] = {
            name: [{"value": suggestion["value"], "user_id": "7"}] for name, suggestion in record["suggestions"].items()
        }
    records[2]["responses"] = {
        "verdict": [{"value": "keep", "user_id": "7"}, {"value": "reject", "user_id": "8"}],
        "reason": [{"value": "Too long.", "user_id": "8"}],
        "edits": [{"value": "assistant_1: Shorter.", "user_id": "7"}],
    }
    records += [{"id": KEYS[0][0], "responses": {"note": [{"value": "?"}]}}, {"id": "x", "responses": {}}]
    records += [{"id": KEYS[0][1], "responses": {"verdict": [{"value": "reject"}]}}]
    Path("back.json").write_text(json.dumps(records))
    Path("rows.review.yaml").unlink()
    marks = reviewed(monkeypatch, options=("--import", "back.json"))
    assert [(mark.verdict, mark.reason, dict(mark.edits)) for mark in marks] == [
        ("reject", "It is dull.", {}),
        ("keep", "", {"user_1": "Is it near?"}),
        ("reject", "Too long.", {}),
    ]
    said = capsys.readouterr().err
    assert "3 marks read from back.json. Left out: 1 rejections without a reason, 1 records of other dialogues." in said


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 200_000, "is not JSON"),
        ("{}", "must be a list of records"),
        ("[1]", "record 1 is not a record of Argilla"),
        ([{"id": KEYS[0][1], "responses": []}, 1], "record 2 is not a record"),
        ([{"id": KEYS[0][1], "responses": [1]}], "record 1: responses must be a mapping"),
        ([{"id": KEYS[0][1], "responses": {"note": {"value": "x"}}}], "record 1: note must be a list"),
        ([{"id": KEYS[0][1], "responses": {"note": [{"value": 1}]}}], "record 1: note must have texts"),
        ([{"id": KEYS[0][1], "responses": {"verdict": [{"value": "maybe"}]}}], "record 1: verdict must be one of"),
        ([{"id": KEYS[0][1], "responses": {"edits": [{"value": "Say less."}]}}], "record 1: edits must name messages"),
        ([{"id": KEYS[0][1], "responses": {"edits": [{"value": "system_1: x"}]}}], "must name messages"),
        ([{"id": KEYS[0][1], "responses": {"edits": [{"value": "!!python/x {"}]}}], "record 1: edits"),
    ],
)  # fmt: skip
def test_wrong_records_are_one_message(records: Any, message: str, capsys: Any) -> None:
    """A wrong record gives one message with its number, and no review is written."""
    write_rows()
    Path("back.json").write_text(records if isinstance(records, str) else json.dumps(records))
    assert main(["review", "rows.jsonl", "--import", "back.json"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("rows.review.yaml").exists()


def test_the_file_is_named_by_the_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The review in the current folder is named after the dataset without its suffix, like the page's review."""
    write_rows()
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\n"))
    assert main(["review", "rows.jsonl"]) == 0
    assert Path("rows.review.yaml").exists()


def test_dialogues_without_keys_take_no_marks(capsys: Any) -> None:
    """Dialogues without request keys cannot be marked, because a mark could not identify them."""
    write_rows(provenance={})
    assert main(["review", "rows.jsonl"]) == 1
    assert "Build with --provenance" in capsys.readouterr().err


TEXTS = st.text().filter(lambda text: not set(text) & set("\0") and text.strip() == text != "")
KEY = st.integers(0, 9).map(lambda digit: f"sha256:{str(digit) * 64}")


@given(
    st.lists(
        st.builds(Mark, st.tuples(KEY, KEY), st.just("reject"), TEXTS, TEXTS), unique_by=lambda one: frozenset(one.keys)
    )
)
def test_a_review_is_written_as_it_is_read(marks: list[Mark]) -> None:
    """A review of any texts, and of marks that share keys, is the same after writing and reading."""
    assert load(parse(Review(tuple(marks)).text, "x")).marks == tuple(marks)
    assert Marks(marks).review.marks == tuple(marks)
