"""Tests of packs: they are plain Parquet files named by their content, and all damage to them is noticed."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.errors import DamagedRecord, StoreError
from consistent_chat.request import Response
from consistent_chat.store import ResponseStore, verify
from consistent_chat.store.pack import ROWS_PER_GROUP, write_pack
from consistent_chat.store.record import Record
from consistent_chat.store.rows import GROUPS_KEPT
from tests.stored import asked, files, fill, said

NUMBERS = range(5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of a pack of five records."""
    return write_pack(map(record, NUMBERS), tmp_path_factory.mktemp("whole")).read_bytes()


def record(number: int) -> Record:
    """Return a record with a short response to the request of that number."""
    return Record.of(asked(number), Response(f"answer {number}"))


def put(pack: bytes, folder: str) -> Path:
    """Write the bytes of a pack into a store, under a name of 64 hex digits like that of any pack."""
    path = Path(folder, "packs", "f" * 64 + ".parquet")
    path.parent.mkdir()
    path.write_bytes(pack)
    return path


def test_closing_makes_one_pack_that_any_parquet_reader_shows(place: str) -> None:
    """Closing a store writes one Parquet pack with requests and responses as JSON text, and removes the journal."""
    fill(place, *NUMBERS)
    (path,) = files(place, "packs")
    table = pq.read_table(path)
    assert table.column_names == ["key", "generation", "request", "response", "sha256"]
    assert [str(field.type) for field in table.schema] == ["string", "int32", "string", "string", "string"]
    assert [json.loads(text) for text in table["request"].to_pylist()] == [asked(n).identity() for n in NUMBERS]
    assert [json.loads(text) for text in table["response"].to_pylist()] == [said(n).plain() for n in NUMBERS]
    assert files(place, "journals") == []
    assert [file.name for file in sorted(Path(place).iterdir())] == ["journals", "packs", "store.json"]


def test_a_pack_is_named_by_its_content(tmp_path: Path) -> None:
    """The same records always make the same file with the same name, so stores are merged by copying files."""
    one, two = (write_pack(map(record, NUMBERS), tmp_path / name) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert one.name == two.name == hashlib.sha256(one.read_bytes()).hexdigest() + ".parquet"
    assert write_pack(map(record, NUMBERS), tmp_path / "one") == one
    assert list((tmp_path / "one").iterdir()) == [one]


@pytest.mark.slow
def test_a_pack_of_many_row_groups_is_read_in_any_order(tmp_path: Path) -> None:
    """Responses are found in any order in a pack with more row groups than are cached and an incomplete last group."""
    count = ROWS_PER_GROUP * (GROUPS_KEPT + 2) + 3
    path = write_pack(map(record, range(count)), tmp_path / "packs")
    assert pq.ParquetFile(path).num_row_groups == GROUPS_KEPT + 3
    store = ResponseStore(str(tmp_path))
    for number in [*range(0, count, 97), *reversed(range(0, count, 311)), count - 1]:
        assert store.find(asked(number)) == Response(f"answer {number}")
    assert store.find(asked(count)) is None
    assert sum(1 for _ in store.records()) == count


def test_keys_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    """Keys with the same first 64 bits, which are all that the index stores, are distinguished by their records."""
    key = asked(1).key
    twin = Record(key[:-1] + ("0" if key[-1] != "0" else "1"), 9, "{}", "{}")
    write_pack([twin, record(1), twin], tmp_path / "packs")
    assert ResponseStore(str(tmp_path)).find(asked(1)) == Response("answer 1")


def test_a_pack_that_stops_half_way_leaves_no_file(tmp_path: Path) -> None:
    """If writing a pack fails, no file is left."""

    def records() -> object:
        yield from map(record, range(ROWS_PER_GROUP + 1))
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_pack(records(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def look(folder: str, numbers: range) -> tuple[list[Response | None], str]:
    """Return the responses that a store finds for these numbers, and the message of the error, if any."""
    found: list[Response | None] = []
    try:
        store = ResponseStore(folder)
        found += [store.find(asked(number)) for number in numbers]
        assert sum(1 for _ in store.records()) == len(numbers)
    except StoreError as error:
        return found, str(error)
    return found, ""


def check_a_flip(whole: bytes, bit: int, numbers: range = NUMBERS) -> None:
    """Flip one bit, and check that no response is wrong or silently missing and that `verify` reports a fault."""
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    with tempfile.TemporaryDirectory() as folder:
        path = put(bytes(damaged), folder)
        found, message = look(folder, numbers)
        assert found == [Response(f"answer {number}") for number in numbers][: len(found)]
        assert str(path) in message if message else len(found) == len(numbers)
        named = path.rename(path.with_stem(hashlib.sha256(whole).hexdigest()))
        faults = verify(folder).faults
        assert faults
        assert all(str(named) in fault for fault in faults)


@pytest.mark.slow
@given(data=st.data())
def test_a_flipped_bit_is_noticed_or_changes_nothing(whole: bytes, data: st.DataObject) -> None:
    """With any bit flipped, a response is found unchanged or an error names the pack; `verify` reports every flip."""
    check_a_flip(whole, data.draw(st.integers(0, 8 * len(whole) - 1), "bit"))


@pytest.mark.slow
def test_a_flipped_bit_in_a_key_is_noticed(whole: bytes) -> None:
    """A flipped bit in a key is noticed; otherwise its response would not be found and would be paid for again."""
    keys = pq.ParquetFile(pa.BufferReader(whole)).metadata.row_group(0).column(0)
    start = keys.data_page_offset
    for bit in range(8 * start, 8 * (start + keys.total_compressed_size), 11):
        check_a_flip(whole, bit)


def counts(pack: bytes | bytearray) -> list[int] | None:
    """Return the row counts in a pack's footer, or None if the footer cannot be read."""
    try:
        footer = pq.read_metadata(pa.BufferReader(pack))
        return [footer.num_rows, *(footer.row_group(i).num_rows for i in range(footer.num_row_groups))]
    except (pa.ArrowException, OSError, ValueError):
        return None


@pytest.mark.slow
def test_a_flipped_bit_in_a_count_of_rows_is_noticed(tmp_path: Path) -> None:
    """A flipped bit in a row count is noticed; otherwise rows of later groups would be read from the wrong places."""
    whole = write_pack(map(record, range(ROWS_PER_GROUP + 100)), tmp_path).read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    damaged, right, flips = bytearray(whole), counts(whole), 0
    for bit in range(8 * footer, 8 * len(whole)):
        damaged[bit // 8] ^= 1 << bit % 8
        if counts(damaged) not in (None, right):
            check_a_flip(whole, bit, range(ROWS_PER_GROUP + 100))
            flips += 1
        damaged[bit // 8] ^= 1 << bit % 8
    assert flips >= 20


@pytest.mark.slow
def test_every_bit_is_noticed_or_changes_nothing(whole: bytes) -> None:
    """Every bit of a pack, flipped alone, is noticed or changes nothing."""
    for bit in range(8 * len(whole)):
        check_a_flip(whole, bit)


def test_damage_that_is_in_no_record_is_noticed(whole: bytes, tmp_path: Path) -> None:
    """Damage to the first bytes, which Parquet readers ignore, is noticed because the file does not match its name."""
    path = put(b"X" + whole[1:], str(tmp_path))
    with pytest.raises(DamagedRecord) as caught:
        ResponseStore(str(tmp_path)).find(asked(1))
    expected = (
        f"{path} is damaged: its bytes do not match its name. "
        "Restore the file from a copy, or delete the file to request its responses again."
    )
    assert str(caught.value) == expected
    assert verify(str(tmp_path)).faults == [expected]


@pytest.mark.parametrize("length", [0, 3, 100, -1])
def test_a_pack_that_was_cut_is_noticed(whole: bytes, tmp_path: Path, length: int) -> None:
    """A truncated pack, such as an interrupted copy leaves, is reported as damaged."""
    path = put(whole[:length], str(tmp_path))
    with pytest.raises(DamagedRecord) as caught:
        ResponseStore(str(tmp_path))
    assert str(caught.value).startswith(f"{path} is damaged: ")
    assert str(caught.value).endswith("delete the file to request its responses again.")


def rewritten(pack: bytes, column: str, row: int, value: object) -> bytes:
    """Return a pack with one value replaced: its pages are valid, but its records are not."""
    table = pq.read_table(pa.BufferReader(pack))
    values = table[column].to_pylist()
    values[row] = value
    at = table.column_names.index(column)
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type)), sink)
    return sink.getvalue().to_pybytes()


CHANGES = [("generation", 1), ("response", "{}"), ("sha256", "0" * 64)]


@pytest.mark.parametrize(("column", "value"), [*CHANGES, ("request", "{}")])
def test_a_pack_in_which_a_record_was_changed_is_not_read(
    whole: bytes, tmp_path: Path, column: str, value: object
) -> None:
    """A pack that does not match its name is not read; the error names the changed record, whichever was looked up."""
    path = put(rewritten(whole, column, 2, value), str(tmp_path))
    with pytest.raises(DamagedRecord, match=asked(2).key) as caught:
        ResponseStore(str(tmp_path)).find(asked(1))
    assert str(caught.value).startswith(f"{path}, row 2 is damaged: ")


@pytest.mark.parametrize(("column", "value"), CHANGES)
def test_a_record_that_was_changed_is_named(whole: bytes, tmp_path: Path, column: str, value: object) -> None:
    """A changed record is named by file, row and key, even in a renamed file; the other records are found."""
    path = put(rewritten(whole, column, 2, value), str(tmp_path))
    path = path.rename(path.with_stem("mine"))
    store = ResponseStore(str(tmp_path))
    with pytest.raises(DamagedRecord) as caught:
        store.find(asked(2))
    assert str(caught.value) == (
        f"{path}, row 2 is damaged: the digest of {asked(2).key} does not match its content. "
        "Restore the file from a copy, or delete the file to request its responses again."
    )
    assert store.find(asked(1)) == Response("answer 1")


@pytest.mark.parametrize("key", [None, "", "sha256:" + "x" * 64, "md5:0123456789"])
def test_a_key_that_is_no_key_is_noticed(whole: bytes, tmp_path: Path, key: str | None) -> None:
    """An invalid key is reported when the store is opened, because its record could not be found later."""
    path = put(rewritten(whole, "key", 2, key), str(tmp_path))
    with pytest.raises(DamagedRecord) as caught:
        ResponseStore(str(tmp_path))
    assert str(caught.value).startswith(f"{path} is damaged: ")


@pytest.mark.parametrize("missing", ["key", "response"])
def test_a_pack_without_a_column_is_noticed(whole: bytes, tmp_path: Path, missing: str) -> None:
    """A pack without a required column raises DamagedRecord, like any other damage."""
    table = pq.read_table(pa.BufferReader(whole)).drop_columns([missing])
    path = put(b"", str(tmp_path))
    pq.write_table(table, path)
    with pytest.raises(DamagedRecord) as caught:
        ResponseStore(str(tmp_path)).find(asked(1))
    assert str(caught.value).startswith(str(path))


def test_a_pack_of_a_later_format_asks_for_an_update(whole: bytes, tmp_path: Path) -> None:
    """A pack of a later format is not called damaged; the error says that this version is too old."""
    table = pq.read_table(pa.BufferReader(whole)).replace_schema_metadata({"consistent_chat_pack": "2"})
    path = put(b"", str(tmp_path))
    pq.write_table(table, path)
    with pytest.raises(StoreError) as caught:
        ResponseStore(str(tmp_path))
    assert str(caught.value) == f"{path} has pack format 2; this version reads 1. Update consistent_chat."
