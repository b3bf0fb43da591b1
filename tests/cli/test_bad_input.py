"""Tests of input: invalid values are reported before any call, and valid values are accepted in every form."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import load_dataset

import consistent_chat
from consistent_chat import ConsistentChatGenerator
from consistent_chat.cli import main
from consistent_chat.errors import RecipeError
from consistent_chat.store import ResponseStore

RECIPE = "num_dialogs_per_intent: 1\nintents: [simulation]\ntaxonomy: divers.yaml\n"


@pytest.fixture(autouse=True)
def folder(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set up a working directory that is also the home folder, with a recipe, its taxonomy and a separate cache."""
    monkeypatch.setenv("HOME", str(work))
    monkeypatch.setenv("USERPROFILE", str(work))
    Path("my.consistent_chat.yaml").write_text(RECIPE)
    Path("divers.yaml").write_text("personas: [a diver]\n")
    return work


def load(*args: str, **given: Any) -> Any:
    """Load a rehearsal of one dialogue."""
    shape = {"serving": "rehearsal", "responses": "../responses", "intents": ["simulation"], "split": "train"}
    return load_dataset("consistent_chat", *args, **{**shape, "num_dialogs_per_intent": 1, **given})


def build(*options: str) -> int:
    """Run `build` with the rehearsal serving and return the exit code."""
    common = ("--serving", "rehearsal", "--num-dialogs-per-intent", "1", "--responses", "../responses")
    return main(["build", *common, *options])


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("taken/made.parquet", os.strerror(errno.ENOTDIR)),
        ("taken/deep/made", os.strerror(errno.ENOTDIR)),
        ("new/" + "n" * 300 + "/made.parquet", os.strerror(errno.ENAMETOOLONG)),
        ("made", os.strerror(errno.EISDIR)),
    ],
)
def test_an_output_that_cannot_be_written_is_said_first(
    output: str, reason: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An output that cannot be written is an error before any call, and no new folder is left."""
    Path("taken").touch()
    Path("made/train.parquet").mkdir(parents=True)
    before = sorted(folder.rglob("*"))
    assert build("--output", output) == 2
    said = capsys.readouterr().err
    assert f"--output {output}" in said
    assert f"cannot be written: {reason}" in said
    assert not Path("../responses").exists()
    assert sorted(folder.rglob("*")) == before


def test_a_build_that_fails_leaves_nothing(folder: Path) -> None:
    """A failed build leaves no new folders and no trial file, and an existing output file is kept."""
    Path("old").mkdir()
    Path("old/made.parquet").write_text("precious")
    before = sorted(folder.rglob("*"))
    assert build("--output", "new/deep/made.parquet", "--max-calls", "1") == 3
    assert build("--output", "old/made.parquet", "--max-calls", "1") == 3
    assert sorted(folder.rglob("*")) == before
    assert Path("old/made.parquet").read_text() == "precious"


def test_a_list_for_llamafactory_that_cannot_be_read_is_said_first(capsys: pytest.CaptureFixture[str]) -> None:
    """A dataset_info.json that cannot be read, here because it is a folder, is an error before any call."""
    Path("made/dataset_info.json").mkdir(parents=True)
    assert build("--layout", "sharegpt", "--output", "made/made.jsonl") == 2
    assert f"dataset_info.json cannot be read ({os.strerror(errno.EISDIR)})" in capsys.readouterr().err
    assert not Path("../responses").exists()


@pytest.mark.parametrize("name", ["default", "demo"])
@pytest.mark.parametrize("responses", ["", [], (), [None], [""], 3, ["a", 3], {"a": "b"}], ids=repr)
def test_responses_that_name_no_place(name: str, responses: Any) -> None:
    """Invalid values of responses= are refused before any call; the demo's own responses are never written instead."""
    with pytest.raises(RecipeError, match="responses must be a path or URL, or a list of them, not "):
        load(name, responses=responses)


@pytest.mark.parametrize("responses", ["~/kept", Path("kept"), ["kept"], (Path("kept"), "../responses")], ids=repr)
def test_responses_in_every_spelling(responses: Any) -> None:
    """responses= accepts one or several paths, as text or Path, also with `~`; the first location is written."""
    ResponseStore("../responses").prepare()
    assert len(load(responses=responses)) == 1
    assert len(list(ResponseStore("kept").records())) == 2


def test_dataflow_takes_paths_too() -> None:
    """The DataFlow generator accepts a Path for responses= and refuses invalid values."""

    class Storage:
        def write(self, data: Any) -> None:
            self.data = data

    given = {"num_dialogs_per_intent": 1, "intents": ["simulation"]}
    ConsistentChatGenerator("rehearsal", responses=Path("kept"), **given).run(Storage())
    assert len(list(ResponseStore("kept").records())) == 2
    with pytest.raises(RecipeError, match="responses must be"):
        ConsistentChatGenerator("rehearsal", responses=[], **given)


FILES = [
    Path("my.consistent_chat.yaml"),
    "~/my.consistent_chat.yaml",
    [Path("~/my.consistent_chat.yaml")],
    {"train": Path("my.consistent_chat.yaml")},
    {"train": ["~/my.consistent_chat.yaml"]},
]


@pytest.mark.parametrize("files", FILES, ids=repr)
def test_a_recipe_file_in_every_spelling(files: Any) -> None:
    """A recipe file is accepted in every form of data_files=, by `load_dataset` and by the builder class."""
    assert load(data_files=files)[0]["provenance"]["persona"] == "a diver"
    builder = consistent_chat.ConsistentChat(data_files=files, serving="rehearsal")
    assert builder.recipes["train"].full_taxonomy.personas == (("a diver", frozenset()),)


@pytest.mark.parametrize("path", [Path("divers.yaml"), "divers.yaml", "~/divers.yaml", Path("~/divers.yaml")], ids=repr)
def test_a_taxonomy_in_every_spelling(path: Any) -> None:
    """A taxonomy file is used whether its path is text or a Path, with or without `~`."""
    assert load(taxonomy=path)[0]["provenance"]["persona"] == "a diver"


def test_a_recipe_in_a_folder_with_brackets(folder: Path) -> None:
    """On the command line, a path with brackets and an asterisk is a path, not a pattern."""
    odd = folder / "a [1] *"
    odd.mkdir()
    for name in ("my.consistent_chat.yaml", "divers.yaml"):
        (folder / name).rename(odd / name)
    assert build("a [1] */my.consistent_chat.yaml", "--output", "made.jsonl") == 0
    assert json.loads(Path("made.jsonl").read_text())["provenance"]["persona"] == "a diver"


@pytest.mark.parametrize("name", ["nope", "divers.yaml"])
def test_a_folder_that_is_none(name: str) -> None:
    """A data_dir that is missing or is a file raises RecipeError."""
    with pytest.raises(RecipeError, match=f"data_dir must be an existing directory; {name} was not found"):
        load(data_dir=name)


def test_several_files_in_a_split_are_named(folder: Path) -> None:
    """The error for several recipe files in one split shows the split's name and the files in plain text."""
    Path("other.consistent_chat.yaml").write_text(RECIPE)
    named = r"The split 'train' names 2 files \(.*/my\.c.*, .*/other\.c.*\), "
    with pytest.raises(RecipeError, match=named) as caught:
        load(data_files=["my.consistent_chat.yaml", "other.consistent_chat.yaml"])
    assert "NamedSplit" not in str(caught.value)


@pytest.mark.parametrize("count", [0, -1])
def test_no_processes_cannot_build(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A num_proc below 1 gives the same message in Python and on the command line, before any call."""
    message = f"num_proc must be a whole number of at least 1, not {count}."
    with pytest.raises(RecipeError, match=message):
        load(num_proc=count)
    assert build("--num-proc", str(count), "--output", "made.parquet") == 2
    assert f"--{message.replace('_', '-')}" in capsys.readouterr().err
    assert not Path("../responses").exists()


@pytest.mark.parametrize("below", ["", "deep"])
def test_a_cache_that_cannot_be_written_is_said_first(
    below: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error for an unwritable cache gives the folder and the environment variables that select another one."""
    cache = Path(os.path.join(folder, "divers.yaml", below))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    assert build("--output", "made.parquet") == 1
    said = capsys.readouterr().err
    assert f"The cache of datasets, {cache}, cannot be written: " in said
    assert "HF_HOME or HF_DATASETS_CACHE" in said


@pytest.mark.slow
def test_what_several_processes_made_is_no_guess(capsys: pytest.CaptureFixture[str]) -> None:
    """The summary of a build with several processes counts the work of all of them.

    Only rows from the cache are reported as built before.
    """
    common = ("--output", "made.parquet", "--num-dialogs-per-intent", "4", "--num-proc", "2")
    assert build(*common) == 0
    assert "36 rows of train (train: 36 dialogues, 72 calls" in capsys.readouterr().err
    assert build(*common) == 0
    assert "36 rows of train (built before, from the cache in " in capsys.readouterr().err
