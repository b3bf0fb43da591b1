"""Compares two sets of Parquet files, and reports equal bytes, equal rows, or the first row that differs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from consistent_chat.errors import PublishError
from consistent_chat.files import file_digest
from consistent_chat.publishing import layout
from consistent_chat.publishing.layout import Manifest
from consistent_chat.text import Summarized

EXCERPT = 60
BATCH = 1_000
UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError)
"""The exceptions that are raised for a damaged file."""


def compare(published: Path, made: Path, manifest: Manifest, verdict: VerificationResult) -> None:
    """Compare the rows and failures of each split and add the result to a verdict."""
    for split in manifest.recipes:
        for what, pattern in (("row", f"{layout.DATA}/{split}-*"), ("failure", layout.failures(split))):
            there, here = _files(published, pattern), _files(made, pattern)
            count = sum(pq.read_metadata(file).num_rows for file in here.values())
            if not _same_bytes(there, here):
                _compare_rows(f"{split}, {what}", there, here, manifest, verdict)
            if what == "row":
                verdict.rows[split] = count


def _compare_rows(
    name: str, there: dict[str, Path], here: dict[str, Path], manifest: Manifest, verdict: VerificationResult
) -> None:
    try:
        difference = _difference(name, _rows(there), _rows(here)) or _types(name, there, here)
    except PublishError as error:
        difference = str(error)
    if difference:
        verdict.faults.append(difference)
    else:
        version = manifest.versions.get("pyarrow")
        verdict.notes.append(
            f"{', '.join(there)}: different bytes, but the same rows. Written with pyarrow {version}, this is  "
            f"{pa.__version__}."
        )


def _files(folder: Path, pattern: str) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.glob(pattern))}


def _same_bytes(there: dict[str, Path], here: dict[str, Path]) -> bool:
    return list(there) == list(here) and all(file_digest(there[path]) == file_digest(here[path]) for path in here)


def _rows(files: dict[str, Path]) -> Iterator[dict[str, Any]]:
    """Yield rows. Raises PublishError, which names the row from which on a file cannot be read."""
    done = 0
    for name, path in files.items():
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for batch in file.iter_batches(BATCH):
                    yield from batch.to_pylist()
                    done += batch.num_rows
        except UNREADABLE as error:
            raise PublishError(f"{name} cannot be read beyond row {done}: {' '.join(str(error).split())}.") from None


def _types(name: str, there: dict[str, Path], here: dict[str, Path]) -> str:
    """Return a sentence if columns have different types, which `load_dataset` would show; "" if all are equal."""
    (made, *_) = map(pq.read_schema, here.values())
    other = [path for path, file in there.items() if not pq.read_schema(file).equals(made)]
    return f"{name}s: columns of {other[0]} have different types from the rebuilt ones." if other else ""


def _difference(name: str, there: Iterator[dict[str, Any]], here: Iterator[dict[str, Any]]) -> str:
    """Return a sentence about the first difference between rows; "" if all are equal."""
    for index, (one, other) in enumerate(itertools.zip_longest(there, here)):
        if one is None or other is None:
            which = "is not published" if one is None else "is published, but the recipe does not produce it"
            return f"{name} {index} {which}."
        for column in [*other, *(column for column in one if column not in other)]:
            if column not in one or column not in other or one[column] != other[column]:
                return f"{name} {index}, column {column!r} differs: {_texts(one.get(column), other.get(column))}."
    return ""


def _texts(one: Any, other: Any) -> str:
    texts = [json.dumps(value, ensure_ascii=False) for value in (one, other)]
    start = next((at for at, pair in enumerate(zip(*texts)) if pair[0] != pair[1]), min(map(len, texts)))
    lead = max(0, start - EXCERPT // 3)
    there, made = (repr(text[lead : lead + EXCERPT]) for text in texts)
    return f"{there} is published, {made} follows from the responses"


@dataclass(repr=False)
class VerificationResult(Summarized):
    """The number of equal rows, a line for each fault, and a line for each harmless difference.

    `withheld` are the columns of the seeds that the publisher has left out; without them no row can be rebuilt.
    """

    rows: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return a summary in one line."""
        if self.faults:
            return f"{len(self.faults):,} faults."
        rows = ", ".join(f"{count:,} rows of {split}" for split, count in self.rows.items())
        if self.withheld:
            return (
                f"{rows}: not rebuilt, since the publisher has withheld {', '.join(self.withheld)} of the seeds. The "
                f"files match the manifest, but this does not show that the rows follow from the recipe and responses."
            )
        return f"{rows}: all match the recipe and the responses."
