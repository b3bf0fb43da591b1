"""Tests of stores with hostile content: every reader raises one clear error, and `verify` reports each store."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.cli import main
from consistent_chat.errors import StoreError
from consistent_chat.files import file_digest
from consistent_chat.request import Response, request_key
from consistent_chat.store import ResponseStore, verify
from consistent_chat.store.journal import HEADER, MOST_BYTES
from consistent_chat.store.location import MOST_MARKER, StoreLocation
from consistent_chat.store.pack import FORMAT, MOST_GROUP_BYTES, MOST_ROWS, write_pack
from consistent_chat.store.record import Record, digest_of, to_line
from consistent_chat.store.store import explain_miss
from tests.stored import asked, fill

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("generation", pa.int32()),
        *((name, pa.string()) for name in ("request", "response", "sha256")),
    ],
    metadata={"consistent_chat_pack": str(FORMAT)},
)
Made = Callable[[Path], object]


def record(request: str, response: str = '{"text":"hi"}', generation: int = 0, key: str | None = None) -> Record:
    """Return a record with a matching digest and, unless `key` is given, a matching key; its content may be invalid."""
    return Record(key or request_key(request.encode()), generation, request, response)


def changed(**fields: Any) -> str:
    """Return the JSON text of a request with some fields replaced."""
    return json.dumps({**asked().identity(), **fields})


def journal(*records: Record, header: bytes = HEADER, raw: bytes = b"") -> Made:
    """Return a function that writes a journal into a store."""
    return lambda root: _written(root / "journals" / "a.jsonl", header + b"".join(map(to_line, records)) + raw)


def packed(*records: Record) -> Made:
    """Return a function that writes a pack with the package's own writer."""
    return lambda root: write_pack(records, root / "packs")


def rows(schema: pa.Schema = SCHEMA, **columns: Any) -> Made:
    """Return a function that writes a pack of one valid record with some values replaced, with PyArrow's own writer."""

    def make(root: Path) -> None:
        good = Record.of(asked(), Response("hi"))
        values = [good.key, 0, good.request, good.response, good.digest]
        table = {name: columns.get(name, [value]) for name, value in zip(SCHEMA.names, values)}
        made = pa.table([pa.array(table[field.name], field.type) for field in schema], schema=schema)
        _named(root, lambda path: pq.write_table(made, path, use_dictionary=False, write_statistics=False))

    return make


def _named(root: Path, write: Callable[[Path], object]) -> None:
    (root / "packs").mkdir(parents=True, exist_ok=True)
    path = root / "packs" / "new"
    write(path)
    path.rename(path.with_name(f"{file_digest(path)}.parquet"))


def _written(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _many_rows(root: Path) -> None:
    good = Record.of(asked(), Response("hi"))
    values = [good.key, 0, good.request, good.response, good.digest]
    one = pa.table(
        [pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array([value])) for value in values],
        SCHEMA.names,
    ).cast(SCHEMA)
    table = pa.concat_tables([one] * (MOST_ROWS // 1000 + 1)).select(SCHEMA.names)
    _named(root, lambda path: pq.write_table(table, path, compression="zstd", row_group_size=MOST_ROWS))


def _link(name: str, target: str) -> Made:
    def make(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)

    return make


def _special(name: str, make: Callable[[Path], object]) -> Made:
    def made(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        make(root / name)

    return made


def _sparse(name: str, size: int) -> Made:
    def make(root: Path) -> None:
        _written(root / name, HEADER)
        os.truncate(root / name, size)

    return make


GOOD = Record.of(asked(), Response("hi"))
PACK = f"packs/{'0' * 64}.parquet"
HOSTILE: dict[str, Made] = {
    "marker: text": lambda root: _written(root / "store.json", b"hello"),
    "marker: list": lambda root: _written(root / "store.json", b"[]"),
    "marker: version is text": lambda root: _written(root / "store.json", b'{"consistent_chat_store":"1"}'),
    "marker: version is true": lambda root: _written(root / "store.json", b'{"consistent_chat_store":true}'),
    "marker: newer": lambda root: _written(root / "store.json", b'{"consistent_chat_store":9}'),
    "marker: nested": lambda root: _written(root / "store.json", b"[" * 60_000),
    "marker: not UTF-8": lambda root: _written(root / "store.json", b"\xff\xfe"),
    "marker: large": _sparse("store.json", MOST_MARKER + 1),
    "marker: endless": _link("store.json", "/dev/zero"),
    "marker: pipe": _special("store.json", os.mkfifo),
    "marker: folder": _special("store.json", Path.mkdir),
    "journal: endless": _link("journals/a.jsonl", "/dev/zero"),
    "journal: link to a file": _link("journals/a.jsonl", "/etc/hostname"),
    "journal: pipe": _special("journals/a.jsonl", os.mkfifo),
    "journal: folder": _special("journals/a.jsonl", Path.mkdir),
    "journal: sparse": _sparse("journals/a.jsonl", MOST_BYTES + 1),
    "journal: another program's": journal(header=b'{"a":1}\n'),
    "journal: a line of text": journal(raw=b"hello\n"),
    "journal: a line that is not UTF-8": journal(raw=to_line(GOOD).replace(b"hi", b"\xff")),
    "journal: changed": journal(raw=to_line(GOOD).replace(b"hi", b"ho")),
    "journal: generation of 400 digits": journal(record(GOOD.request, GOOD.response, 10**399)),
    "journal: generation too high": journal(record(GOOD.request, GOOD.response, 2**31)),
    "journal: under another key": journal(record(GOOD.request, key=asked(1).key)),
    "journal: request nested": journal(record("[" * 100_000)),
    "journal: request without response": journal(
        raw=b'{"sha256":"%s","record":{"generation":0,"key":"%s","request":{}}}\n' % (b"0" * 64, GOOD.key.encode())
    ),
    "request: list": journal(record("[]")),
    "request: empty": packed(record("{}")),
    "request: not JSON": packed(record("hello")),
    "request: nested": packed(record("[" * 100_000)),
    "request: no messages": packed(record(changed(messages=[]))),
    "request: messages are text": packed(record(changed(messages="hello"))),
    "request: message without content": packed(record(changed(messages=[{"role": "user"}]))),
    "request: content is a list": packed(record(changed(messages=[{"role": "user", "content": []}]))),
    "request: schema is null": packed(record(changed(schema=None))),
    "request: schema requires a number": packed(record(changed(schema={"required": 5}))),
    "request: schema requires lists": packed(record(changed(schema={"required": [[]]}))),
    "request: draw is text": packed(record(changed(draw="0"))),
    "request: temperature is NaN": packed(record(changed(temperature=float("nan")))),
    "request: infinity in its schema": packed(record(changed(schema={"a": float("inf")}))),
    "request: number beyond floats": packed(record(GOOD.request.replace("0.9", "1e999"))),
    "response: list": packed(record(GOOD.request, "[]")),
    "response: not JSON": packed(record(GOOD.request, "hello")),
    "response: nested": packed(record(GOOD.request, "[" * 100_000)),
    "response: no text": packed(record(GOOD.request, "{}")),
    "response: text is null": packed(record(GOOD.request, '{"text":null}')),
    "response: tokens are text": packed(record(GOOD.request, '{"text":"","input_tokens":"1"}')),
    "response: tokens beyond 64 bits": packed(record(GOOD.request, '{"text":"","input_tokens":1%s}' % ("0" * 30))),
    "response: huge": lambda root: rows(response=["a" * (MOST_GROUP_BYTES + 1)])(root),
    "pack: text": _special(PACK, lambda path: path.write_bytes(b"hello")),
    "pack: empty": _special(PACK, lambda path: path.write_bytes(b"")),
    "pack: endless": _link(PACK, "/dev/zero"),
    "pack: pipe": _special(PACK, os.mkfifo),
    "pack: folder": _special(PACK, Path.mkdir),
    "pack: other columns": rows(pa.schema([("key", pa.string())], metadata=SCHEMA.metadata)),
    "pack: newer": rows(SCHEMA.with_metadata({"consistent_chat_pack": "2"})),
    "pack: null key": rows(key=pa.array([None], pa.string())),
    "pack: short key": rows(key=["sha256:"]),
    "pack: key is no key": rows(key=["x" * 71]),
    "pack: key in capitals": rows(key=[GOOD.key[:7] + GOOD.key[7:].upper()]),
    "pack: null generation": rows(generation=pa.array([None], pa.int32())),
    "pack: negative generation": rows(generation=[-1], sha256=[digest_of(GOOD.key, -1, GOOD.response)]),
    "pack: null response with its digest": rows(
        response=pa.array([None], pa.string()), sha256=[digest_of(GOOD.key, 0, "None")]
    ),
    "pack: null request": rows(request=pa.array([None], pa.string())),
    "pack: null digest": rows(sha256=pa.array([None], pa.string())),
    "pack: text that is not UTF-8": rows(response=pa.array([b"\xff"]).view(pa.string())),
    "pack: many rows": _many_rows,
}


def reading(root: str) -> list[str]:
    """Read a store in each way that is open to users, and return the messages of the errors."""
    faults = []
    for read in (_found, _missed, _reported):
        try:
            read(root)
        except StoreError as error:
            faults.append(str(error))
    return faults


def _found(root: str) -> None:
    store = ResponseStore([root])
    store.find(asked())
    store.find_all(asked())


def _missed(root: str) -> None:
    explain_miss(asked(99), 0, ResponseStore(root))


def _reported(root: str) -> None:
    from consistent_chat.reports.records import ReportSource, builtin_titles
    from consistent_chat.reports.store_source import entries

    list(entries(ResponseStore(root), ReportSource("", iter(()), builtin_titles())))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_store_ends_in_one_clear_error_and_verify_finds_it(name: str, tmp_path: Path) -> None:
    """Replay, report and the search for the nearest record raise only StoreError, and `verify` exits with status 1."""
    root = tmp_path / "store"
    root.mkdir()
    if not name.startswith("marker"):
        StoreLocation(str(root)).prepare()
    HOSTILE[name](root)
    with ThreadPoolExecutor(1) as pool:
        faults = pool.submit(reading, str(root)).result(timeout=300)
        assert pool.submit(main, ["verify", str(root)]).result(timeout=300) == 1
    assert all(len(fault) < 1000 for fault in faults)


@pytest.mark.slow
@given(
    text=st.text(max_size=30)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["text", "finish", "messages", "schema", "model", "draw", "required"]),
                inner,
                max_size=4,
            )
        ),
    ).map(json.dumps),
    is_request=st.booleans(),
)
def test_any_request_and_response_is_read_or_named(text: str, is_request: bool, tmp_path_factory: Any) -> None:
    """Any JSON or text as a request or response is either read everywhere without an error or reported by `verify`."""
    root = tmp_path_factory.mktemp("store")
    StoreLocation(str(root)).prepare()
    made = record(text) if is_request else record(GOOD.request, text)
    journal(made)(root)
    faults = reading(str(root))
    assert not faults or verify(str(root)).faults
    packs = tmp_path_factory.mktemp("packed")
    packed(made)(packs)
    assert bool(verify(str(packs)).faults) >= bool(reading(str(packs)))


def test_a_store_is_its_owners_alone(tmp_path: Path) -> None:
    """New files have the mode 0600 and new folders 0700, whatever the umask is."""
    before = os.umask(0)
    try:
        fill(str(tmp_path / "new" / "store"), 1)
        store = ResponseStore(str(tmp_path / "new" / "store"))
        store.keep(asked(2), Response("hi"))
        rights = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
        store.close()
    finally:
        os.umask(before)
    assert {mode for path, mode in rights.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in rights.items() if path.is_file()} == {0o600}


def test_a_linked_pack_is_read(tmp_path: Path) -> None:
    """A symbolic link to a regular file is read as the file, because the Hub's cache consists of links."""
    fill(str(tmp_path / "there"), 1)
    (tmp_path / "here" / "packs").mkdir(parents=True)
    for path in ("store.json", *(f"packs/{path.name}" for path in (tmp_path / "there" / "packs").iterdir())):
        (tmp_path / "here" / path).symlink_to(tmp_path / "there" / path)
    assert ResponseStore(str(tmp_path / "here")).find(asked(1)) is not None
    assert verify(str(tmp_path / "here")).faults == []
