"""Tests of single rows: a row read alone, in any order, equals the row that a reader of the whole pack finds."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.errors import DamagedRecord
from consistent_chat.request import Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.pack import ROWS_PER_GROUP, Pack, write_pack
from consistent_chat.store.record import Record
from consistent_chat.store.rows import RowReader
from tests.stored import asked

COUNT = ROWS_PER_GROUP + 101


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a pack with two row groups; some responses are long, and some are not ASCII."""
    records = (Record.of(asked(number), told(number)) for number in range(COUNT))
    path = write_pack(records, tmp_path_factory.mktemp("store") / "packs")
    assert path is not None
    return path


def told(number: int) -> Response:
    """Return the response to a request of that number."""
    return (
        Response("日本 😀\0" * number)
        if number % 5 == 2 and number < 60
        else Response(f"answer {number} " * (number % 90))
    )


def in_order(path: Path) -> list[tuple[int, str, str]]:
    """Return the generation, response and digest of each row, as a reader of the whole file finds them."""
    return [(record.generation, record.response, record.digest) for record in Pack(path)]


def test_a_row_alone_is_the_row_in_order(pack: Path) -> None:
    """Each row, read alone from its pages in random order, equals the row of the whole file."""
    expected, opened = in_order(pack), Pack(pack)
    rows = list(range(COUNT))
    random.Random(0).shuffle(rows)
    for row in rows:
        assert opened.row(int(row >= ROWS_PER_GROUP), row) == expected[row]


def test_rows_of_larger_pages_are_read_alone_too(pack: Path, tmp_path: Path) -> None:
    """Single rows are also read from packs in the first layout: all columns compressed, and 32 rows on a page."""
    path, expected = tmp_path / "other.parquet", in_order(pack)
    options = {"compression": "zstd", "write_statistics": False, "write_page_checksum": True, "use_dictionary": False}
    rows = {"write_batch_size": 32, "data_page_size": 1, "row_group_size": ROWS_PER_GROUP}
    pq.write_table(pq.read_table(pack), path, **options, **rows)
    opened = Pack(path)
    for row in random.Random(2).sample(range(COUNT), 30):
        assert opened.row(int(row >= ROWS_PER_GROUP), row) == expected[row]


@pytest.mark.slow
@given(st.lists(st.integers(0, COUNT - 1), max_size=40))
def test_any_order_finds_the_same(pack: Path, order: list[int]) -> None:
    """Rows are the same in any order, whether they are read alone or by group."""
    expected, reader = in_order(pack), RowReader([Pack(pack)])
    assert [reader.read(0, row) for row in order] == [expected[row] for row in order]


def test_neighbours_are_read_together(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all rows are read in order, as by a plan, each row group is decoded only once."""
    read: list[int] = []
    group = Pack.group
    monkeypatch.setattr(Pack, "group", lambda self, number: (read.append(number), group(self, number))[1])
    reader = RowReader([Pack(pack)])
    for row in range(COUNT):
        reader.read(0, row)
    assert read == [0, 1]


@pytest.mark.parametrize(
    "options", [{}, {"compression": "snappy"}, {"use_dictionary": True}, {"data_page_version": "2.0"}]
)
def test_pages_of_another_form_are_read_by_the_group(pack: Path, tmp_path: Path, options: dict[str, object]) -> None:
    """Packs of other writers and of earlier versions, with other page formats, can still be read."""
    path = tmp_path / "packs" / "other.parquet"
    path.parent.mkdir()
    options = {"compression": "zstd", "use_dictionary": False, "row_group_size": ROWS_PER_GROUP, **options}
    pq.write_table(pq.read_table(pack), path, **options)
    expected, reader = in_order(pack), RowReader([Pack(path)])
    for row in random.Random(1).sample(range(COUNT), 30):
        assert reader.read(0, row) == expected[row]


def test_a_flipped_byte_is_damage_in_any_order(pack: Path, tmp_path: Path) -> None:
    """Checksums and digests detect a flipped byte even in a pack that is not named by its content."""
    found = faults = 0
    content = pack.read_bytes()
    column = pq.ParquetFile(pack).metadata.row_group(0).column(3)
    start, size = column.data_page_offset, column.total_compressed_size
    for number in range(12):
        path = tmp_path / str(number) / "packs" / "other.parquet"
        path.parent.mkdir(parents=True)
        at = start + number * size // 12 + 3
        path.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        store = ResponseStore(str(path.parent.parent))
        for row in range(0, ROWS_PER_GROUP, 32):
            try:
                assert store.find(asked(row)) == told(row)
                found += 1
            except DamagedRecord:
                faults += 1
    assert faults >= 12
    assert found
