"""Tests of `consistent-chat verify` and `consistent-chat pack` on response stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistent_chat.cli import main
from consistent_chat.store import verify
from tests.store.test_verify import journal, packed
from tests.stored import files, fill


def test_the_command_says_that_all_is_whole(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For an intact store, `verify` prints one line on standard error, nothing on standard output, and exits with 0."""
    fill(place, 1, 2)
    assert main(["verify", place]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        f"consistent-chat: {place}: 2 responses in 1 packs and 0 journals: all intact.\n",
    )


def test_the_command_lists_each_fault(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` prints one line per fault on standard output and exits with 1."""
    paths = [packed(place, 1), packed(place, 2)]
    for path in paths:
        path.write_bytes(b"")
    assert main(["verify", place]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == len(verify(place).faults) >= 2
    assert all(any(str(path) in line for line in said.out.splitlines()) for path in paths)
    assert said.err.endswith("faults.\n")


def test_the_command_packs(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`pack` merges journals and small packs and prints how many there were."""
    fill(place, 1)
    fill(place, 2)
    journal(place, 4)
    assert main(["pack", place]) == 0
    assert capsys.readouterr().err == (
        f"{place}: 2 packs and 1 journals are now 1 packs and 0 journals still being written.\n"
    )
    assert len(files(place, "packs")) == 1
    assert main(["verify", place]) == 0


@pytest.mark.parametrize("command", ["pack", "verify"])
def test_the_commands_refuse_what_they_do_not_know(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """`pack` and `verify` refuse a newer store and a location without a store; they change and create nothing."""
    fill(place, 1)
    Path(place, "store.json").write_text('{"consistent_chat_store":2}\n')
    before = files(place, "packs")
    assert main([command, place]) == 1
    assert "Update consistent_chat." in capsys.readouterr().err
    assert files(place, "packs") == before
    assert main([command, str(tmp_path / "nowhere")]) == 1
    assert f"There is no response store at '{tmp_path}/nowhere'" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
