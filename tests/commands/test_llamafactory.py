"""`--layout sharegpt` writes the files that LLaMA-Factory reads and lists them in `dataset_info.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.cli import main
from consistent_chat.commands import build as export
from consistent_chat.errors import RecipeError

pytestmark = pytest.mark.usefixtures("folder")  # a separate working directory and cache

LOADERS = {"parquet": "parquet", "jsonl": "json"}
THEIRS = {
    "identity": {"file_name": "identity.json", "num_samples": 91},
    "对话": {"hf_hub_url": "somebody/dialogues", "formatting": "sharegpt", "columns": {"messages": "conversations"}},
}


def build(*options: str) -> int:
    """Run the command in this process and return its exit code."""
    return main(["build", "demo", "--layout", "sharegpt", *options])


def listed(folder: str) -> dict[str, Any]:
    """Return the list of datasets of a folder."""
    entries: dict[str, Any] = json.loads(Path(folder, "dataset_info.json").read_text("ascii"))
    return entries


def as_llamafactory(folder: str, name: str) -> list[dict[str, Any]]:
    """Load a dataset by its name in the list of a folder, as src/llamafactory/data/loader.py does."""
    path = Path(folder, listed(folder)[name]["file_name"])
    return list(load_dataset(LOADERS[path.suffix[1:]], data_files=[str(path)], split="train"))


def skipped(row: dict[str, Any], entry: dict[str, Any]) -> str | None:
    """Say why LLaMA-Factory would skip a row, or None if it learns from it.

    The rules are those of SharegptDatasetConverter in LLaMA-Factory's src/llamafactory/data/converter.py, for a
    supervised dataset. If an entry has tags, all tags that it does not name are None (src/llamafactory/data/parser.py),
    so only three roles remain.
    """
    tags, messages = entry["tags"], row[entry["columns"]["messages"]]
    if messages and messages[0][tags["role_tag"]] == tags.get("system_tag"):
        messages = messages[1:]
    if len(messages) % 2 or not messages:
        return "an odd count of messages, or none"
    for place, message in enumerate(messages):
        if message[tags["role_tag"]] != tags["assistant_tag" if place % 2 else "user_tag"]:
            return f"the wrong role at place {place}"
        if not isinstance(message[tags["content_tag"]], str):
            return f"no text at place {place}"
    return None


@pytest.mark.parametrize("file", ["demo.parquet", "demo.jsonl"])
def test_llamafactory_finds_the_file_and_learns_from_every_row(file: str) -> None:
    """The entry has the file's name without the extension, and everything that is needed to read the file."""
    assert build("--output", f"data/{file}") == 0
    entry = listed("data")["demo"]
    assert entry == {
        "file_name": file,
        "formatting": "sharegpt",
        "columns": {"messages": "conversations"},
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
            "system_tag": "system",
        },
    }
    rows = as_llamafactory("data", "demo")
    assert len(rows) == 18
    assert [skipped(row, entry) for row in rows] == [None] * 18


def test_the_rules_are_rules() -> None:
    """A row that starts with the answer, ends with a question or repeats a role is reported as skipped."""
    build("--output", "demo.jsonl")
    entry, row = listed(".")["demo"], as_llamafactory(".", "demo")[0]
    messages = row["conversations"]
    assert skipped({"conversations": messages[::-1]}, entry) == "the wrong role at place 0"
    assert skipped({"conversations": [*messages[:2], *messages[:1]]}, entry) == "an odd count of messages, or none"
    assert skipped({"conversations": [messages[0], messages[0]]}, entry) == "the wrong role at place 1"


def test_a_folder_lists_its_splits() -> None:
    """A folder has an entry for each split, and `load_dataset` can still load it."""
    assert build("--output", "made") == 0
    assert list(listed("made")) == ["train"]
    assert load_dataset("./made").num_rows == {"train": 18}


def test_two_splits_are_two_entries_and_no_single_file() -> None:
    """A folder lists both splits, and a single file for two splits raises an error before any call."""
    for split in ("train", "test"):
        Path(f"{split}.consistent_chat.yaml").write_text("num_dialogs_per_intent: 1\nlayout: sharegpt\n")
    files = {split: f"{split}.consistent_chat.yaml" for split in ("train", "test")}
    given = {"data_files": files, "serving": "rehearsal", "responses": "responses"}
    with pytest.raises(RecipeError, match=r"made\.parquet is one file, but the recipe has 2 splits"):
        export.build(None, "made.parquet", **given)
    assert not Path("responses").exists()
    export.build(None, "made", **given)
    assert {name: entry["file_name"] for name, entry in listed("made").items()} == {
        "train": "train.parquet",
        "test": "test.parquet",
    }


def test_what_others_have_listed_stays() -> None:
    """Entries of other datasets stay unchanged, and only the entry of the written file is added or replaced."""
    Path("dataset_info.json").write_text(
        json.dumps({**THEIRS, "demo": {"file_name": "old"}}, ensure_ascii=False), "utf-8"
    )
    build("--output", "demo.jsonl")
    build("--output", "more.parquet")
    entries = listed(".")
    assert {name: entries[name] for name in THEIRS} == THEIRS
    assert list(entries) == [*THEIRS, "demo", "more"]
    assert entries["demo"]["file_name"] == "demo.jsonl"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"mine": {"file_name": ', "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
        (b"[]", "is not a JSON object"),
    ],
)
def test_a_broken_list_is_said_before_anything_is_built(
    text: bytes, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An invalid list gives a message with the file and the remedy, before any call, and the list stays unchanged."""
    Path("made").mkdir()
    Path("made/dataset_info.json").write_bytes(text)
    calls = ("--serving", "rehearsal", "--responses", "responses", "--num-dialogs-per-intent", "1")
    assert main(["build", "--layout", "sharegpt", *calls, "--output", "made/new.jsonl"]) == 2
    said = capsys.readouterr().err
    assert f"made/dataset_info.json {why}" in said
    assert "Correct it, or move it away." in said
    assert "Traceback" not in said
    assert Path("made/dataset_info.json").read_bytes() == text
    assert [path.name for path in Path("made").iterdir()] == ["dataset_info.json"]
    assert not Path("responses").exists()


@pytest.mark.parametrize("layout", ["conversation", "messages"])
def test_other_layouts_list_nothing(layout: str) -> None:
    """Other layouts do not write the list, because only LLaMA-Factory uses it."""
    Path("dataset_info.json").write_text("broken, and none of our business")
    assert main(["build", "demo", "--layout", layout, "--output", "demo.jsonl"]) == 0
    assert Path("dataset_info.json").read_text() == "broken, and none of our business"
    assert main(["build", "demo", "--layout", layout, "--output", "made"]) == 0
    assert [path.name for path in Path("made").iterdir()] == ["train.parquet"]
