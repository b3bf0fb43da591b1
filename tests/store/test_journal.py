"""Tests of journals: a reported response survives the death of the writer at any time, and all damage is noticed."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.errors import StoreError
from consistent_chat.request import Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.journal import HEADER, HELD, Journal, JournalWriter, abandoned, is_abandoned, read_journals
from consistent_chat.store.record import Record
from tests.stored import asked, files, fill, kill_a_writer, processes, said


def record(number: int) -> Record:
    """Return a record with a short response to the request of that number."""
    return Record.of(asked(number), Response(f"answer {number}"))


def journal(folder: Path, *numbers: int) -> Path:
    """Write a journal of these records, close its writer, and return its path."""
    writer = JournalWriter(folder)
    for number in numbers:
        writer.append(record(number))
    writer.close()
    return writer.path


def check_a_kill(place: str, after: int) -> None:
    """Kill a writer, and check that no reported response is lost.

    Also check that the incomplete line is set aside and that the next run packs all records.
    """
    reported = kill_a_writer(place, after)
    assert reported == list(range(len(reported)))
    (left,) = files(place, "journals")
    torn = Journal(left).torn
    reader = ResponseStore(place)
    assert [reader.find(asked(number)) for number in reported] == [said(number) for number in reported]
    fill(place, -1)
    assert files(place, "journals") == []
    assert [path.read_bytes() for path in files(place, "torn")] == ([torn] if torn else [])
    reader = ResponseStore(place)
    assert [reader.find(asked(number)) for number in [-1, *reported]] == [said(number) for number in [-1, *reported]]
    assert len(list(reader.records())) - len(reported) in (1, 2)  # -1, and perhaps one kept but not reported


@pytest.mark.slow_after(3)
@pytest.mark.parametrize("after", range(1, 16))
def test_a_killed_writer_loses_nothing_that_it_reported(place: str, after: int) -> None:
    """A writer loses no reported response to `kill -9` at a random point during a write."""
    check_a_kill(place, after)


@pytest.mark.slow
@pytest.mark.parametrize("after", range(200))
def test_two_hundred_killed_writers_lose_nothing_that_they_reported(place: str, after: int) -> None:
    """200 killed writers lose no reported response; so many kills also hit rare moments."""
    check_a_kill(place, 1 + after % 40)


@given(data=st.data())
def test_a_journal_cut_anywhere_keeps_every_whole_record(data: st.DataObject) -> None:
    """If a journal is cut at any byte, the complete records are found and the incomplete rest is set aside."""
    with tempfile.TemporaryDirectory() as folder:
        path = journal(Path(folder, "journals"), 1, 2, 3)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        count = max(0, whole[:cut].count(b"\n") - 1)
        torn = whole[whole.rfind(b"\n", 0, cut) + 1 : cut]
        store = ResponseStore(folder)
        assert [found.request for found in store.records()] == [record(n).request for n in (1, 2, 3)[:count]]
        store.prepare()
        store.close()
        assert files(folder, "journals") == []
        assert [path.read_bytes() for path in files(folder, "torn")] == ([torn] if torn else [])
        assert len(list(ResponseStore(folder).records())) == count


def test_a_torn_line_is_reported(place: str, caplog: pytest.LogCaptureFixture) -> None:
    """Every run that finds an incomplete last line logs a warning, until a run has packed the journal."""
    path = journal(Path(place, "journals"), 1, 2)
    os.truncate(path, path.stat().st_size - 100)
    torn = len(path.read_bytes().rpartition(b"\n")[2])
    with caplog.at_level(logging.WARNING, "consistent_chat"):
        assert ResponseStore(place).find(asked(2)) is None
        fill(place, 3)
        ResponseStore(place)
    expected = (
        f"The last line of {path} is incomplete, because its writer was stopped while writing. "
        f"Its {torn} bytes, which never counted as a response, are set aside."
    )
    assert [entry.getMessage() for entry in caplog.records] == [expected, expected]


def test_a_line_that_is_being_written_is_not_reported(place: str, caplog: pytest.LogCaptureFixture) -> None:
    """An incomplete line of a live writer causes no warning, because it is not a record yet."""
    writer = JournalWriter(Path(place, "journals"))
    writer.append(record(1))
    with open(writer.path, "ab") as file:
        file.write(b'{"sha256":"')
    with caplog.at_level(logging.WARNING, "consistent_chat"):
        assert len(list(ResponseStore(place).records())) == 1
    assert caplog.records == []


@pytest.mark.slow
@given(data=st.data())
def test_a_flipped_bit_is_noticed(data: st.DataObject) -> None:
    """A flipped bit in any byte of a journal raises an error that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = journal(Path(folder, "journals"), 1, 2)
        damaged = bytearray(path.read_bytes())
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(damaged)
        with pytest.raises(StoreError) as caught:
            ResponseStore(folder)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("bit", range(8))
def test_damage_to_the_last_lines_end_is_no_torn_line(tmp_path: Path, bit: int) -> None:
    """Damage to the final newline is an error: a reported record is not treated as one that never arrived."""
    path = journal(tmp_path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1 << bit]))
    with pytest.raises(StoreError, match=r"it is not a record|does not match its content"):
        Journal(path)


def test_damage_is_said_with_file_byte_and_remedy(tmp_path: Path) -> None:
    """The error for a damaged line names the file, the byte at which the line begins, and the remedy."""
    path = journal(tmp_path, 1, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + lines[2].replace(b"answer 2", b"answer 3"))
    with pytest.raises(StoreError) as caught:
        Journal(path)
    assert str(caught.value) == (
        f"{path}, byte {len(lines[0] + lines[1])} is damaged: the digest of {record(2).key} does not match its "
        "content. Restore the file from a copy, or delete the line to request its responses again."
    )


def test_a_file_that_is_no_journal_is_said_to_be_none(tmp_path: Path) -> None:
    """A file with the header of a later journal format raises an error that suggests an update."""
    path = tmp_path / "other.jsonl"
    path.write_bytes(HEADER.replace(b"1", b"2"))
    with pytest.raises(StoreError) as caught:
        read_journals(tmp_path)
    assert str(caught.value) == (
        f"{path} is not a journal that this version can read. Update the package, or move the file away."
    )


def test_a_live_journal_is_not_abandoned_even_to_its_own_process(tmp_path: Path) -> None:
    """A journal in use is not taken as abandoned, even by another store in the same process.

    Locks belong to open files, not to processes.
    """
    writer = JournalWriter(tmp_path)
    writer.append(record(1))
    gone = journal(tmp_path, 2)
    assert not is_abandoned(writer.path)
    with abandoned(tmp_path) as paths:
        assert paths == [gone]
    writer.close()
    assert is_abandoned(writer.path)


def test_two_packers_do_not_take_the_same_journal(tmp_path: Path) -> None:
    """A packer locks a journal until it has been packed and deleted, so a second packer does not take it."""
    gone = journal(tmp_path, 1)
    with abandoned(tmp_path) as mine, abandoned(tmp_path) as others:
        assert (mine, others) == ([gone], [])
    with abandoned(tmp_path) as paths:
        assert paths == [gone]


def test_a_packer_that_comes_as_a_journal_begins_takes_nothing(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packer that runs between the creation of a journal and its locking loses no response.

    It could otherwise lock the new file and delete it as empty.
    """
    lock = fcntl.flock

    def lock_too_late(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        ResponseStore(place).pack()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    fill(place, 1)
    assert ResponseStore(place).find(asked(1)) == said(1)


def test_closing_packs_what_others_left_and_leaves_what_others_write(place: str) -> None:
    """Closing a store packs abandoned journals and leaves alone the journals that other open stores write."""
    working = ResponseStore(place)
    working.keep(asked(1), said(1))
    left = journal(Path(place, "journals"), 2)
    fill(place, 3)
    assert not left.exists()
    assert len(files(place, "journals")) == 1
    assert len(files(place, "packs")) == 1
    working.keep(asked(4), said(4))
    assert working.find(asked(1)) == said(1)
    working.close()
    assert len(list(ResponseStore(place).records())) == 4


def test_a_store_that_kept_nothing_leaves_nothing(place: str) -> None:
    """A store that has kept nothing removes its journal when it closes."""
    store = ResponseStore(place)
    store.prepare()
    assert len(files(place, "journals")) == 1
    store.close()
    assert files(place, "journals") == files(place, "packs") == []


def test_many_abandoned_journals_are_packed_in_rounds(place: str) -> None:
    """Many abandoned journals are packed in several rounds.

    Each is an open file while it is packed, and the number of open files per process is limited.
    """
    lines = journal(Path(place, "journals"), 1).read_bytes()
    for number in range(HELD + 9):
        Path(place, "journals", f"{number}.jsonl").write_bytes(lines)
    ResponseStore(place).pack()
    assert len(files(place, "journals")) == 10
    ResponseStore(place).pack()
    assert files(place, "journals") == []


@pytest.mark.slow
def test_a_writer_and_a_packer_at_once_lose_nothing(place: str) -> None:
    """No response is lost while one process creates, fills and closes journals and another packs them continuously."""
    done, tell = processes.Pipe(duplex=False)
    packer = processes.Process(target=_pack_until_told, args=(place, done), daemon=True)
    packer.start()
    store = ResponseStore(place)
    for number in range(400):
        store.keep(asked(number), said(number))
        if number % 2:
            store.close()
    tell.send("done")
    packer.join()
    assert packer.exitcode == 0
    store = ResponseStore(place)
    assert [number for number in range(400) if store.find(asked(number)) != said(number)] == []
    assert files(place, "journals") == []


def _pack_until_told(place: str, done: Connection) -> None:
    store = ResponseStore(place)
    while not done.poll():
        store.pack()
    store.pack()
