"""Packs: immutable Parquet files of records, named by the SHA-256 of their bytes.

Their columns (key, generation, request, response, sha256) are text and whole numbers, so that any Parquet reader
shows them. A pack is read by row group; the last few are kept decoded, since a plan asks in about the order in
which responses came.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consistent_chat.errors import DamagedRecord, StoreError
from consistent_chat.store.record import Record

FORMAT = 1
ROWS_PER_GROUP = 512
GROUPS_KEPT = 8
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


def write_pack(records: Iterable[Record], folder: Path) -> Path:
    """Write records as one pack into a folder, completely or not at all; return its path."""
    temporary = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(temporary, _SCHEMA, compression="zstd", write_page_checksum=True) as writer:
            for group in _groups(records):
                writer.write_table(group, row_group_size=ROWS_PER_GROUP)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        path = folder / f"{content_name(temporary)}.parquet"
        os.replace(temporary, path)
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


class Pack:
    """A pack that lies on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Page checksums: without them a flipped bit in a key is a record that cannot be found, and nobody knows.
        self._file = self._read(lambda: pq.ParquetFile(path, memory_map=True, page_checksum_verification=True))
        self._read(self._check_format)
        self._ends = self._read(lambda: np.cumsum(self._sizes(), dtype=int))
        self._group = functools.lru_cache(maxsize=GROUPS_KEPT)(self._read_group)

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def __iter__(self) -> Iterator[Record]:
        return (self.record(row) for row in range(len(self)))

    def prefixes(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Return the first 64 bits of every key, by row."""
        return self._read(self._read_prefixes)

    def record(self, row: int) -> Record:
        """Return the record of a row; raise DamagedRecord when it is not what was written."""
        group = bisect_right(self._ends, row)
        at = row - (int(self._ends[group - 1]) if group else 0)
        values = self._read(lambda: [column[at].as_py() for column in self._group(group).columns])
        key, generation, request, response, digest = values
        return Record(key, generation, request, response).check(digest, f"{self.path}, row {row}")

    def verify(self) -> None:
        """Check the file's name against its bytes and every record; raise DamagedRecord."""
        if content_name(self.path) != self.path.stem:
            raise DamagedRecord(
                f"{self.path} is damaged: its bytes are not those it is named after. Restore it from a copy."
            )
        for row, record in enumerate(self):
            record.check_key(f"{self.path}, row {row}")

    def _read_group(self, group: int) -> pa.Table:
        return self._file.read_row_group(group).select(_SCHEMA.names)

    def _read_prefixes(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        keys = self._file.read(columns=["key"]).column("key")
        if not len(keys) == len(self) == sum(self._sizes()):
            raise ValueError(f"{len(self)} rows should have keys, {len(keys)} have")
        return np.concatenate([_prefixes(chunk) for chunk in keys.chunks] or [np.empty(0, np.uint64)])

    def _sizes(self) -> list[int]:
        return [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]

    def _read(self, read: Callable[[], _T]) -> _T:
        try:
            return read()
        except UNREADABLE as error:
            raise DamagedRecord(f"{self.path} is damaged: {error}. Restore it from a copy, or delete it.") from None

    def _check_format(self) -> None:
        version = (self._file.schema_arrow.metadata or {}).get(b"consistent_chat_pack", b"0")
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
    for record in records:
        rows.append((record.key, record.generation, record.request, record.response, record.digest))
        if len(rows) == ROWS_PER_GROUP:
            yield _table(rows)
            rows = []
    if rows:
        yield _table(rows)


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    return pa.table([pa.array(column, type) for column, type in zip(zip(*rows), _SCHEMA.types)], schema=_SCHEMA)
