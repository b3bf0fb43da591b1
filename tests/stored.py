"""Requests, responses and stores for the tests of the response store, and writers that get killed."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.place import home

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.stored"])


def asked(number: int = 0, **changes: Any) -> Request:
    """Return a request; each number, and each change, makes another one."""
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
    """Return the response to a request of that number; every seventh is long."""
    return Response(f"answer {number} " * (10_000 if number % 7 == 3 else 1), "stop", 100 + number, number)


def fill(place: str, *numbers: int, refresh: bool = False) -> None:
    """Keep the responses of these numbers, by a store that is closed after."""
    store = ResponseStore(place, refresh=refresh)
    for number in numbers:
        store.keep(asked(number), said(number))
    store.close()


def files(place: str, folder: str) -> list[Path]:
    """Return the files in a folder of a store."""
    return sorted((Path(place) / folder).glob("*"))


def machine(folder: str = "") -> list[Path]:
    """Return the files that this machine has of remote stores, in folders of that name or in all."""
    return sorted(path for path in (home() / "remote").glob(f"*/{folder or '*'}/*") if path.is_file())


def forget() -> None:
    """Make this a machine that has nothing of remote stores."""
    shutil.rmtree(home() / "remote", ignore_errors=True)


def kill_a_writer(place: str, after: int) -> list[int]:
    """Let another process keep responses, kill it when it has reported so many, and return all that it reported."""
    reports, sender = processes.Pipe(duplex=False)
    writer = processes.Process(target=_write_for_ever, args=(place, sender), daemon=True)
    writer.start()
    sender.close()
    kept = [reports.recv() for _ in range(after)]
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    while (number := _next(reports)) is not None:
        kept.append(number)
    return kept


def _write_for_ever(place: str, reports: Connection) -> None:
    store = ResponseStore(place)
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
