"""Reads the rows of a file by its extension: CSV, JSON lines, Parquet, or a document, which is one row.

Tables are read in bounded memory, and only the needed columns are read. Arrow, which takes 0.1 s to import, is imported
where it is needed.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.fields import suggestion
from consistent_chat.recipe.seeds import documents

MAX_LINE = 64 * 2**20
"""Maximum bytes of a line of JSON, and of all Parquet rows that are decoded together.

A CSV row may have an eighth of this, which is the amount of CSV that is read at a time.
"""
BATCH = 4096
"""Maximum rows that are Python objects at the same time."""
FIRST = 1_000
"""Number of JSON lines that are read to find out which columns there are."""
MAX_NAME = 60
"""Maximum characters of a column's name in a message."""
MAX_COLUMNS = 10_000
"""Maximum number of columns that are kept for a message."""
_BUFFER = 2**16
"""Bytes that are read at once from a column of which only the dictionary is used."""
_OBJECT = 64
"""Approximate bytes of a Python object without its text."""
_DELTA = "DELTA_BYTE_ARRAY"
"""An encoding that repeats texts without a dictionary: each text repeats a part of the previous one."""

Rows = Iterator[tuple[int, Sequence[Any]]]
"""The number of each row, from 1, and its values in the order of the requested columns."""


def read(file: BinaryIO, name: str, columns: Sequence[str]) -> Rows:
    """Yield the rows of a file, read by its extension. Raises RecipeError, which names the file and the row."""
    import pyarrow as pa

    ending = name.lower().rpartition(".")[2]
    if ending not in READERS:
        raise RecipeError(f"{name} must end in {', '.join(f'.{one}' for one in READERS)}: no other formats are read.")
    distinct = list(dict.fromkeys(columns))
    places = [distinct.index(column) for column in columns]
    try:
        for number, values in READERS[ending](file, name, distinct):
            yield number, values if len(distinct) == len(columns) else [values[place] for place in places]
    except RecipeError:
        raise
    except UnicodeDecodeError:
        raise not_utf8(name) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        text = " ".join(str(error).split())
        if "invalid UTF8" in text:
            raise not_utf8(name) from None
        raise RecipeError(f"{name} is not a valid {ending} file: {text[:300]}. Correct it.") from None
    except Exception as error:  # the clients of remote filesystems raise their own errors
        raise RecipeError(f"{name} cannot be read completely: {error}. Try again.") from None


def known(file: BinaryIO, name: str, columns: Sequence[str]) -> list[str]:
    """Return which of these columns a table has, and go back to its start; empty for a file that is not a table."""
    import pyarrow as pa

    ending = name.lower().rpartition(".")[2]
    try:
        found = set(_NAMES[ending](file)) if columns and ending in _NAMES else set[str]()
    except (pa.ArrowException, OSError, ValueError):  # reading the rows reports the error
        found = set()
    file.seek(0)
    return [column for column in columns if column in found]


def _names_of_csv(file: BinaryIO, delimiter: str = ",") -> Sequence[str]:
    from pyarrow import csv

    return list(csv.open_csv(file, *_csv_options(delimiter)).schema.names)


def _names_of_parquet(file: BinaryIO) -> Sequence[str]:
    from pyarrow import parquet

    return list(parquet.ParquetFile(file).schema_arrow.names)


def _names_of_json(file: BinaryIO) -> Sequence[str]:
    rows = (json.loads(line) for line in itertools.islice(_lines(file, ""), FIRST) if line.strip())
    return [name for row in rows if isinstance(row, dict) for name in row]


_NAMES: dict[str, Callable[[BinaryIO], Sequence[str]]] = {
    "csv": _names_of_csv,
    "tsv": functools.partial(_names_of_csv, delimiter="\t"),
    "parquet": _names_of_parquet,
    **dict.fromkeys(("jsonl", "ndjson"), _names_of_json),
}


def not_utf8(name: str) -> RecipeError:
    """Return the error for text in another encoding."""
    return RecipeError(f"{name} is not UTF-8 text. Save it as UTF-8 (in Excel: CSV UTF-8).")


def _csv(file: BinaryIO, name: str, columns: Sequence[str], delimiter: str = ",") -> Rows:
    from pyarrow import csv

    reading, parsing = _csv_options(delimiter)
    names = csv.open_csv(file, reading, parsing).schema.names
    _check(name, columns, names)
    file.seek(0)
    texts = csv.ConvertOptions(include_columns=list(columns), column_types=dict.fromkeys(columns, "string"))
    yield from _numbered(csv.open_csv(file, reading, parsing, texts), len(columns))


def _csv_options(delimiter: str) -> tuple[Any, Any]:
    from pyarrow import csv

    reading = csv.ReadOptions(block_size=MAX_LINE // 8, use_threads=False)
    return reading, csv.ParseOptions(newlines_in_values=True, delimiter=delimiter)


def _tsv(file: BinaryIO, name: str, columns: Sequence[str]) -> Rows:
    return _csv(file, name, columns, "\t")


def _parquet(file: BinaryIO, name: str, columns: Sequence[str]) -> Rows:
    _check(name, columns, _names_of_parquet(file))
    yield from _numbered(batches(file, name, columns), len(columns))


def batches(file: BinaryIO, name: str, columns: Sequence[str]) -> Iterator[Any]:
    """Yield these columns of a Parquet file as record batches, in bounded memory.

    Raises RecipeError for a row of more than `MAX_LINE`. A small file can repeat one large text millions of times. A
    column's dictionary has each text once, and rows refer to it. So dictionaries are read before rows are decoded: they
    show how long a row can be, and thus how many rows may be decoded together.
    """
    from pyarrow import parquet

    table = parquet.ParquetFile(file)
    leaves = [table.schema.column(at) for at in range(len(table.schema))]
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    probe = parquet.ParquetFile(file, metadata=table.metadata, read_dictionary=texts, buffer_size=_BUFFER)
    fixed = sum(leaf.length for leaf in leaves if leaf.path in columns)
    for group in range(table.num_row_groups):
        longest = fixed + sum(_longest(probe, group, column) for column in columns)
        if longest > MAX_LINE:
            raise RecipeError(
                f"{name} has a row of more than {MAX_LINE // 2**20} MiB. Divide the row, or leave it out."
            )
        longest += _besides(table.metadata.row_group(group), columns)
        rows = max(1, min(BATCH, MAX_LINE // max(longest, 1)))
        for batch in table.iter_batches(rows, row_groups=[group], columns=list(columns)):
            yield batch.select(list(columns))


def _longest(probe: Any, group: int, column: str) -> int:
    """Return the maximum bytes of a row in a column of a row group that come from dictionaries.

    The first row of a column of texts gives the dictionary of all rows. Lists are read completely, as indices.
    """
    import pyarrow as pa

    is_nested = pa.types.is_nested(probe.schema_arrow.field(column).type)
    try:
        if is_nested:
            chunks = probe.read_row_group(group, columns=[column]).column(column).chunks
            return max((int(_sizes(chunk).max(initial=0)) for chunk in chunks), default=0)
        first = next(probe.iter_batches(1, row_groups=[group], columns=[column]), None)
    except OSError as error:
        if "DeltaByteArray" in str(error):  # the column cannot be read as a dictionary, and has none
            return 0
        raise
    array = None if first is None else first.column(column)
    return int(_lengths(array.dictionary).max(initial=0)) if isinstance(array, pa.DictionaryArray) else 0


def _sizes(array: Any) -> Any:
    """Return the bytes of each element of an array, including nested values; texts are in dictionaries."""
    import numpy as np
    import pyarrow as pa

    if isinstance(array, pa.DictionaryArray):
        return _lengths(array.dictionary).take(array.indices.fill_null(0).to_numpy(), mode="clip") + _OBJECT
    if pa.types.is_struct(array.type):
        return sum(map(_sizes, array.flatten()), np.full(len(array), _OBJECT))
    if isinstance(array, (pa.ListArray, pa.LargeListArray)):
        ends = np.concatenate([[0], np.cumsum(_sizes(array.values))])
        return np.diff(ends[array.offsets.to_numpy()]) + _OBJECT
    if isinstance(array, pa.FixedSizeListArray):
        return _sizes(array.values).reshape(-1, array.type.list_size).sum(axis=1) + _OBJECT
    return np.full(len(array), MAX_LINE if pa.types.is_nested(array.type) else _OBJECT)


def _lengths(texts: Any) -> Any:
    """Return the bytes of each text of a dictionary."""
    import pyarrow.compute as pc

    return pc.binary_length(texts).fill_null(0).to_numpy().astype("int64")


def _besides(group: Any, columns: Sequence[str]) -> int:
    """Return the bytes of a row of a row group outside dictionaries: the mean, according to the metadata.

    If a text can repeat a part of the previous one, return the maximum.
    """
    chunks = [group.column(at) for at in range(group.num_columns)]
    return sum(
        chunk.total_uncompressed_size // (1 if _DELTA in chunk.encodings else max(group.num_rows, 1))
        for chunk in chunks
        if chunk.path_in_schema.startswith(tuple(columns))
    )


def _numbered(batches: Any, width: int) -> Rows:
    number = 0
    for batch in (large.slice(first, BATCH) for large in batches for first in range(0, large.num_rows, BATCH)):
        for values in zip(*(batch.column(place).to_pylist() for place in range(width))):
            number += 1
            yield number, values


def _json_lines(file: BinaryIO, name: str, columns: Sequence[str]) -> Rows:
    seen: dict[str, None] = {}
    for number, line in enumerate(_lines(file, name), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except UnicodeDecodeError:
            raise
        except (ValueError, RecursionError) as error:
            raise RecipeError(f"{name}, line {number} is not valid JSON: {error}. Correct it.") from None
        if not isinstance(row, dict):
            raise RecipeError(f"{name}, line {number} must be a JSON object, not a {type(row).__name__}. Correct it.")
        if len(seen) < MAX_COLUMNS:
            seen.update(dict.fromkeys(row))
        yield number, [row.get(column) for column in columns]
    _check(name, columns, list(seen))


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise RecipeError(f"{name}, line {number} is longer than {MAX_LINE // 2**20} MiB. Divide it.")
        yield line.decode("utf-8-sig" if number == 1 else "utf-8")


def _check(name: str, columns: Sequence[str], known: Sequence[str]) -> None:
    """Raise RecipeError for a column that a file does not have, and suggest the nearest name."""
    for column in columns:
        if column not in known:
            near = suggestion(column, tuple(one[:MAX_NAME] for one in known[:30])) if known else " It has no columns."
            raise RecipeError(f"{name} has no column {column!r}.{near}")
        if list(known).count(column) > 1:
            raise RecipeError(f"{name} has the column {column!r} twice. Rename one of them.")


READERS: dict[str, Callable[[BinaryIO, str, Sequence[str]], Rows]] = {
    "csv": _csv,
    "tsv": _tsv,
    "jsonl": _json_lines,
    "ndjson": _json_lines,
    "parquet": _parquet,
    **dict.fromkeys(documents.FORMS, documents.row),
}
"""The reader of each format, by the extension of a file's name."""
