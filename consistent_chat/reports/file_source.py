"""Reads the rows of a dataset's files: Parquet or JSON lines, a file or a folder, at a path or fsspec URL."""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from consistent_chat.errors import ConsistentChatError
from consistent_chat.reports.records import ReportRow
from consistent_chat.row import COLUMNS, LAYOUTS, Layout
from consistent_chat.store.backends import MARKER, STORE_FIELD
from consistent_chat.text.sanitize import without_secrets

SUFFIXES = (".parquet", ".jsonl")
LONGEST_MARKER = 65_536
"""Maximum bytes of a website's answer that are read to find out whether it is a store's marker."""
BATCH = 256
"""Number of rows of a Parquet file that are converted to Python values at a time."""
FAILURE = {"stage": str, "substitute": int, "reason": str, "response": str}
"""The columns that a file of failed draws must have, and their types."""
PROVENANCE = {
    **dict.fromkeys(("id", "language", "intent", "topic", "model"), str),
    **dict.fromkeys(("index", "draws", "input_tokens", "output_tokens"), int),
    "request_keys": list,
}

Row = Mapping[str, Any]


class File(NamedTuple):
    """A file of rows."""

    fs: Any
    path: str

    @property
    def suffix(self) -> str:
        """The extension of the file's name, without the query of an address."""
        return posixpath.splitext(urlsplit(self.path).path if "://" in self.path else self.path)[1]

    def columns(self) -> set[str]:
        """Return the names of its columns; for JSON, those of its first row. Raises ConsistentChatError."""
        if self.suffix != ".parquet":
            return set(next(self.rows(), {}))
        with self._opened() as stream:
            return set(pq.read_schema(stream).names)

    def rows(self) -> Iterator[Row]:
        """Yield its rows. Raises ConsistentChatError if the file cannot be read."""
        with self._opened() as stream:
            yield from _READERS.get(self.suffix, _lines)(stream)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with self.fs.open(self.path, "rb") as stream:
                yield stream
        except (pa.ArrowInvalid, ValueError) as error:
            raise ConsistentChatError(
                f"{without_secrets(self.path)} cannot be read: {error}. Restore it, or rebuild it."
            ) from None


def has_marker(fs: Any, root: str) -> bool:
    """Return whether a path is that of a response store.

    A website may answer for any address, so there only the content of the marker counts.
    """
    marker = posixpath.join(root, MARKER)
    if "://" not in marker:
        return bool(fs.exists(marker))
    try:
        with fs.open(marker, "rb") as stream:
            said = json.loads(stream.read(LONGEST_MARKER))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(said, dict) and STORE_FIELD in said


def files(fs: Any, root: str) -> list[File]:
    """Return the files of rows at a path, sorted by name, without the files of response stores."""
    if fs.isfile(root):
        return [File(fs, root)]
    found = sorted(fs.find(root))
    stores = tuple(posixpath.dirname(path) + "/" for path in found if posixpath.basename(path) == MARKER)
    kept = [path for path in found if path.endswith(SUFFIXES) and not path.startswith(stores)]
    return [File(fs, path) for path in kept if "/." not in path.removeprefix(root)]


def entries(found: list[File], ledgers: list[File]) -> Iterator[ReportRow]:
    """Yield the rows of files with their failed draws, which are in other files of `found` or in `ledgers`.

    Raises ConsistentChatError, with the row's number, for a row that is neither a dialogue nor a failed draw.
    """
    columns = {file.path: file.columns() for file in found}
    talks = [file for file in found if not columns[file.path].isdisjoint(COLUMNS)]
    failures = [file for file in found if columns[file.path] >= FAILURE.keys() and file not in talks]
    if not talks and not failures:
        raise ConsistentChatError(
            f"There are no dialogues in {_names(found)}: no column {', '.join(COLUMNS)}. Pass another file or folder; "
            f"for pairs, pass their recipe."
        )
    draws = _Draws([*failures, *ledgers])
    for file in talks:
        for number, row in enumerate(file.rows(), 1):
            _check(row, f"{file.path}, row {number}")
            yield ReportRow(row, draws.of(row, _split(file.path)), undivided=True)
    yield from (ReportRow(None, [draw]) for draw in draws.left())


class _Draws:
    """Failed draws by the plan index of their dialogues."""

    def __init__(self, found: list[File]) -> None:
        self._by_place: dict[tuple[str, Any], list[Row]] = defaultdict(list)
        rows = [row for file in found for row in _draws(file)]
        splits = {row.get("split") for row in rows}
        self._has_splits = len(splits) > 1
        for row in rows:
            self._by_place[self._place(row.get("split"), row.get("index"))].append(row)

    def of(self, row: Row, split: str) -> list[Row]:
        """Return and remove the failed draws of a row, so that each is returned once."""
        index = (row.get("provenance") or {}).get("index")
        return [] if index is None else self._by_place.pop(self._place(split, index), [])

    def left(self) -> list[Row]:
        """Return the failed draws that belong to no row."""
        return [row for rows in self._by_place.values() for row in rows]

    def _place(self, split: Any, index: Any) -> tuple[str, Any]:
        return (str(split) if self._has_splits else "", index)


def _draws(file: File) -> Iterator[Row]:
    for number, row in enumerate(file.rows(), 1):
        _check_draw(row, f"{file.path}, row {number}")
        yield row


def _parquet(stream: Any) -> Iterator[Row]:
    for batch in pq.ParquetFile(stream).iter_batches(batch_size=BATCH):
        yield from batch.to_pylist()


def _lines(stream: Any) -> Iterator[Row]:
    for number, line in enumerate(stream, 1):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not a JSON object")
            yield row


def _array(stream: Any) -> Iterator[Row]:
    """Yield the rows of a JSON file: a list, an object with one list, or lines of JSON."""
    start = stream.read(1)
    stream.seek(0)
    try:
        data = json.load(stream) if start in (b"[", b"{") else []
    except ValueError:
        stream.seek(0)
        yield from _lines(stream)
        return
    lists = [value for value in data.values() if isinstance(value, list)] if isinstance(data, dict) else [data]
    rows = [data] if isinstance(data, dict) and not {*COLUMNS}.isdisjoint(data) else lists[0] if len(lists) == 1 else []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise ValueError(f"item {number} is not a JSON object")
        yield row


_READERS = {".parquet": _parquet, ".json": _array}


def _check(row: Row, where: str) -> None:
    layout = next((layout for layout in LAYOUTS.values() if layout.column in row), None)
    said = None if layout is None else row[layout.column]
    if layout is None or not isinstance(said, list) or not all(_is_message(message, layout) for message in said):
        fields = "a role and a text" if layout is None else f"{layout.role} and {layout.text}"
        raise ConsistentChatError(f"{where} is not a dialogue: it needs a list of messages, each with {fields}.")
    _check_types(row, {"category": str, "provenance": dict}, where)
    _check_types(row.get("provenance") or {}, PROVENANCE, f"{where}, provenance")


def _is_message(message: Any, layout: Layout) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get(layout.role), str):
        return False
    return message.get(layout.text) is None or isinstance(message[layout.text], str)


def _check_draw(row: Row, where: str) -> None:
    missing = [name for name in FAILURE if row.get(name) is None]
    if missing:
        raise ConsistentChatError(f"{where} is not a failed draw of build --failures: it has no {missing[0]}.")
    _check_types(row, {**FAILURE, "index": int, "intent": str, "category": str, "topic": str}, where)


def _check_types(row: Row, types: Mapping[str, type], where: str) -> None:
    for name, kind in types.items():
        if row.get(name) is not None and not isinstance(row[name], kind):
            raise ConsistentChatError(f"{where}: {name} is of type {type(row[name]).__name__}, not {kind.__name__}.")


def _split(path: str) -> str:
    """Return the split in a file's name: train for train.parquet and for train-00000-of-00002.parquet."""
    return posixpath.basename(path).partition(".")[0].partition("-")[0]


def _names(found: list[File]) -> str:
    return ", ".join(file.path for file in found[:3]) or "files ending in .parquet or .jsonl (there are none)"
