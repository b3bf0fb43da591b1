"""Signals stop a build with several processes wherever its workers are, and the build always ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from consistent_chat import signals
from consistent_chat.builder import workers
from consistent_chat.drivers.deduplicate import finished
from consistent_chat.errors import ConsistentChatError
from tests import ROOT, forked
from tests.stored import until

if not hasattr(os, "fork"):
    pytest.skip("this system does not fork", allow_module_level=True)

WAIT = 60
"""Seconds until what does not end is a fault."""

BUILD = """
import sys, time
from concurrent.futures import Future
from pathlib import Path

import multiprocess
from datasets import builder, utils

from consistent_chat import signals
from consistent_chat.builder.hooks import BuilderHooks
from consistent_chat.drivers.deduplicate import finished


class Parts:
    def _prepare_split(self, generator, num_proc):
        with builder.Pool(num_proc) as pool:
            parts = [{"part": part} for part in generator.gen_kwargs["parts"]]
            for _ in utils.py_utils.iflatmap_unordered(pool, self._prepare_split_single, kwargs_iterable=parts):
                pass

    def _prepare_split_single(self, part):
        Path(f"{part} begins").touch()
        yield 0
        if part == "waits":
            finished(Future())
        Path(f"{part} ends").touch()


class Build(BuilderHooks, Parts):
    class Split:
        gen_kwargs = {"parts": sys.argv[1:]}


with signals.taken_like_ctrl_c():
    Build()._prepare_split(Build.Split, num_proc=2)
"""
"""A build in two processes. The part "waits" waits for an answer that never comes; the others end at once."""


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore the signal handlers after the test, and forget that the process was to stop."""
    monkeypatch.setattr(signals, "_error", None)
    numbers = (signal.SIGINT, *signals.STOPPING)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before):
        signal.signal(number, handler)


def worker(steps: Iterator[Any]) -> list[Any]:
    """Do what a worker does with the steps of its part."""
    return list(workers.stoppable(steps))


def test_a_signal_never_leaves_a_lock_taken(handlers: None) -> None:
    """A worker that gets a signal just when it has taken a lock stops, and does not keep the lock.

    Otherwise the thread that has the answer would wait for the lock, and the worker for the thread.
    """
    future: Future[Any] = Future()
    before, taken = sys.gettrace(), []

    def returning(frame: FrameType, event: str, _: object) -> Any:
        if event == "return" and not taken:
            taken.append(frame)
            signal.raise_signal(signal.SIGINT)
        return returning

    def trace(frame: FrameType, event: str, _: object) -> Any:
        return returning if frame.f_code is threading.Condition.__enter__.__code__ else None

    def steps() -> Iterator[None]:
        sys.settrace(trace)
        try:
            yield finished(future)  # type: ignore[func-returns-value]
        finally:
            sys.settrace(before)

    with pytest.raises(ConsistentChatError, match=r"Stopped\. All answers are kept"):
        worker(steps())
    assert taken
    answering = threading.Thread(target=future.set_result, args=(None,), daemon=True)
    answering.start()
    answering.join(WAIT)
    assert not answering.is_alive()


def test_a_signal_between_steps_stops_the_next_one(handlers: None) -> None:
    """A signal that arrives outside a step is not lost: the next wait for a dialogue raises the error."""

    def steps() -> Iterator[int]:
        yield 1
        finished(Future())
        yield 2

    stopped = workers.stoppable(steps())
    assert next(stopped) == 1
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(ConsistentChatError, match="Stopped"):
        next(stopped)


def start(folder: Path, *parts: str) -> forked.Process:
    """Start a build of these parts with two workers, in a separate process group."""
    command = [sys.executable, "-c", BUILD, *parts]
    return forked.start(command, {**os.environ, "PYTHONPATH": str(ROOT)}, folder, session=True)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("to_all", [True, False], ids=["to all", "to the first"])
def test_a_worker_without_work_does_not_hold_up_the_end(tmp_path: Path, number: signal.Signals, to_all: bool) -> None:
    """A signal ends a build of which one worker has finished its part, and no process is left.

    The worker waits for more work, and holds the lock of the queue, which its pool needs at the end.
    """
    running = start(tmp_path, "quick", "waits")
    until(lambda: all((tmp_path / name).exists() for name in ("quick ends", "waits begins")))
    time.sleep(0.3)  # until the worker waits for more work
    try:
        os.killpg(running.pid, number) if to_all else running.send_signal(number)
        done = running.finish(WAIT)
        assert done.returncode == -signal.SIGINT, done.stderr
        assert done.stderr.strip().endswith("KeyboardInterrupt")
    finally:
        left = kill_all(running.pid)
    assert not left


def kill_all(group: int) -> bool:
    """Kill the processes of a group, and return whether there were any."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_stopped_worker_begins_no_other_part(tmp_path: Path) -> None:
    """A worker that was stopped stops in each further part that it is given, too."""
    running = start(tmp_path, "waits", "waits", "waits", "waits")
    until(lambda: (tmp_path / "waits begins").exists())
    try:
        running.send_signal(signal.SIGINT)
        assert running.finish(WAIT).returncode == -signal.SIGINT
    finally:
        assert not kill_all(running.pid)
    assert not (tmp_path / "waits ends").exists()
