"""Test decontamination: hashed n-grams find messages that repeat given texts, in builds and in other chats."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.card.readme import _value
from consistent_chat.cli import main
from consistent_chat.dialogue.check_identity import check_identity
from consistent_chat.errors import RecipeError
from consistent_chat.publishing import layout, recipe_file
from consistent_chat.recipe import Recipe, ngrams
from consistent_chat.recipe.ngrams import Ngrams

pytestmark = pytest.mark.usefixtures("folder")

QUESTION = "Compose an engaging travel blog post about a recent trip to Hawaii, with cultural experiences."
HASH = "0" * 16


def head(**given: Any) -> str:
    """Return the first line of a file of n-grams."""
    return json.dumps({"consistent_chat_ngrams": 1, "name": "mine", "words": 5, **given}) + "\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (QUESTION, True),
        (f"Hi! {QUESTION.upper()} Thanks.", True),
        (QUESTION.replace(" ", "\n").replace(",", " -"), True),
        ("Compose an engaging travel blog post about a recent stay in Hawaii, with cultural experiences.", False),
        ("Tell me a joke about ducks", True),  # a whole text that is shorter than a run
        ("Tell me a joke about ducks in ponds", False),
        ("Never mind", False),
        ("\u6211\u559c\u6b22\u5728\u661f\u671f\u5929\u65e9\u4e0a\u53bb\u516c\u56ed\u8dd1\u6b65", True),
    ],
)
def test_a_run_of_words_is_found_however_it_is_written(text: str, found: bool) -> None:
    """A run of words is found in any case and punctuation, and the file contains no word of the texts."""
    texts = [QUESTION, "Tell me a joke about ducks!", "Never mind.",
             "\u6211\u559c\u6b22\u5728\u661f\u671f\u5929\u65e9\u4e0a\u53bb\u516c\u56ed\u8dd1\u6b65\u3002"]  # fmt: skip
    made = Ngrams.of(texts, "mine", 12)
    assert bool(made.first(text)) is found
    assert ngrams.load(made.text, "x") == pickle.loads(pickle.dumps(made)) == made
    assert "hawaii" not in made.text.lower()


@given(st.lists(st.text()), st.text(), st.integers(5, 50))
def test_what_is_in_a_text_is_found(words: list[str], other: str, length: int) -> None:
    """Any text is found, alone and within other text."""
    text = " ".join([*"abcde", *words])
    made = Ngrams.of([text], "mine", length)
    assert made.first(text)
    assert ngrams.load(made.text, "x") == made
    if len(made) > 1:
        assert made.first(f"{other} . {text} . {other}")


@pytest.mark.slow
def test_a_repeated_text_is_drawn_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only dialogues that repeat a text are replaced, and a replay gives the same rows.

    The content of the file is part of the fingerprint.
    """
    fields: dict[str, Any] = {"model": "rehearsal", "num_dialogs_per_intent": 5, "num_turns_per_dialog": 2}
    fields["intents"] = ["simulation"]
    run: dict[str, Any] = {"responses": "responses", "split": "train"}
    before = list(load_dataset("consistent_chat", serving="rehearsal", **fields, **run))
    said = before[3]["conversation"][2]["value"]
    Path("deep").mkdir()
    Path("questions.txt").write_text(f"{QUESTION}\n{said}\n")
    Path("mine.jsonl").write_text(json.dumps({"turns": [QUESTION, {"second": said}], "other": before[0]["category"]}))
    assert main(["ngrams", "questions.txt", "--name", "mine", "--output", "deep/a.ngrams", "--words", "9"]) == 0
    assert main(["ngrams", "mine.jsonl", "--column", "turns", "--output", "mine.ngrams", "--words", "9"]) == 0
    assert "of 9 words of 'mine'" in capsys.readouterr().err
    assert Path("mine.ngrams").read_text() == Path("deep/a.ngrams").read_text()
    Path("r.consistent_chat.yaml").write_text(json.dumps({**fields, "decontaminate": ["deep/a.ngrams"]}))
    after = list(load_dataset("consistent_chat", data_files="r.consistent_chat.yaml", serving="rehearsal", **run))
    given = {**fields, "decontaminate": "mine.ngrams"}
    assert list(load_dataset("consistent_chat", **given, **run)) == after
    changed = [number for number, row in enumerate(before) if row != after[number]]
    assert 3 in changed
    made = Ngrams.of([said], "mine", 9)
    assert changed == [
        number for number, row in enumerate(before) if any(made.first(one["value"]) for one in row["conversation"])
    ]
    recipe = Recipe.from_file("r.consistent_chat.yaml")
    assert fingerprint(recipe) == fingerprint(Recipe(**given)) != fingerprint(Recipe(**fields))
    assert check_identity(recipe) != check_identity(Recipe(**fields))
    assert check_identity(Recipe(**{**given, "checks": False}))
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in before))
    assert main(["check", "rows.jsonl", "--decontaminate", "mine.ngrams", "--output", "found.jsonl"]) == 0
    found = json.loads(Path("found.jsonl").read_text().splitlines()[3])["reasons"]
    assert [(one["reason"], one["side"], one["turn"]) for one in found if one["reason"] == "contaminated"] == [
        ("contaminated", "users", 2)
    ]
    assert "user_2 has words of 'mine': '" in found[-1]["detail"]


@pytest.mark.slow
def test_a_published_recipe_has_its_ngrams_beside_it() -> None:
    """A published recipe has its n-grams in separate files, and the card names them.

    The card also mentions a review.
    """
    recipe = Recipe("m", decontaminate=[Ngrams.of([QUESTION], "mt-bench"), Ngrams.of([QUESTION], "mine", 5)],
                    review={"marks": [{"keys": [f"sha256:{'0' * 64}"]}]})  # fmt: skip
    recipe_file.write(recipe, Path("made.consistent_chat.yaml"))
    read = Recipe.from_file("made.consistent_chat.yaml")
    assert (read.kept_out, read.review) == (recipe.kept_out, recipe.review)
    assert yaml.safe_load(Path("made.consistent_chat.yaml").read_text())["decontaminate"] == [
        "ngrams/made-1.ngrams",
        "ngrams/made-2.ngrams",
    ]
    assert layout.is_written("ngrams/made-1.ngrams")
    assert layout.is_published("ngrams/made-1.ngrams")
    assert [_value(name, recipe) for name in ("decontaminate", "review")] == ["mt-bench, mine", "1 mark"]


@pytest.mark.parametrize(
    "name", ["../mine.ngrams", "/etc/passwd", "~/x.ngrams", "s3://bucket/x", "a/%2e%2e/x", "link.ngrams", 7, [["x"]]]
)
def test_a_recipe_file_reaches_no_other_folder(name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe file cannot read n-grams from another folder, so a stranger's recipe does not read the user's files.

    A single name is treated as a list of one.
    """
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path / "own")
    (tmp_path / "mine.ngrams").write_text(head() + f"{HASH}\n")
    Path("link.ngrams").symlink_to(tmp_path / "mine.ngrams")
    for value in (name, [name]):
        Path("r.consistent_chat.yaml").write_text(json.dumps({"model": "m", "decontaminate": value}))
        with pytest.raises(RecipeError, match="decontaminate"):
            Recipe.from_file("r.consistent_chat.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a file of n-grams"),
        ("[" * 100_000, "is not a file of n-grams"),
        ('{"consistent_chat_ngrams": 1}', "is not a file of n-grams"),
        (head(consistent_chat_ngrams=2) + f"{HASH}\n", "is not a file of n-grams"),
        (head(), "must have 1 to 1,000,000 hashes"),
        (head() + HASH, "must have 1 to 1,000,000 hashes"),
        (head() + "secret words\n", "must have 1 to 1,000,000 hashes"),
        (head() + f"{HASH}\n" * 1_000_100, "must have 1 to 1,000,000 hashes"),
        (head(name="x" * 2_000) + f"{HASH}\n", "name must be one line"),
        (head(name="\x1b]52;c;x\x07") + f"{HASH}\n", "name must be one line"),
        (head(words=1) + f"{HASH}\n", "words must be a whole number from 5 to 50"),
        (head(words=True) + f"{HASH}\n", "words must be a whole number"),
    ],
)
def test_a_hostile_file_is_one_message(text: str, message: str) -> None:
    """An invalid file of n-grams is refused with one short message that does not show its content."""
    Path("x.ngrams").write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        Recipe("m", decontaminate="x.ngrams")
    assert "x.ngrams" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.txt"], "gone.txt cannot be read"),
        (["short.txt"], "There are no n-grams"),
        (["rows.jsonl"], "--column"),
        (["rows.jsonl", "--column", "txet"], "Did you mean 'text'?"),
        (["short.txt", "--words", "2"], "from 5 to 50"),
    ],
)
def test_what_makes_no_ngrams_is_said(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`consistent-chat ngrams` explains why no n-grams can be made and writes no file."""
    Path("short.txt").write_text("Hi.\n")
    Path("rows.jsonl").write_text(json.dumps({"text": QUESTION}) + "\n")
    assert main(["ngrams", *arguments, "--output", "x.ngrams"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("x.ngrams").exists()


@pytest.mark.parametrize("value", ["mine.ngrams", ["mine.ngrams"]])
def test_the_readme_of_a_strangers_folder_names_no_files(value: Any, tmp_path: Path) -> None:
    """A dataset's README cannot set `decontaminate`, although `datasets` reads config fields from it."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "a.consistent_chat.yaml").write_text("model: rehearsal\nnum_dialogs_per_intent: 1\n")
    config = {"config_name": "default", "data_files": "*.yaml", "decontaminate": value}
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps([config])}\n---\n")
    with pytest.raises(RecipeError, match="README of this dataset sets 'decontaminate'"):
        load_dataset(str(folder), serving="rehearsal")
