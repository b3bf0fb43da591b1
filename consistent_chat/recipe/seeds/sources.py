"""The sources of a recipe in the order of their digests, as an Arrow table: read from anywhere in constant time.

Large tables are in a file under HF_HOME, which is mapped into memory; small ones are in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from consistent_chat.errors import RecipeError
from consistent_chat.files import make_private_folder
from consistent_chat.recipe.seeds.source import COLUMN, Source

ROWS = 4096
"""Rows of a record batch. The position of a row follows from it."""
IN_MEMORY = 32 * 2**20
"""Maximum bytes of a table that is kept in memory."""


class Sources(Sequence[Source]):
    """Sources without duplicates, ordered by digest. Objects with the same content are equal."""

    def __init__(self, table: pa.Table, order: Any, path: str = "") -> None:
        self._table, self._order, self._path = table, order, path
        self._chunks = [column.chunks for column in table.columns]
        self._names = table.column_names[1:]

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        batch, row = divmod(int(self._order[place]), ROWS)
        digest, *texts = [chunks[batch][row].as_py() for chunks in self._chunks]
        return Source.of(digest.hex(), dict(zip(self._names, texts)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sources) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a small table as data, and a large one as the path of its file, which exists only on this machine."""
        return (_mapped, (self._path, self._order)) if self._path else (Sources, (self._table, self._order))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all digests in order: 64 hex digits."""
        return hashlib.sha256(_digests(self._table)[self._order].tobytes()).hexdigest()

    def parts(self, shares: Mapping[str, int]) -> dict[str, Sources]:
        """Divide the sources by their digests.

        Each part gets about its share, and an added source does not move others.
        """
        numbers = _digests(self._table)[self._order].view(">u8")[:, 3] % sum(shares.values())
        found, low = {}, 0
        for name, share in shares.items():
            found[name] = Sources(self._table, self._order[(numbers >= low) & (numbers < low + share)], self._path)
            low += share
        return found

    @property
    def fields(self) -> list[str]:
        """The fields of the sources, and the columns for templates, whose names begin with `COLUMN`."""
        return list(self._names)

    def has_empty(self, field: str) -> bool:
        """Return whether any source has no text in a field."""
        return field not in self._names or any("" in chunk.to_pylist() for chunk in self._table.column(field).chunks)

    def tables(self) -> Iterator[pa.Table]:
        """Yield all sources in order, some thousands at a time, without their digests."""
        for first in range(0, len(self), ROWS):
            yield self._table.take(pa.array(self._order[first : first + ROWS])).select(self._names)


def write(sources: Sources, path: Path, without: Collection[str] = ()) -> list[str]:
    """Write the fields of sources and the columns for templates as a Parquet file; return the fields.

    `without` are the fields to leave out.
    """
    from pyarrow import parquet

    kept = [name for name in sources.fields if name not in without]
    names = [name.removeprefix(COLUMN) for name in kept]
    schema = pa.schema([(name, pa.string()) for name in names])
    with parquet.ParquetWriter(path, schema, compression="zstd") as file:
        for table in sources.tables():
            file.write_table(table.select(kept).rename_columns(names))
    return [name for name in kept if not name.startswith(COLUMN)]


def gather(fields: Sequence[str], rows: Iterable[tuple[int, bytes, Sequence[str]]]) -> tuple[Sources, list[int]]:
    """Return sources from (row number, digest, texts), and the numbers of the rows that repeat another.

    The texts are in the order of `fields`.
    """
    digests, numbers = bytearray(), array("q")
    try:
        with _Spool(fields) as spool:
            for number, digest, texts in rows:
                digests += digest
                numbers.append(number)
                spool.add(digest, texts)
            table, path = spool.close(hashlib.sha256(digests).hexdigest())
    except OSError as error:  # of the disk; faults of the rows raise RecipeError
        raise RecipeError(
            f"The table of the seeds cannot be written to {_folder()}: {error.strerror or error}. Free space there, "
            f"or set "
            "HF_HOME to another folder."
        ) from None
    keys = np.frombuffer(digests, ">u8").reshape(-1, 4)
    order = np.lexsort((np.arange(len(keys)), *keys.T[::-1]))
    ordered = keys[order]
    repeats = np.zeros(len(order), bool)
    repeats[1:] = (ordered[1:] == ordered[:-1]).all(axis=1)
    del ordered
    return Sources(table, order[~repeats], path), sorted(numbers[one] for one in order[repeats])


def _digests(table: pa.Table) -> Any:
    """Return the digests of a table in the table's order, as rows of 32 bytes."""
    parts = [np.frombuffer(chunk.buffers()[1], "u1").reshape(-1, 32) for chunk in table.column("digest").chunks]
    return np.concatenate(parts) if parts else np.zeros((0, 32), "u1")


class _Spool:
    """Collects rows in memory, or in a file if there are many."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._schema = pa.schema([("digest", pa.binary(32)), *((name, pa.string()) for name in fields)])
        self._rows: list[tuple[bytes | str, ...]] = []
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0
        self._path = ""
        self._writer: Any = None

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._path and os.path.exists(self._path):  # it was not finished
            with contextlib.suppress(OSError):
                self._writer.close()
                os.unlink(self._path)

    def add(self, digest: bytes, texts: Sequence[str]) -> None:
        self._rows.append((digest, *texts))
        if len(self._rows) == ROWS:
            self._flush()

    def close(self, name: str) -> tuple[pa.Table, str]:
        """Return the table, and the path of its file if it has one."""
        if self._rows:
            self._flush()
        if self._writer is None:
            return pa.Table.from_batches(self._batches, self._schema), ""
        self._writer.close()
        path = os.path.join(os.path.dirname(self._path), f"{name}.arrow")
        os.replace(self._path, path)
        return _table(path), path

    def _flush(self) -> None:
        columns = zip(self._schema, zip(*self._rows))
        batch = pa.record_batch([pa.array(values, field.type) for field, values in columns], self._schema)
        self._rows = []
        self._bytes += batch.nbytes
        if self._writer is None and self._bytes > IN_MEMORY:
            self._open()
        if self._writer is None:
            self._batches.append(batch)
        else:
            self._writer.write_batch(batch)

    def _open(self) -> None:
        folder = _folder()
        make_private_folder(folder)
        file, self._path = tempfile.mkstemp(".tmp", dir=folder)
        os.close(file)
        self._writer = pa.ipc.new_file(self._path, self._schema)
        for batch in self._batches:
            self._writer.write_batch(batch)
        self._batches = []


def _folder() -> Path:
    from huggingface_hub import constants  # takes 0.1 s

    return Path(constants.HF_HOME) / "consistent_chat" / "seeds"


def _table(path: str) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(path)).read_all()


def _mapped(path: str, order: Any) -> Sources:
    try:
        return Sources(_table(path), order, path)
    except OSError:
        raise RecipeError(
            f"The table of the seeds, {path}, is not on this machine. Open the recipe again here, or put HF_HOME on a "
            f"disk that all machines share."
        ) from None
