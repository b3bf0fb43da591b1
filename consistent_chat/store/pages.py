"""Reads single rows of a pack from their pages, without the rest of their row groups.

Arrow reads at least a whole row group, which takes more than a millisecond. The headers of pages tell which rows they
have and where they end. This module makes an index by row from the headers, and then decompresses one small page of
each column. A row is returned as it is in the file; callers verify its digest. If pages are large, or are not in the
form that this version writes, no row is returned, and the group must be read.
"""

from __future__ import annotations

import os
import re
import struct
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from consistent_chat.files import open_plain

ROWS_AT_ONCE, PAGE_BYTES = 4, 8 << 10
"""A page ends after a batch of this many rows if it then has this many bytes.

Most pages are decompressed in 20 us; pages of half the size would make a pack larger by a twentieth.
"""
MOST_PAGE_BYTES = 1 << 20
"""Maximum bytes of a page. With larger pages, Arrow reads the whole group in little more time."""
DIGEST = 64
"""Bytes of a record's digest.

A response with the same number of bytes leads to another row, whose digest does not match.
"""
MOST_GROUP_BYTES = 128 << 20
"""A group with more bytes is not read: packing writes none, and it could fill the memory."""
NOT_READ = (pa.ArrowException, OSError, ValueError, LookupError, struct.error)
"""The errors that reading a page raises if the page is damaged or has another form."""

_LENGTH = struct.Struct("<I").unpack_from


class _Page(NamedTuple):
    """The header of a page: the sizes of its content in bytes, the number of its values, and where the header ends."""

    raw: int
    compressed: int
    values: int
    end: int


class _Column(NamedTuple):
    """The pages of a column in a group: of each its first row in the group, where its content begins, and its sizes."""

    rows: array[int]
    offsets: array[int]
    compressed: array[int]
    raw: array[int]
    is_number: bool
    is_compressed: bool


class Pages:
    """The pages of some columns of a pack. `footer` is the footer of the file, `columns` the names of the columns."""

    def __init__(self, path: Path, footer: Any, columns: tuple[str, ...]) -> None:
        self._path, self._footer, self._columns = path, footer, columns
        self._indexed: dict[int, tuple[_Column, ...]] = {}
        self._codec = pa.Codec("zstd")

    def row(self, group: int, at: int) -> tuple[Any, ...]:
        """Return the values of a row of a group. Raises one of NOT_READ if the whole group must be read."""
        file = open_plain(self._path)
        try:
            if group not in self._indexed:
                self._indexed[group] = self._index(file, group)
            return tuple([self._value(file, column, at) for column in self._indexed[group]])
        finally:
            os.close(file)

    def _index(self, file: int, group: int) -> tuple[_Column, ...]:
        """Walk over the headers of the pages of a group."""
        told = self._footer.row_group(group)
        known = {(column := told.column(number)).path_in_schema: column for number in range(told.num_columns)}
        return tuple(_pages(file, known[name], told.num_rows) for name in self._columns)

    def _value(self, file: int, column: _Column, at: int) -> Any:
        number = bisect_right(column.rows, at) - 1
        content = _bytes(file, column.offsets[number], column.compressed[number])
        raw = self._codec.decompress(content, column.raw[number], asbytes=True) if column.is_compressed else content
        (levels,) = _LENGTH(raw, 0)  # of the values, which tell which of them are null: no digest fits a null
        return (_number if column.is_number else _text)(raw, 4 + levels, at - column.rows[number])


def _pages(file: int, column: Any, rows: int) -> _Column:
    """Return the pages of a column. Raises ValueError for a form that this version does not write."""
    kind, compression, start = column.physical_type, column.compression, column.data_page_offset
    if compression not in ("ZSTD", "UNCOMPRESSED") or kind not in ("BYTE_ARRAY", "INT32"):
        raise ValueError("it is of another form")
    content = _bytes(file, start, min(column.total_compressed_size, MOST_GROUP_BYTES))
    at, first, end = 0, 0, len(content)
    found = _Column(array("I"), array("Q"), array("I"), array("I"), kind == "INT32", compression == "ZSTD")
    while at < end and first < rows:
        page = _header(content, at)
        if not (page.values and 0 < page.compressed <= MOST_PAGE_BYTES and 0 < page.raw <= MOST_PAGE_BYTES):
            raise ValueError("a page is too large")
        found.rows.append(first)
        found.offsets.append(start + page.end)
        found.compressed.append(page.compressed)
        found.raw.append(page.raw)
        at, first = page.end + page.compressed, first + page.values
    if first != rows or at > end:
        raise ValueError("pages are missing")
    return found


def _bytes(file: int, start: int, size: int) -> bytes:
    os.lseek(file, start, os.SEEK_SET)
    content = os.read(file, size)  # Windows has no pread
    if len(content) != size:
        raise ValueError("the file is cut")
    return content


def _number(raw: bytes, values: int, at: int) -> int:
    (number,) = struct.unpack_from("<i", raw, values + 4 * at)
    return int(number)


def _text(raw: bytes, position: int, at: int) -> str:
    """Return one of the texts of a page: each has its length in front, and digests are all of the same length."""
    if at and _LENGTH(raw, position)[0] == DIGEST:
        position += at * (4 + DIGEST)
    else:
        for _ in range(at):
            position += 4 + _LENGTH(raw, position)[0]
    (length,) = _LENGTH(raw, position)
    text = raw[position + 4 : position + 4 + length]
    if len(text) != length:
        raise ValueError("a text is cut")
    return text.decode("utf-8")


def _header(content: bytes, at: int) -> _Page:
    """Read the header that begins somewhere; raises ValueError for a form that this version does not write."""
    match = _HEADER(content, at)
    if match is None:
        raise ValueError("a page is of another form")
    return _Page(_number_of(match[1]), _number_of(match[2]), _number_of(match[3]), match.end())


def _number_of(digits: bytes) -> int:
    """Return a number that is not negative: 7 bits a byte, the lowest first, and the first of all for the sign."""
    number = 0
    for place, byte in enumerate(digits):
        number |= (byte & 127) << 7 * place
    return number >> 1


# The header of a page in Thrift's compact protocol, with Parquet's fields: the type (a data page), the size, the
# compressed size, the checksum if any, and a struct of the number of values, their encoding (plain), that of their
# levels (runs), and empty statistics if any.
_VARINT = rb"[\x80-\xff]{0,4}[\x00-\x7f]"
_COUNT = rb"\x15(" + _VARINT + rb")"
_CHECKSUM = rb"(?:\x15" + _VARINT + rb"\x1c|\x2c)"
_ENCODINGS = rb"\x15\x00\x15\x06\x15\x06(?:\x1c\x00)?\x00\x00"
_HEADER = re.compile(rb"\x15\x00" + _COUNT + _COUNT + _CHECKSUM + _COUNT + _ENCODINGS).match
