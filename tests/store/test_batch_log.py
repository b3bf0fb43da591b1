"""Tests of the compressed request files of the batch log: damaged or oversized files are refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from consistent_chat.errors import StoreError
from consistent_chat.store import Batch, BatchLog, batch_log
from consistent_chat.store.batch_log import request_line
from tests.stored import asked


def logged(place: str, folder: Path, content: bytes | None = None) -> tuple[BatchLog, Batch]:
    """Return a log with one batch of one request; `content`, if given, replaces the batch's request file."""
    requests = folder / "requests.jsonl"
    requests.write_bytes(request_line(asked()))
    log, batch = BatchLog(place), Batch(1, "anthropic", "m", 1)
    assert log.begin(batch, requests)
    if content is not None:
        Path(place, "batches", f"{batch.name}.jsonl.gz").write_bytes(content)
    return log, batch


def test_a_request_is_found_again(place: str, tmp_path: Path) -> None:
    """The log finds a request of a batch by the request's digest."""
    log, batch = logged(place, tmp_path)
    assert log.requests(batch, tmp_path).find(asked().digest) == asked()


def test_a_bomb_is_refused(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request file that decompresses beyond the limit is refused on every read, and no partial copy is kept."""
    monkeypatch.setattr(batch_log, "MOST_UNPACKED", 3 << 20)
    log, batch = logged(place, tmp_path, gzip.compress(bytes(64 << 20)))
    for _ in range(2):
        with pytest.raises(StoreError, match=r"more than 3,145,728 bytes of requests"):
            log.requests(batch, tmp_path)
    assert not (tmp_path / f"{batch.name}.jsonl").exists()


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(request_line(asked()))[:-9]], ids=["empty", "no gzip", "cut"]
)
def test_what_is_no_gzip_is_damaged(content: bytes, place: str, tmp_path: Path) -> None:
    """A request file that is not gzip or is cut short is reported as damaged on every read."""
    log, batch = logged(place, tmp_path, content)
    for _ in range(2 if content else 0):
        with pytest.raises(StoreError, match="is damaged"):
            log.requests(batch, tmp_path)


@pytest.mark.parametrize(
    "text", ["null", "{}", '{"format": 1, "messages": 1}', "[" * 100_000, '{"format":1,"messages":[],"x":1}']
)
def test_a_request_that_is_none_is_damaged(text: str, place: str, tmp_path: Path) -> None:
    """An invalid request is reported as damage with a StoreError, not with another Python exception."""
    line = f'{{"id":"{asked().digest}","request":{text}}}\n'.encode()
    log, batch = logged(place, tmp_path, gzip.compress(line))
    with pytest.raises(StoreError, match="is damaged"):
        log.requests(batch, tmp_path).find(asked().digest)


def test_bytes_that_are_no_text_call_no_request(place: str, tmp_path: Path) -> None:
    """A request file that is not UTF-8 is read without an error, and the request is not found in it."""
    log, batch = logged(place, tmp_path, gzip.compress(b"\xff" * 200 + b"\n"))
    assert log.requests(batch, tmp_path).find(asked().digest) is None
