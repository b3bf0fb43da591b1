"""Tests of `verify`: it counts the contents of a store and reports every fault, not only the first."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.errors import StoreError
from consistent_chat.files import file_digest
from consistent_chat.request import Response
from consistent_chat.store import ResponseStore, compact, maintenance, pack, verify
from consistent_chat.store.journal import JournalWriter
from consistent_chat.store.location import StoreLocation
from consistent_chat.store.pack import write_pack
from consistent_chat.store.record import Record, to_line
from tests.stored import Moody, asked, files, fill, forget, kill_a_writer, said


def record(number: int) -> Record:
    """Return a record with a short response to the request of that number."""
    return Record.of(asked(number), Response(f"answer {number}"))


def packed(place: str, *numbers: int) -> Path:
    """Write a pack of these records, and return its path."""
    path = write_pack(map(record, numbers), Path(place, "packs"))
    assert path is not None
    return path


def journal(place: str, *numbers: int) -> Path:
    """Write a journal of these records, close its writer, and return its path."""
    writer = JournalWriter(Path(place, "journals"))
    for number in numbers:
        writer.append(record(number))
    writer.close()
    return writer.path


def flip(path: Path, byte: int, bit: int = 0) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def named_anew(path: Path) -> Path:
    """Rename a pack that was changed by other means to match its content, and return the new path."""
    return path.rename(path.with_name(f"{file_digest(path)}.parquet"))


def test_a_whole_store_is_counted(place: str) -> None:
    """`verify` counts packs, journals and responses, including superseded ones, and finds no fault."""
    packed(place, 1, 2, 3)
    packed(place, 3, 4)
    journal(place, 5)
    checked = verify(place)
    assert (checked.responses, checked.packs, checked.journals, checked.faults) == (6, 2, 1, [])
    assert str(checked) == "6 responses in 2 packs and 1 journals: all intact."


@pytest.mark.slow
def test_a_store_in_use_is_whole(place: str) -> None:
    """A journal in use and the incomplete last line of a killed writer are not faults."""
    reported = kill_a_writer(place, after=5)
    left = journal(place, 90, 91)
    left.write_bytes(left.read_bytes()[:-20])
    writer = ResponseStore(place)
    writer.keep(asked(50), said(50))
    checked = verify(place)
    assert checked.faults == []
    assert checked.responses - len(reported) in (2, 3)
    assert checked.journals == 3


@given(data=st.data())
def test_a_flipped_bit_of_a_pack_is_a_fault(data: st.DataObject) -> None:
    """Any flipped bit of a pack is a fault that names the file; faults of other files are reported as well."""
    with tempfile.TemporaryDirectory() as folder:
        path, other = packed(folder, 1, 2), packed(folder, 3)
        flip(path, data.draw(st.integers(0, path.stat().st_size - 1)), data.draw(st.integers(0, 7)))
        flip(other, 0)
        faults = verify(folder).faults
        assert any(str(path) in fault for fault in faults)
        assert any(str(other) in fault for fault in faults)


@given(data=st.data())
def test_a_flipped_bit_of_a_journal_is_a_fault(data: st.DataObject) -> None:
    """Any flipped bit of a journal, including the final newline, is a fault that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = journal(folder, 1, 2)
        flip(path, data.draw(st.integers(0, path.stat().st_size - 1)), data.draw(st.integers(0, 7)))
        faults = verify(folder).faults
        assert faults
        assert all(str(path) in fault for fault in faults)


@given(data=st.data())
def test_a_pack_that_is_cut_is_a_fault(data: st.DataObject) -> None:
    """A pack that is cut at any byte, even to zero bytes, is a fault that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = packed(folder, 1, 2)
        path.write_bytes(path.read_bytes()[: data.draw(st.integers(0, path.stat().st_size - 1))])
        assert str(path) in verify(folder).faults[0]


def test_every_changed_line_is_named_by_its_byte(place: str) -> None:
    """Every changed line of a journal is reported with its byte; the lines between and after them are still read."""
    path = journal(place, 1, 2, 3, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    for number in (1, 3):
        lines[number] = lines[number].replace(b"answer", b"Answer")
    path.write_bytes(b"".join(lines))
    checked = verify(place)
    starts = [len(b"".join(lines[:number])) for number in (1, 3)]
    assert [fault.partition(" is damaged: ")[0] for fault in checked.faults] == [
        f"{path}, byte {start}" for start in starts
    ]
    assert checked.responses == 4


def test_every_changed_row_is_named(place: str) -> None:
    """Every changed row is reported, even in a rewritten pack that is named by its new content."""
    path = packed(place, 1, 2, 3, 4)
    table = pq.read_table(path)
    rows = table.to_pylist()
    for number in (0, 2):
        rows[number]["response"] = rows[number]["response"].replace("answer", "Answer")
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    path = named_anew(path)
    assert [fault.partition(" is damaged: ")[0] for fault in verify(place).faults] == [
        f"{path}, row 0",
        f"{path}, row 2",
    ]


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("key", None, " is damaged: the key of its row 2 is null."),
        ("key", "", " is damaged: the key of its row 2 is not 'sha256:' and 64 hex digits."),
        ("key", "sha256:" + "z" * 64, " is damaged: the key of its row 2 is not 'sha256:' and 64 hex digits."),
        ("generation", None, ", row 2 is damaged: its generation is null."),
        ("request", None, ", row 2 is damaged: its request is null."),
        ("response", None, ", row 2 is damaged: its response is null."),
        ("sha256", None, ", row 2 is damaged: its sha256 is null."),
    ],
)
def test_a_missing_value_is_named(place: str, column: str, value: str | None, says: str) -> None:
    """`verify` and a lookup report a missing value by row and column; the lookup never counts as a miss."""
    path = packed(place, 1, 2, 3, 4)
    table = pq.read_table(path)
    rows = table.to_pylist()
    wanted = next(number for number in range(1, 5) if asked(number).key == rows[2]["key"])
    rows[2][column] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    path = named_anew(path)
    (fault,) = verify(place).faults
    assert fault.startswith(f"{path}{says}")
    if column != "request":  # a replay does not read it
        with pytest.raises(StoreError) as told:
            ResponseStore(place).find(asked(wanted))
        assert str(told.value) == fault


def test_a_column_of_nulls_is_named(place: str) -> None:
    """A column of nulls is reported for every row, but a key column only for its first row.

    Nothing can be found after a null key.
    """
    table = pq.read_table(packed(place, 1, 2))
    for column in table.column_names:
        nulls = table.set_column(
            table.column_names.index(column),
            table.schema.field(column),
            pa.nulls(2, table.schema.field(column).type),
        )
        (path,) = Path(place, "packs").iterdir()
        pq.write_table(nulls, path)
        path = named_anew(path)
        told = [fault.removeprefix(str(path)).partition(". ")[0] for fault in verify(place).faults]
        each = [f", row {row} is damaged: its {column} is null" for row in range(2)]
        assert told == ([" is damaged: the key of its row 0 is null"] if column == "key" else each)


def test_a_record_under_another_key_is_a_fault(place: str) -> None:
    """A record under the key of another request is a fault, although its digest matches.

    A lookup must not return the answer to another request.
    """
    false = Record(record(2).key, 0, record(1).request, record(1).response)
    path = write_pack([record(5), false], Path(place, "packs"))
    with open(journal(place, 6), "ab") as file:
        file.write(to_line(false))
    checked = verify(place)
    assert len(checked.faults) == 2
    assert all(f"{record(2).key} is not its request's key" in fault for fault in checked.faults)
    assert any(f"{path}, row 1" in fault for fault in checked.faults)


def test_swapped_names_are_two_faults(place: str) -> None:
    """Two packs with swapped names are two faults, although their records are intact."""
    one, other = packed(place, 1), packed(place, 2)
    one.rename(one.with_suffix(".tmp"))
    other.rename(one)
    one.with_suffix(".tmp").rename(other)
    faults = verify(place).faults
    assert sorted(fault.partition(" is damaged: ")[0] for fault in faults) == sorted(map(str, (one, other)))


def test_foreign_files_are_faults_and_the_rest_is_checked(place: str) -> None:
    """Foreign packs and invalid journals are faults, the rest is checked, and files with other names are ignored."""
    packed(place, 1)
    foreign = Path(place, "packs", "foreign.parquet")
    pq.write_table(pa.table({"text": ["hello"]}), foreign)
    Path(place, "packs", "text.parquet").write_text("hello")
    Path(place, "packs", "README.md").write_text("hello")
    Path(place, "packs", ".half.tmp").write_text("hello")
    journal(place, 2)
    Path(place, "journals", "notes.jsonl").write_text('{"text": "hello"}\n')
    checked = verify(place)
    assert checked.responses == 2
    for name in ("foreign.parquet", "text.parquet", "notes.jsonl"):
        assert any(name in fault for fault in checked.faults)
    assert not any("README" in fault or ".half" in fault for fault in checked.faults)


def test_a_folder_where_a_file_should_be_is_a_fault_and_the_rest_is_checked(place: str) -> None:
    """A folder in the place of a pack or journal is a fault and does not hide other faults."""
    Path(place, "packs", "folder.parquet").mkdir(parents=True)
    Path(place, "journals", "folder.jsonl").mkdir(parents=True)
    path = packed(place, 1)
    flip(path, 0)
    faults = verify(place).faults
    for name in (path.name, "folder.parquet", "folder.jsonl"):
        assert any(name in fault for fault in faults)


@pytest.mark.parametrize("method", [(StoreLocation, "names"), (maintenance, "read_journal")], ids=["packs", "journals"])
def test_what_is_packed_anew_meanwhile_is_no_fault(
    place: str, monkeypatch: pytest.MonkeyPatch, method: tuple[Any, str]
) -> None:
    """Files that a concurrent compaction removes are not faults, because their records are in other files."""
    fill(place, 1)
    fill(place, 2)
    journal(place, 4)
    journal(place, 5)
    owner, name = method
    original = getattr(owner, name)

    def and_tidy(given: Any) -> Any:
        found = original(given)
        monkeypatch.setattr(owner, name, original)
        compact(place)
        return found

    monkeypatch.setattr(owner, name, and_tidy)
    assert verify(place).faults == []
    assert len(files(place, "packs")) == 1
    assert verify(place).responses == 4


def test_a_remote_store_is_checked_where_it_lies() -> None:
    """`verify` checks the remote files, because a local copy may be intact where the original is not, or vice versa."""
    forget()
    remote = f"moody://{uuid.uuid4().hex}/responses"
    fill(remote, 1)
    fill(remote, 2)
    one, other = StoreLocation(remote).names()
    copy = StoreLocation(remote).packs / one
    flip(copy, 0)
    assert verify(remote).faults == []
    there = fsspec.filesystem("moody")
    content = there.cat_file(f"{remote}/packs/{other}")
    there.pipe_file(f"{remote}/packs/{other}", content[:-1])
    checked = verify(remote)
    assert checked.packs == 2
    assert checked.faults
    assert all(f"{remote}/packs/{other}" in fault for fault in checked.faults)


def test_a_remote_pack_that_vanishes_meanwhile_is_no_fault() -> None:
    """A remote pack that another machine has compacted during the check is not a fault."""
    forget()
    remote = f"moody://{uuid.uuid4().hex}/responses"
    fill(remote, 1)
    fill(remote, 2)

    def meanwhile(path: str) -> None:
        Moody.get = staticmethod(lambda path: None)
        compact(remote)

    Moody.get = staticmethod(meanwhile)
    checked = verify(remote)
    assert checked.faults == []
    assert verify(remote).responses == 2


def test_no_store_is_no_whole_store(tmp_path: Path) -> None:
    """A location without a store is an error, because the name may be mistyped."""
    with pytest.raises(StoreError, match=f"There is no response store at '{tmp_path}/respones'"):
        verify(str(tmp_path / "respones"))


@pytest.mark.parametrize("kind", ["pack", "journal"])
def test_a_newer_file_in_a_store_asks_for_an_update(place: str, kind: str) -> None:
    """A pack or journal of a newer format is a fault that asks for an update; it is not called damaged."""
    if kind == "pack":
        path = packed(place, 1)
        table = pq.read_table(path).replace_schema_metadata({"consistent_chat_pack": str(pack.FORMAT + 1)})
        pq.write_table(table, path)
        named_anew(path)
    else:
        path = journal(place, 1)
        path.write_bytes(path.read_bytes().replace(b'journal":1', b'journal":2', 1))
    (fault,) = verify(place).faults
    assert "Update" in fault
    assert "damaged" not in fault
