"""In a review, substitutes replace rejected dialogues, edits change messages, and marks still apply after growth."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.errors import MissingResponse, RecipeError
from consistent_chat.publishing import recipe_file
from consistent_chat.recipe import Recipe, review
from consistent_chat.recipe.safe_yaml import Document, parse

SMALL: dict[str, Any] = {"num_dialogs_per_intent": 2, "num_turns_per_dialog": 2, "responses": "responses"}
KEY = f"sha256:{'a' * 64}"


def load(serving: str | None = "rehearsal", **given: Any) -> list[dict[str, Any]]:
    """Load the rows of a rehearsal, or replay them from its responses if `serving` is None."""
    return list(
        load_dataset("consistent_chat", serving=serving, model="rehearsal", **{**SMALL, "split": "train", **given})
    )


def marks(*given: dict[str, Any]) -> dict[str, Any]:
    """Return a review with these marks."""
    return {"marks": list(given)}


def reject(row: dict[str, Any]) -> dict[str, Any]:
    """Return the mark that rejects a row."""
    return {"keys": row["provenance"]["request_keys"], "verdict": "reject", "reason": "It is dull."}


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_what_is_rejected_gives_way_and_what_is_edited_stands(caplog: pytest.LogCaptureFixture) -> None:
    """A review changes only the marked rows, and still applies when the dataset is extended, judged or replayed."""
    before = load()
    edit = {
        "keys": before[1]["provenance"]["request_keys"],
        "edits": {"assistant_2": "So it is.", "user_9": "Not here."},
    }
    given = marks(reject(before[0]), edit)
    with pytest.raises(MissingResponse, match=r"rejected \(It is dull\.\)\. The substitute .* is not recorded"):
        load(None, review=given)
    with caplog.at_level(logging.WARNING):
        after = load(review=given)
    assert "marks of the review" not in caplog.text
    assert len(after) == len(before) == 18
    assert after[0]["provenance"]["index"] == 0
    assert after[0]["conversation"] != before[0]["conversation"]
    assert after[1]["conversation"][:3] == before[1]["conversation"][:3]
    assert after[1]["conversation"][3] == {"role": "assistant", "value": "So it is."}
    assert [row["provenance"].pop("edited") for row in after] == [[], ["assistant_2"], *[[]] * 16]
    assert after[2:] == before[2:]
    more = load(review=given, num_dialogs_per_intent=3, judge_model="rehearsal")
    assert [row["conversation"] for row in more[:18]] == [row["conversation"] for row in after]
    assert load(None, review=given, num_dialogs_per_intent=3, judge_model="rehearsal") == more
    again = load(review=marks(*given["marks"], reject(after[0])))
    assert again[0]["conversation"] not in (after[0]["conversation"], before[0]["conversation"])


@pytest.mark.usefixtures("folder")
def test_a_mark_whose_dialogue_is_gone_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A mark that names no dialogue of the dataset logs a warning and has no effect."""
    before = load()
    with caplog.at_level(logging.WARNING):
        after = load(review=marks({"keys": [KEY], "verdict": "reject", "reason": "x"}, reject(before[3])))
    assert "1 of 2 marks of the review do not name a dialogue of this dataset" in caplog.text
    assert [row["conversation"] for row in after if row["provenance"]["index"] != 3] == [
        row["conversation"] for row in before if row["provenance"]["index"] != 3
    ]


@pytest.mark.slow
def test_rejections_are_no_failures_of_a_spec(folder: Path) -> None:
    """A row can be rejected 10 times, more often than a spec may fail, and the number of rows stays the same."""
    given, rows, seen = [], load(intents=["simulation"]), []
    for _ in range(10):
        seen.append(rows[0]["conversation"])
        given.append(reject(rows[0]))
        rows = load(intents=["simulation"], review=marks(*given))
    assert rows[0]["conversation"] not in seen
    assert len(rows) == 2


def test_the_content_is_the_identity_and_not_the_path(tmp_path: Path) -> None:
    """The review's content, not its path, determines the fingerprint, and a published recipe contains the review."""
    given = marks({"keys": [KEY], "verdict": "reject", "reason": "No.\nReally: no."})
    (tmp_path / "deep").mkdir()
    for name in ("x.review.yaml", "deep/y.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(given))
        (tmp_path / "r.consistent_chat.yaml").write_text(f"model: m\nreview: {name}\n")
        read = Recipe.from_file(str(tmp_path / "r.consistent_chat.yaml"))
        assert fingerprint(read) == fingerprint(Recipe("m", review=given))
    assert (
        fingerprint(Recipe("m", review=str(tmp_path / "x.review.yaml")))
        == fingerprint(read)
        != fingerprint(Recipe("m"))
    )
    recipe_file.write(read, tmp_path / "published.yaml")
    assert Recipe.from_file(str(tmp_path / "published.yaml")).review == read.review


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "review must be a mapping with `marks`"),
        ("marks: {}", "review must be a mapping with `marks`"),
        ("marks: []\ncode: x", "review must be a mapping with `marks`"),
        ("marks:\n- x", "line 2 (marks.0): a mark must be a mapping of keys, verdict"),
        ("marks:\n- keys: [x]", "keys must be 1 to 300 request keys"),
        ("marks:\n- keys: []", "keys must be 1 to 300 request keys"),
        (f"marks:\n- keys: [{KEY}]\n- keys: {KEY}", "line 3 (marks.1): keys must be"),
        (
            f"marks:\n- keys: [{KEY}]\n- keys: [{KEY}]",
            "one mark for each dialogue; mark 1",
        ),
        (f"marks:\n- keys: [{KEY}]\n  verdict: maybe", "verdict must be one of keep, reject"),
        (f"marks:\n- keys: [{KEY}]\n  verdict: reject", "a mark that rejects must have a reason"),
        (f"marks:\n- keys: [{KEY}]\n  verdit: reject", "a mark has no field 'verdit'. Did you mean 'verdict'?"),
        (f"marks:\n- keys: [{KEY}]\n  edits: {{system: x}}", "edits must name messages"),
        (f"marks:\n- keys: [{KEY}]\n  edits: {{user_0: x}}", "edits must name messages"),
        (f"marks:\n- keys: [{KEY}]\n  edits: {{user_1: ''}}", "edits.user_1 must be valid text of 1 to 100,000"),
        (f"marks:\n- keys: [{KEY}]\n  edits: {{user_1: [x]}}", "edits.user_1 must be valid text"),
        (f"marks:\n- keys: [{KEY}]\n  note: {'x' * 2001}", "note must be valid text of 1 to 2,000"),
        (f"marks:\n- {{keys: [{KEY}], verdict: reject, reason: x, edits: {{user_1: y}}}}", "must have no edits"),
        ("marks: !!python/object:os.system x", "r.review.yaml"),
    ],
)
def test_a_hostile_review_is_one_message(text: str, message: str, tmp_path: Path) -> None:
    """An invalid review raises one short error that names the file."""
    (tmp_path / "r.review.yaml").write_text(text)
    (tmp_path / "r.consistent_chat.yaml").write_text("model: m\nreview: r.review.yaml\n")
    with pytest.raises(RecipeError) as caught:
        Recipe.from_file(str(tmp_path / "r.consistent_chat.yaml"))
    assert message in str(caught.value)
    assert "review.yaml" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "name", ["../r.review.yaml", "/etc/passwd", "~/x.yaml", "s3://bucket/x.yaml", "a/%2e%2e/x.yaml"]
)
def test_a_recipe_file_reaches_no_other_folder(name: str, tmp_path: Path) -> None:
    """A recipe file cannot name a review outside its folder, so an untrusted recipe cannot read the user's files."""
    (tmp_path / "r.consistent_chat.yaml").write_text(f"model: m\nreview: {name}\n")
    with pytest.raises(RecipeError, match="must be a relative path within the recipe's own folder"):
        Recipe.from_file(str(tmp_path / "r.consistent_chat.yaml"))


FIELDS = st.sampled_from([*review.FIELDS, "x", "user_1", "assistant_2"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.text() | st.sampled_from([KEY, "keep", "reject"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=9,
)


@given(VALUES)
def test_anything_is_a_review_or_an_error(value: Any) -> None:
    """Any value either raises a `RecipeError` or loads as a review that can be written and read back unchanged."""
    try:
        read = review.load(Document({"marks": [value]}, "x.yaml"))
    except RecipeError:
        return
    assert review.load(parse(yaml.safe_dump(read.plain, allow_unicode=True), "x.yaml")) == read
