"""`build`, `check` and `report` write to files, URLs, folders and the standard output."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

from consistent_chat.cli import main
from consistent_chat.commands.build import COUNTERS
from tests import ROOT

pytestmark = pytest.mark.usefixtures("folder")  # a separate working directory and cache


@pytest.fixture
def memory() -> Iterator[Any]:
    """Return an empty in-memory filesystem of fsspec."""
    fs = fsspec.filesystem("memory")
    yield fs
    fs.rm("/", recursive=True)


def build(*options: str) -> int:
    """Build the demo."""
    return main(["build", "demo", *options])


def rows(content: bytes) -> list[dict[str, Any]]:
    """Return the rows of JSON lines."""
    return [json.loads(line) for line in content.splitlines()]


def test_files_at_a_url(memory: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`build` writes JSON Lines, failures and folders of Parquet files to URLs."""
    assert build("--output", "memory://made/demo.JSONL", "--failures", "memory://made/failures.parquet") == 0
    assert len(rows(memory.cat_file("/made/demo.JSONL"))) == 18
    assert pq.read_table(io.BytesIO(memory.cat_file("/made/failures.parquet"))).num_rows == 3
    assert build("--output", "memory://folder") == 0
    assert pq.read_table(io.BytesIO(memory.cat_file("/folder/train.parquet"))).num_rows == 18
    assert "memory://folder: 18 rows of train" in capsys.readouterr().err
    assert list(Path().glob("mem*")) == []


def test_the_list_for_llamafactory_at_a_url(memory: Any) -> None:
    """With the layout `sharegpt`, `dataset_info.json` at the URL gets an entry and keeps the existing ones."""
    memory.pipe_file("/made/dataset_info.json", b'{"other": {}}')
    assert build("--layout", "sharegpt", "--output", "memory://made/demo.jsonl") == 0
    assert list(json.loads(memory.cat_file("/made/dataset_info.json"))) == ["other", "demo"]


def test_the_standard_output_has_json_lines_alone(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """The standard output has only JSON Lines, and messages go to the standard error."""
    assert build("--output", "-") == 0
    said = capsysbinary.readouterr()
    assert len(rows(said.out)) == 18
    assert b"standard output: 18 rows of train" in said.err
    assert list(Path().glob("*")) == [Path("cache")]


@pytest.mark.slow
def test_findings_and_pages_on_the_standard_output(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """`check` and `report` write only their results to the standard output, without the usual tables."""
    build("--output", "demo.jsonl")
    capsysbinary.readouterr()
    assert main(["check", "demo.jsonl", "--output", "-"]) == 0
    assert len(rows(capsysbinary.readouterr().out)) == 18
    assert main(["report", "demo.jsonl", "--html", "-"]) == 0
    page = capsysbinary.readouterr().out
    assert page.startswith(b"<!doctype html>")
    assert page.endswith(b"</html>\n")


def test_findings_never_replace_the_chats(capsys: pytest.CaptureFixture[str]) -> None:
    """`check` does not overwrite the checked file, even if its path is spelled differently."""
    build("--output", "demo.jsonl")
    assert main(["check", "demo.jsonl", "--output", "./demo.jsonl"]) == 2
    assert "--output ./demo.jsonl is the file to check. Choose another name." in capsys.readouterr().err


@pytest.mark.slow
def test_pages_and_findings_at_a_url(memory: Any) -> None:
    """`report` and `check` write pages and findings to URLs."""
    build("--output", "demo.jsonl")
    assert main(["report", "demo.jsonl", "--html", "memory://page.html"]) == 0
    assert main(["check", "demo.jsonl", "--output", "memory://deep/found.jsonl"]) == 0
    assert memory.cat_file("/page.html").startswith(b"<!doctype html>")
    assert len(rows(memory.cat_file("/deep/found.jsonl"))) == 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "-", "--splits", "train=1", "test=1"], "is one file, but the recipe has 2 splits"),
        (["--output", "-", "--failures", "-"], "--failures - is also the file of --output"),
        (["--output", "data-1.5"], "To create a folder with that name, add a slash"),
        (["--output", "made.json"], "must end in .parquet or .jsonl"),
        (["--output", "https://host/made.jsonl"], "read only"),
        (["--output", "made.jsonl", "--failures", "s4://bucket/made.jsonl"], "Protocol not known: s4"),
    ],
)
def test_what_cannot_be_is_said_before_any_call(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An invalid combination of options gives one message before any call."""
    given = ("--serving", "rehearsal", "--responses", "responses")
    assert main(["build", *given, *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("responses").exists()


@pytest.mark.parametrize("output", ["data-1.5/", "old.parquet", "old.parquet/"])
def test_a_folder_may_be_named_like_a_file(output: str) -> None:
    """A folder may be named like a file if it exists or if its name ends in a slash."""
    Path("old.parquet").mkdir()
    assert build("--output", output) == 0
    assert pq.read_table(Path(output, "train.parquet")).num_rows == 18


def test_rows_are_counted_in_the_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """If the written file has another number of rows, the command fails with a message."""
    monkeypatch.setitem(COUNTERS, ".jsonl", lambda file: 17)
    assert build("--output", "demo.jsonl") == 1
    assert "demo.jsonl has 17 rows instead of 18" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_stops_reading_ends_the_command_quietly() -> None:
    """If the reader closes the pipe, as `head` does, the command ends without an error."""
    command = [sys.executable, "-m", "consistent_chat", "build", "demo", "--output", "-", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        running.stdout.close()
        assert running.stderr
        assert running.stderr.read() == b""
    assert running.returncode == 0
