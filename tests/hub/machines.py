"""Machines that use the Hub, each in a separate process, and functions that they run on stores there."""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import load_dataset

import consistent_chat
from consistent_chat.errors import StoreError
from consistent_chat.request import Request, Response
from consistent_chat.store import Batch, BatchLog, Flush, ResponseStore
from consistent_chat.store.batch_log import request_line
from tests import forked
from tests.hub.content import Files
from tests.hub.server import WRITER, Hub
from tests.stored import asked, said

COUNTER = itertools.count()
BEGUN: dict[str, ResponseStore] = {}
"""The stores that a machine has started to write."""


@dataclass(frozen=True)
class Machine:
    """A process that uses the Hub. It can only run functions that it can import."""

    home: Path
    pool: ProcessPoolExecutor

    def run(self, function: Callable[..., Any], *args: Any, **given: Any) -> Any:
        return self.pool.submit(function, *args, **given).result(timeout=300)


@dataclass(frozen=True)
class There:
    """A repository or bucket that contains a response store."""

    hub: Hub
    kind: str
    name: str

    @property
    def url(self) -> str:
        return f"hf://{self.kind}/{self.name}/responses"

    @property
    def files(self) -> Files:
        return (self.hub.repos if self.kind == "datasets" else self.hub.buckets)[self.name]

    @property
    def private(self) -> str:
        """Return the key of the repository or bucket in `Hub.private`."""
        return self.name if self.kind == "datasets" else f"buckets/{self.name}"

    @property
    def sending(self) -> str:
        """Return a part of the URL of the request that finally writes files."""
        return "/commit/" if self.kind == "datasets" else f"{self.name}/batch"

    def vanish(self) -> None:
        (self.hub.repos if self.kind == "datasets" else self.hub.buckets).pop(self.name)

    def packs(self) -> list[str]:
        return sorted(path for path in self.files if path.startswith("responses/packs/"))


def machine(hub: Hub, home: Path, **environment: str) -> Machine:
    """Start a process whose user is logged in with a token that has write access."""
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": WRITER,
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    given = {**os.environ, **settings, **environment}
    pool = ProcessPoolExecutor(1, forked.Context(*forked.THIRD_PARTY), forked.adopt, (given,))
    pool.submit(without_pauses)
    return Machine(home, pool)


def repo(hub: Hub, kind: str) -> There:
    """Create an empty repository or bucket for one test, and clear what the Hub has recorded."""
    there = There(hub, kind, f"me/store-{next(COUNTER)}")
    (hub.repos if kind == "datasets" else hub.buckets)[there.name] = {}
    for seen in (hub.requests, hub.commits, hub.broken, hub.passing, hub.lost):
        seen.clear()
    return there


class Paid:
    """A serving that fails the test when it is called."""

    async def answer(self, request: Request) -> Response:
        raise AssertionError("a response was paid for")


def without_pauses() -> None:
    """Let the clients of this process retry as often as usual, but without pauses."""
    time.sleep = lambda seconds: None


def begin(url: str, every: int = 0, **options: Any) -> None:
    """Open a store for writing, and check that it is writable. `every` is the number of responses in a pack."""
    BEGUN[url] = ResponseStore(url, options, flush=Flush(every, None) if every else None)
    BEGUN[url].prepare()


def finish(url: str, numbers: Iterable[int]) -> None:
    """Store the responses of these numbers in an open store, and close it."""
    store = BEGUN.pop(url)
    for number in numbers:
        store.keep(asked(number), said(number))
    store.close()


def keep(url: str, numbers: Iterable[int], **given: Any) -> None:
    """Open a store, store the responses of these numbers, and close the store."""
    begin(url, **given)
    finish(url, numbers)


def lacks(url: str | list[str], numbers: Iterable[int], **options: Any) -> list[int]:
    """Return the numbers whose responses a newly opened store does not find."""
    store = ResponseStore(url, options)
    return [number for number in numbers if store.find(asked(number)) != said(number)]


def logged(url: str, folder: str) -> list[str | None]:
    """Add a batch to a store's log twice, and return the batch ids and outcomes that the log has after each step."""
    log, path = BatchLog(url), Path(folder, "requests.jsonl")
    path.write_bytes(request_line(asked()))
    first, second = (Batch(1, "anthropic", "a-model", 1) for _ in range(2))
    assert (log.begin(first, path), log.begin(second, path)) == (True, False)
    said = [batch.id for batch in BatchLog(url).read()]
    confirmed = log.confirm(first, "msgbatch_1")
    said += [batch.id for batch in BatchLog(url).read()]
    assert BatchLog(url).requests(confirmed, Path(folder)).find(asked().digest) == asked()
    log.close(confirmed, "all answered")
    return said + [batch.outcome for batch in BatchLog(url).read()]


def load(url: str, **given: Any) -> list[dict[str, Any]]:
    """Build a small dataset from a store anew, and return its rows."""
    assert consistent_chat
    small = {"model": "rehearsal", "num_dialogs_per_intent": 1, "split": "train", "download_mode": "force_redownload"}
    return list(load_dataset("consistent_chat", responses=url, **{**small, **given}))


def refused(function: Callable[..., Any], *args: Any, **given: Any) -> str:
    """Return the log messages of a call and the message of its StoreError, or "" if it raises none."""
    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        function(*args, **given)
    except StoreError as error:
        return "\n".join([*logged, str(error)])
    finally:
        logging.getLogger().removeHandler(handler)
    return ""
