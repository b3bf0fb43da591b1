"""Packs: immutable Parquet files of records, named by the SHA-256 of their bytes.

Their columns (key, generation, request, response, sha256) are text and whole numbers, so that any Parquet reader can
show them. A pack is read by row group, and its file is closed in between. Packs outlive the version that wrote them. A
reader accepts a pack of its format that has these columns, in any order, and ignores other columns. So every part of a
response belongs in its JSON, where a reader keeps unknown fields; a new column may only repeat or index it. FORMAT is
raised when older versions must not read a pack at all.
"""

from __future__ import annotations

import itertools
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consistent_chat.errors import DamagedRecord, StoreError
from consistent_chat.files import (
    NotPlainFile,
    file_digest,
    make_private_folder,
    move_into_place,
    open_plain,
    temporary_file,
)
from consistent_chat.store.pages import MOST_GROUP_BYTES, NOT_READ, PAGE_BYTES, ROWS_AT_ONCE, Pages
from consistent_chat.store.record import Record, damaged

FORMAT = 1
ROWS_PER_GROUP, BYTES_PER_GROUP = 512, 4 << 20
"""Maximum size of a row group: this many rows, or this many bytes of text if answers are long."""
MOST_ROWS = 2_000_000
"""A pack with more rows is not read: packing writes none, and it could fill the memory."""
KEY_LENGTH = len("sha256:") + 64

UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError, AttributeError)
"""The errors that reading a damaged file can raise."""

Prefixes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"
_T = TypeVar("_T")
_NAME = re.compile("[0-9a-f]{64}")
_KEY = re.compile("sha256:[0-9a-f]{64}")

_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("generation", pa.int32()),
        ("request", pa.string()),
        ("response", pa.string()),
        ("sha256", pa.string()),
    ],
    metadata={"consistent_chat_pack": str(FORMAT)},
)
# Requests of a recipe have long texts in common: as a dictionary they are one page of a group, and compressed together.
# Other values rarely repeat. Values of one size, which hardly shrink, are read faster without compression.
# No statistics: they would repeat whole texts in the footer.
# Page checksums, because without them a flipped bit in a key would hide its record without an error.
_WRITING = {
    "compression": {name: "zstd" if name in ("key", "request", "response") else "none" for name in _SCHEMA.names},
    "use_dictionary": ["request"],
    "dictionary_pagesize_limit": 2 * BYTES_PER_GROUP,
    "write_statistics": False,
    "write_page_checksum": True,
    "write_batch_size": ROWS_AT_ONCE,
    "data_page_size": PAGE_BYTES,
}


class PackGone(StoreError):
    """A pack was removed because its records were repacked."""

    def __init__(self, path: str) -> None:
        super().__init__(f"The pack {path} was removed, and its responses are now in another pack. Rerun.")


def write_pack(records: Iterable[Record], folder: Path) -> Path | None:
    """Write records as one pack into a folder, atomically. Return its path, or None if there are no records."""
    groups = _groups(records)
    first = next(groups, None)
    if first is None:
        return None
    try:
        make_private_folder(folder)
        with temporary_file(folder) as file:
            with pq.ParquetWriter(file, _SCHEMA, **_WRITING) as writer:
                for group in itertools.chain([first], groups):
                    writer.write_table(group)
            file.flush()
            path = folder / f"{file_digest(file.name)}.parquet"
            move_into_place(file, path)
    except OSError as error:
        raise StoreError(
            f"A pack cannot be written to {folder}: {error.strerror or error}. Free space or grant access there."
        ) from None
    return path


class RowGroup(NamedTuple):
    """The columns that are needed to look up some rows of a pack."""

    generation: list[int]
    response: list[str]
    sha256: list[str]


class Pack:
    """A pack on this machine. `ends` has the number of the row after each group's last.

    `is_named_by_content` tells whether the file's name is a digest, to which its bytes are held before a response is
    read; `name` is that name without its extension.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.stem
        self.is_named_by_content = _NAME.fullmatch(self.name) is not None
        self._footer: Any = None
        self._vouched = False
        self._check_plain()
        self._footer, self.ends, self.prefixes = self._read(self._look, str(path))
        self._pages = Pages(path, self._footer, RowGroup._fields)
        self._no_pages: set[int] = set()  # groups of which rows cannot be read alone

    def __len__(self) -> int:
        return len(self.prefixes)

    def __iter__(self) -> Iterator[Record]:
        for number in range(len(self.ends)):
            yield from (self._record(*row) for row in self._rows(number))

    def start(self, number: int) -> int:
        """Return the first row of a group."""
        return self.ends[number - 1] if number else 0

    def where(self, row: int) -> str:
        """Return the name of a row in messages."""
        return f"{self.path}, row {row}"

    def group(self, number: int) -> RowGroup:
        """Read the lookup columns of a group of rows, after the file's checksum was verified once."""
        self.verify_checksum()
        return RowGroup(*self._columns(number, RowGroup._fields))

    def row(self, number: int, row: int) -> tuple[Any, ...] | None:
        """Return what `group` returns for one row, or None if the whole group must be read.

        Only a matching digest shows that the row is right.
        """
        self.verify_checksum()
        if number in self._no_pages:
            return None
        try:
            return self._pages.row(number, row - self.start(number))
        except NOT_READ:
            self._no_pages.add(number)
            return None

    def identities(self, rows: Sequence[int]) -> Iterator[tuple[int, str, str]]:
        """Yield each of these ascending rows with its key and digest, after the file's checksum was verified once."""
        self.verify_checksum()
        for number, some in itertools.groupby(rows, lambda row: bisect_right(self.ends, row)):
            keys, digests = self._columns(number, ("key", "sha256"))
            start = self.start(number)
            yield from ((row, keys[row - start], digests[row - start]) for row in some)

    def key(self, row: int) -> str:
        """Read the key of a row."""
        number = bisect_right(self.ends, row)
        (keys,) = self._columns(number, ("key",))
        return str(keys[row - self.start(number)])

    def faults(self) -> Iterator[str]:
        """Yield a message for each damaged record, and one if the file does not match its name."""
        for number in range(len(self.ends)):
            try:
                rows = list(self._rows(number))
            except DamagedRecord as error:
                yield str(error)
                continue
            yield from filter(None, (self._fault(*row) for row in rows))
        if file_digest(self.path) != self.path.stem:
            yield str(damaged(str(self.path), "its bytes do not match its name"))

    def verify_checksum(self) -> None:
        """Verify the file once against its name, if that is a digest. Raises DamagedRecord, which names a record."""
        if self._vouched:
            return
        try:
            whole = not self.is_named_by_content or file_digest(self.path) == self.path.stem
        except OSError as error:
            raise _unread(self.path, error) from None
        if not whole:
            raise DamagedRecord(next(self.faults()))
        self._vouched = True

    def _fault(self, row: int, values: Sequence[Any]) -> str | None:
        try:
            self._record(row, values).check_fields(self.where(row))
        except DamagedRecord as error:
            return str(error)
        return None

    def _record(self, row: int, values: Sequence[Any]) -> Record:
        key, generation, request, response, digest = values
        if null := null_columns(_SCHEMA.names, values):
            raise damaged(self.where(row), null)
        try:
            return Record(key, generation, request, response).check(digest, self.where(row))
        except UNREADABLE as error:
            raise damaged(self.where(row), str(error)) from None

    def _rows(self, number: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
        return enumerate(zip(*self._columns(number, _SCHEMA.names)), self.start(number))

    def _columns(self, number: int, names: Sequence[str]) -> list[list[Any]]:
        """Read columns of a group of rows. The error names the rows if they cannot be read."""
        where = f"{self.path}, rows {self.start(number)} to {self.ends[number] - 1},"
        return self._read(lambda file: _lists(file.read_row_group(number, columns=names), names), where)

    def _check_plain(self) -> None:
        try:
            os.close(open_plain(self.path))
        except NotPlainFile as error:
            raise damaged(str(self.path), error.reason) from None
        except OSError as error:
            raise _unread(self.path, error) from None

    def _look(self, file: pq.ParquetFile) -> tuple[Any, list[int], Prefixes]:
        """Return the footer, the ends of the groups, and the first 64 bits of every key, by row."""
        self._check_format(file)
        sizes = _sizes(file.metadata)
        parts, start = [np.empty(0, np.uint64)], 0
        for batch in file.iter_batches(1 << 16, columns=["key"]):
            parts.append(_prefixes(batch.column(0), start))
            start += len(batch)
        joined = np.concatenate(parts)
        if not len(joined) == sum(sizes) == file.metadata.num_rows or min(sizes, default=0) < 0:
            raise ValueError(f"{len(joined)} of {sum(sizes)} rows have keys")
        return file.metadata, list(itertools.accumulate(sizes)), joined

    def _read(self, read: Callable[[pq.ParquetFile], _T], where: str) -> _T:
        options = {"metadata": self._footer, "memory_map": True, "page_checksum_verification": True}
        try:
            with pq.ParquetFile(self.path, **options) as file:
                return read(file)
        except UNREADABLE as error:
            if isinstance(error, OSError) and error.errno:  # Arrow's own errors have none
                raise _unread(self.path, error) from None
            raise damaged(where, str(error)) from None

    def _check_format(self, file: pq.ParquetFile) -> None:
        version = (file.schema_arrow.metadata or {}).get(b"consistent_chat_pack", b"0")
        if version != str(FORMAT).encode():
            raise StoreError(
                f"{self.path} has pack format {version.decode()}; this version reads {FORMAT}. Update consistent_chat."
            )
        for column in _SCHEMA:
            if (found := _types(file.schema_arrow, column.name)) != [column.type]:
                raise ValueError(f"its column {column.name!r} is {' and '.join(map(str, found)) or 'missing'}")


def _types(schema: pa.Schema, name: str) -> list[pa.DataType]:
    """Return the types of the columns with a name."""
    return [schema.field(place).type for place in schema.get_all_field_indices(name)]


def _sizes(footer: Any) -> list[int]:
    """Return the number of rows in each group.

    Raises ValueError, before anything is read, if they would not fit into memory, since a few kilobytes can expand to
    gigabytes.
    """
    if footer.num_rows > MOST_ROWS:
        raise ValueError(f"it has {footer.num_rows:,} rows, more than the maximum of {MOST_ROWS:,}")
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    for number, group in enumerate(groups):
        size = group.total_byte_size  # uncompressed; Arrow aborts the process when it opens a damaged column's metadata
        if not 0 <= size <= MOST_GROUP_BYTES:
            raise ValueError(f"its group {number} has {size:,} bytes, more than the maximum of {MOST_GROUP_BYTES:,}")
    return [group.num_rows for group in groups]


def _unread(path: Path, error: OSError) -> StoreError:
    if isinstance(error, FileNotFoundError):
        return PackGone(str(path))
    reason = os.strerror(error.errno or 0)  # Arrow gives only the number, in its own message
    return StoreError(f"{path} cannot be read: {reason}. Grant access there, or check the disk.")


def _lists(table: pa.Table, names: Sequence[str]) -> list[list[Any]]:
    return [table.column(name).to_pylist() for name in names]


def null_columns(names: Sequence[str], values: Sequence[Any]) -> str:
    """Return a phrase that names the columns of a row that are null; empty if none is."""
    missing = [name for name, value in zip(names, values) if value is None]
    return f"its {' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} null" if missing else ""


def _prefixes(keys: pa.StringArray, start: int) -> Prefixes:
    """Read the digits directly from Arrow's buffer: every key is `sha256:` and 64 hex digits.

    Raises ValueError, which names the first row with another kind of key. `start` is the row of the first of these
    keys.
    """
    offsets = np.frombuffer(keys.buffers()[1], np.int32)[keys.offset : keys.offset + len(keys) + 1]
    try:
        text = np.frombuffer(keys.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].reshape(len(keys), KEY_LENGTH)
        return np.frombuffer(bytes.fromhex(text[:, 7:23].tobytes().decode("ascii")), ">u8").astype(np.uint64)
    except (ValueError, TypeError):  # a column with only nulls has no buffer
        raise ValueError(_no_key(keys.to_pylist(), start)) from None


def _no_key(keys: list[str | None], start: int) -> str:
    row = next((row for row, key in enumerate(keys) if key is None or not _KEY.fullmatch(key)), 0)
    if keys[row] is None:
        return f"the key of its row {start + row} is null"
    return f"the key of its row {start + row} is not 'sha256:' and 64 hex digits"


def _groups(records: Iterable[Record]) -> Iterator[pa.Table]:
    rows: list[tuple[Any, ...]] = []
    size = 0
    for record in records:
        rows.append((record.key, record.generation, record.request, record.response, record.digest))
        size += len(record.request) + len(record.response)
        if len(rows) == ROWS_PER_GROUP or size >= BYTES_PER_GROUP:
            yield _table(rows)
            rows, size = [], 0
    if rows:
        yield _table(rows)


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    return pa.table([pa.array(column, type) for column, type in zip(zip(*rows), _SCHEMA.types)], schema=_SCHEMA)
