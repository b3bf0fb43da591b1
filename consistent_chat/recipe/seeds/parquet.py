"""Reads columns of Parquet files in bounded memory, even if a small file repeats one large text millions of times.

A column's dictionary has each of its texts once, and rows point to them. So dictionaries are read before rows are
decoded: they tell how long a row can be, and so how many rows may be decoded at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from consistent_chat.errors import RecipeError

ROWS = 4096
"""Maximum rows that are decoded at once."""
MAX_BYTES = 64 * 2**20
"""Maximum bytes of a row, and of all rows that are decoded at once: as many as a line of JSON may have."""
_BUFFER = 2**16
"""Bytes that are read at once of a column of which only the dictionary is used."""
_OBJECT = 64
"""Bytes of a Python object besides its text, roughly."""
_DELTA = "DELTA_BYTE_ARRAY"
"""An encoding that repeats texts without a dictionary: each says how much of the one before it repeats."""


def batches(file: BinaryIO, name: str, columns: Sequence[str]) -> Iterator[Any]:
    """Yield these columns of a file as record batches. Raises RecipeError for a row of more than `MAX_BYTES`."""
    table = parquet.ParquetFile(file)
    leaves = [table.schema.column(at) for at in range(len(table.schema))]
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    probe = parquet.ParquetFile(file, metadata=table.metadata, read_dictionary=texts, buffer_size=_BUFFER)
    fixed = sum(leaf.length for leaf in leaves if leaf.path in columns)
    for group in range(table.num_row_groups):
        longest = fixed + sum(_longest(probe, group, column) for column in columns)
        if longest > MAX_BYTES:
            raise RecipeError(f"{name} has a row of more than {MAX_BYTES // 2**20} MiB. Divide it, or leave it out.")
        longest += _besides(table.metadata.row_group(group), columns)
        rows = max(1, min(ROWS, MAX_BYTES // max(longest, 1)))
        for batch in table.iter_batches(rows, row_groups=[group], columns=list(columns)):
            yield batch.select(list(columns))


def _longest(probe: Any, group: int, column: str) -> int:
    """Return the maximum bytes of a row in a column of a row group, as far as they come from dictionaries.

    The first row of a column of texts gives the dictionary of all. Lists are read whole, as indices.
    """
    is_nested = pa.types.is_nested(probe.schema_arrow.field(column).type)
    try:
        if is_nested:
            chunks = probe.read_row_group(group, columns=[column]).column(column).chunks
            return max((int(_sizes(chunk).max(initial=0)) for chunk in chunks), default=0)
        first = next(probe.iter_batches(1, row_groups=[group], columns=[column]), None)
    except OSError as error:
        if "DeltaByteArray" in str(error):  # it cannot be read as a dictionary, and has none
            return 0
        raise
    array = None if first is None else first.column(column)
    return int(_lengths(array.dictionary).max(initial=0)) if isinstance(array, pa.DictionaryArray) else 0


def _sizes(array: Any) -> Any:
    """Return the bytes of each element of an array, whose texts are in dictionaries, with all that is in it."""
    if isinstance(array, pa.DictionaryArray):
        return _lengths(array.dictionary).take(array.indices.fill_null(0).to_numpy(), mode="clip") + _OBJECT
    if pa.types.is_struct(array.type):
        return sum(map(_sizes, array.flatten()), np.full(len(array), _OBJECT))
    if isinstance(array, (pa.ListArray, pa.LargeListArray)):
        ends = np.concatenate([[0], np.cumsum(_sizes(array.values))])
        return np.diff(ends[array.offsets.to_numpy()]) + _OBJECT
    if isinstance(array, pa.FixedSizeListArray):
        return _sizes(array.values).reshape(-1, array.type.list_size).sum(axis=1) + _OBJECT
    return np.full(len(array), MAX_BYTES if pa.types.is_nested(array.type) else _OBJECT)


def _lengths(texts: Any) -> Any:
    """Return the bytes of each text of a dictionary."""
    return pc.binary_length(texts).fill_null(0).to_numpy().astype(np.int64)


def _besides(group: Any, columns: Sequence[str]) -> int:
    """Return the bytes of a row of a row group whose texts are in no dictionary: the mean, by what its head says.

    Where a text can repeat a part of the one before it, it is the maximum.
    """
    chunks = [group.column(at) for at in range(group.num_columns)]
    return sum(
        chunk.total_uncompressed_size // (1 if _DELTA in chunk.encodings else max(group.num_rows, 1))
        for chunk in chunks
        if chunk.path_in_schema.startswith(tuple(columns))
    )
