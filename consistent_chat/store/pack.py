"""Packs: immutable Parquet files of records, named by the SHA-256 of their bytes.

Their columns (key, generation, request, response, sha256) are text and whole numbers, so that any Parquet reader
shows them. A pack is read by row group, and holds no open file in between.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consistent_chat.errors import DamagedRecord, StoreError
from consistent_chat.store.record import Record

FORMAT = 1
ROWS_PER_GROUP, BYTES_PER_GROUP = 512, 4 << 20
"""A group is the least that is read: so many rows, or so many bytes of text where answers are long."""
KEY_LENGTH = len("sha256:") + 64

UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError)
"""What reading a damaged file raises."""

_T = TypeVar("_T")

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
# No dictionaries: hardly a value comes twice. No statistics: they would repeat whole texts in the footer.
# Page checksums: without them a flipped bit in a key is a record that cannot be found, and nobody knows.
_WRITING = {
    "compression": "zstd",
    "use_dictionary": False,
    "write_statistics": False,
    "write_page_checksum": True,
}


class PackGone(StoreError):
    """A pack is no longer where it was: its records were packed anew."""


def write_pack(records: Iterable[Record], folder: Path) -> Path | None:
    """Write records as one pack into a folder, completely or not at all; return its path, None without records."""
    groups = _groups(records)
    first = next(groups, None)
    if first is None:
        return None
    temporary = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(temporary, _SCHEMA, **_WRITING) as writer:
            writer.write_table(first)
            for group in groups:
                writer.write_table(group)
        path = folder / f"{content_name(temporary)}.parquet"
        _sync(temporary)
        os.replace(temporary, path)
        _sync(folder)
    except OSError as error:
        raise StoreError(f"A pack cannot be written to {folder}: {error.strerror or error}. Make room there.") from None
    finally:
        with contextlib.suppress(OSError):  # gone, or never begun
            temporary.unlink()
    return path


def content_name(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits: what a pack is named."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Group:
    """Some rows of a pack, in memory."""

    def __init__(self, path: Path, start: int, table: pa.Table) -> None:
        self._path, self._start = path, start
        self._columns = [table.column(name).combine_chunks() for name in _SCHEMA.names]

    def __len__(self) -> int:
        return len(self._columns[0])

    def record(self, at: int) -> Record:
        """Return the record of a row; raise DamagedRecord when it is not what was written."""
        where = f"{self._path}, row {self._start + at}"
        try:
            key, generation, request, response, digest = (column[at].as_py() for column in self._columns)
            return Record(key, generation, request, response).check(digest, where)
        except UNREADABLE as error:
            raise DamagedRecord(f"{where} is damaged: {error}. Restore the file from a copy, or delete it.") from None


class Pack:
    """A pack that lies on this machine.

    `ends` has the number of the row after each group's last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ends, self.prefixes = self._read(self._look, str(path))

    def __len__(self) -> int:
        return len(self.prefixes)

    def __iter__(self) -> Iterator[Record]:
        for number in range(len(self.ends)):
            group = self.group(number)
            yield from (group.record(at) for at in range(len(group)))

    def start(self, number: int) -> int:
        """Return the first row of a group."""
        return int(self.ends[number - 1]) if number else 0

    def group(self, number: int) -> Group:
        """Read a group of rows."""
        where = f"{self.path}, rows {self.start(number)} to {self.ends[number] - 1}"
        table = self._read(lambda file: file.read_row_group(number).select(_SCHEMA.names), where)
        return Group(self.path, self.start(number), table)

    def _look(self, file: pq.ParquetFile) -> tuple[list[int], np.ndarray[Any, np.dtype[np.uint64]]]:
        """Return where the groups end, and the first 64 bits of every key, by row."""
        self._check_format(file)
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        prefixes = [_prefixes(batch.column(0)) for batch in file.iter_batches(1 << 16, columns=["key"])]
        joined = np.concatenate([*prefixes, np.empty(0, np.uint64)])
        if not len(joined) == sum(sizes) == file.metadata.num_rows or min(sizes, default=0) < 0:
            raise ValueError(f"{sum(sizes)} rows should have keys, {len(joined)} have")
        return np.cumsum(sizes, dtype=int).tolist(), joined

    def _read(self, read: Callable[[pq.ParquetFile], _T], where: str) -> _T:
        try:
            with pq.ParquetFile(self.path, memory_map=True, page_checksum_verification=True) as file:
                return read(file)
        except FileNotFoundError:
            raise PackGone(f"{self.path} is gone. Open the store again.") from None
        except UNREADABLE as error:
            raise DamagedRecord(f"{where} is damaged: {error}. Restore the file from a copy, or delete it.") from None

    def _check_format(self, file: pq.ParquetFile) -> None:
        version = (file.schema_arrow.metadata or {}).get(b"consistent_chat_pack", b"0")
        if version != str(FORMAT).encode():
            raise StoreError(
                f"{self.path} has pack format {version.decode()}; this version reads {FORMAT}. Update consistent_chat."
            )


def _prefixes(keys: pa.StringArray) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Read the digits straight from Arrow's buffer: every key is `sha256:` and 64 hex digits."""
    offsets = np.frombuffer(keys.buffers()[1], np.int32)[keys.offset : keys.offset + len(keys) + 1]
    text = np.frombuffer(keys.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].reshape(len(keys), KEY_LENGTH)
    return np.frombuffer(bytes.fromhex(text[:, 7:23].tobytes().decode("ascii")), ">u8").astype(np.uint64)


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


def _sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
