"""Requests, responses and stores for the tests of the response store, and processes that tests kill."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from consistent_chat.request import Request, Response
from consistent_chat.store import Flush, ResponseStore
from consistent_chat.store.location import home

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.stored", "hypothesis", "pandas", "pyarrow.pandas_compat", "pytest"])
"""Who writes a pack imports pandas, by way of pyarrow: 0.5 s, which each of hundreds of processes would pay."""


def asked(number: int = 0, **changes: Any) -> Request:
    """Return a request. Each number and each change gives a different request."""
    fields: dict[str, Any] = {
        "model": "claude-haiku-4-5",
        "system": "You write the user's side of a conversation.",
        "messages": ({"role": "user", "content": f"Topic {number}: five days in Lisbon with a toddler"},),
        "temperature": 0.9,
        "schema": {"type": "object", "properties": {"user_1": {"type": "string"}, "user_2": {"type": "string"}}},
        "seed": 0,
        "repeat": 0,
        "draw": 0,
    }
    return Request(**{**fields, **changes})


def said(number: int = 0) -> Response:
    """Return the response to the request of this number. One response in seven is long."""
    return Response(f"answer {number} " * (10_000 if number % 7 == 3 else 1), "stop", 100 + number, abs(number))


def fill(place: str, *numbers: int, refresh: bool = False) -> None:
    """Store the responses of these numbers, and close the store."""
    store = ResponseStore(place, refresh=refresh)
    for number in numbers:
        store.keep(asked(number), said(number))
    store.close()


def keep(store: ResponseStore, *numbers: int) -> None:
    """Store the responses of these numbers in an open store."""
    for number in numbers:
        store.keep(asked(number), said(number))


def lacks(store: ResponseStore, *numbers: int) -> list[int]:
    """Return the numbers whose responses a store does not find."""
    return [number for number in numbers if store.find(asked(number)) != said(number)]


def files(place: str, folder: str) -> list[Path]:
    """Return the files in a folder of a store."""
    return sorted((Path(place) / folder).glob("*"))


def machine(folder: str = "") -> list[Path]:
    """Return the local copies of files of remote stores, in folders of this name or in all folders."""
    return sorted(path for path in (home() / "remote").glob(f"*/{folder or '*'}/*") if path.is_file())


def forget() -> None:
    """Delete all local copies of files of remote stores, as on a new machine."""
    shutil.rmtree(home() / "remote", ignore_errors=True)


class Moody(MemoryFileSystem):
    """A filesystem in memory, at `moody://`. It calls a function of the test before it puts, gets or removes a file."""

    protocol = "moody"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]

    put = get = removal = staticmethod(lambda path: None)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("moody://", "memory://")))

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        type(self).put(rpath)
        super().put_file(lpath, rpath, **options)

    def get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        type(self).get(rpath)
        super().get_file(rpath, lpath, **options)

    def rm(self, path: Any, **options: Any) -> None:
        type(self).removal(path)
        super().rm(path, **options)


fsspec.register_implementation("moody", Moody, clobber=True)


def calm() -> None:
    """Restore the plain behaviour of the `moody` filesystem."""
    Moody.put = Moody.get = Moody.removal = staticmethod(lambda path: None)


def until(done: Callable[[], bool], seconds: float = 120) -> None:
    """Wait at most `seconds` until `done()` is true because of another thread or process."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


def is_killed(step: int, place: str, act: Callable[..., object], *given: Any, processes: Any = processes) -> bool:
    """Run `act` in another process and kill it before its n-th operation on a file of a store.

    Return whether there was such an operation, so whether the process was killed.
    """
    actor = processes.Process(target=_act_and_die, args=(step, place, act, *given))
    actor.start()
    actor.join()
    assert actor.exitcode in (0, -signal.SIGKILL)
    return actor.exitcode != 0


def _act_and_die(step: int, place: str, act: Callable[..., object], *given: Any) -> None:
    steps = itertools.count()

    def die(event: str, arguments: tuple[Any, ...]) -> None:
        if arguments and str(arguments[0]).startswith(place) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    act(*given)


def kill_a_writer(place: str, after: int, flush: Flush | None = None) -> list[int]:
    """Let another process store responses, and kill it after it has reported `after` of them.

    Return all numbers that it reported.
    """
    reports, sender = processes.Pipe(duplex=False)
    writer = processes.Process(target=_write_for_ever, args=(place, sender, flush), daemon=True)
    writer.start()
    sender.close()
    kept = [reports.recv() for _ in range(after)]
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    while (number := _next(reports)) is not None:
        kept.append(number)
    return kept


def _write_for_ever(place: str, reports: Connection, flush: Flush | None) -> None:
    store = ResponseStore(place, flush=flush)
    store.prepare()
    number = 0
    while True:
        store.keep(asked(number), said(number))
        reports.send(number)
        number += 1


def _next(reports: Connection) -> int | None:
    try:
        number: int = reports.recv()
    except EOFError:
        return None
    return number


def heed_signals() -> None:
    """Restore the default effect of signals, even if the tests run in the background or under nohup."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
