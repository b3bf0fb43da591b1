"""The workers of a build with several processes: how signals stop them, and how their pool ends.

A signal stops a worker between two dialogues or while it waits for one, never within other code, which may hold a lock.
The pool ends also if a signal killed a worker while it held a lock of the pool's queues, or if Python lost a signal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import multiprocess  # type: ignore[import-untyped]
import multiprocess.connection  # type: ignore[import-untyped]
import multiprocess.pool  # type: ignore[import-untyped]
from datasets import builder

from consistent_chat import signals
from consistent_chat.errors import ConsistentChatError

DIED = "abruptly died"
"""Words of the error of `datasets` about a worker that was killed."""
AGAIN = 1.0
"""Seconds until workers that have not ended get another SIGTERM: Python loses one that arrives at a bad moment."""


@contextlib.contextmanager
def waiting_for_workers(processes: int) -> Iterator[None]:
    """On an interrupt, wait until the workers have stored responses in flight, then raise KeyboardInterrupt.

    Raises ConsistentChatError if one of so many processes died.
    """
    try:
        with _interruptible():
            yield
    except (RuntimeError, multiprocess.TimeoutError) as error:  # how `datasets` reports it depends on the moment
        if not isinstance(error, multiprocess.TimeoutError) and DIED not in str(error):
            raise
        raise ConsistentChatError(
            f"One of the {processes} processes died; its calls are not in the counts. All answers are kept; rerun to "
            "resume."
        ) from None


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    handlers = signals.interrupting()
    if signal.SIGINT not in handlers:
        with _own_pool():
            yield
        return
    stop = _Parent(handlers)
    for number in handlers:
        signal.signal(number, stop)
    try:
        with _own_pool():
            yield
    finally:
        _restore(handlers)
        if stop.stopped:
            raise KeyboardInterrupt from None


class _Parent:
    """A signal handler that stops the workers of this process. The next signal has its usual effect.

    Workers and the manager of their queue inherit it: it stops a worker at its first step, and never the manager, which
    the others need until they end.
    """

    def __init__(self, handlers: Mapping[int, Any]) -> None:
        self._handlers, self._process = handlers, os.getpid()
        self.stopped = False

    def __call__(self, number: int, _: Any) -> None:
        if os.getpid() == self._process:
            self._stop_workers()
        elif not multiprocess.current_process().name.startswith("SyncManager"):
            if number != signal.SIGINT:
                signals.die_of(number)
            signals.request_stop(_stopped())

    def _stop_workers(self) -> None:
        self.stopped = True
        _restore(self._handlers)
        for worker in multiprocess.active_children():  # if only this process received the signal
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGINT)


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def stoppable(steps: Generator[Any, None, Any]) -> Iterator[Any]:
    """Yield a worker's steps. A signal stops it cleanly at the next dialogue, also in further parts that it is given.

    After SIGTERM and SIGHUP the worker exits after its steps, because a pool waits for the workers that it terminates.
    """
    stop = _Worker()
    for number in (signal.SIGINT, *signals.STOPPING):
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield from steps
    finally:
        for number in signals.STOPPING:
            if signal.getsignal(number) is stop:
                signal.signal(number, signal.SIG_DFL)
        if stop.fatal:
            signals.die_of(stop.fatal)


class _Worker:
    """A signal handler that stops the worker. `fatal` is the last signal other than SIGINT, or 0."""

    fatal = 0

    def __call__(self, number: int, _: Any) -> None:
        self.fatal = self.fatal if number == signal.SIGINT else number
        signals.request_stop(_stopped())


def _stopped() -> ConsistentChatError:
    return ConsistentChatError("Stopped. All answers are kept; rerun to resume.")


class Pool(multiprocess.pool.Pool):
    """A pool whose end does not depend on one signal to each worker, nor on locks that killed workers held."""

    @classmethod
    def _terminate_pool(
        cls, tasks: Any, inqueue: Any, outqueue: Any, workers: list[Any], notifier: Any, replacing: Any, *others: Any
    ) -> None:
        """End all workers, each after its steps, then the pool. `replacing` is the thread that replaces workers."""
        replacing._state = multiprocess.pool.TERMINATE
        notifier.put(None)
        replacing.join()
        while running := [worker for worker in workers if worker.is_alive()]:
            for worker in running:
                worker.terminate()
            multiprocess.connection.wait([worker.sentinel for worker in running], AGAIN)
        for lock in (inqueue._rlock, outqueue._wlock):
            _free(lock)
        super()._terminate_pool(tasks, inqueue, outqueue, workers, notifier, replacing, *others)


def _free(lock: Any) -> None:
    """Give back a lock of a queue if a process that has ended holds it. Threads hold it for an instant only."""
    if lock is not None:  # Windows needs none to write
        lock.acquire(timeout=AGAIN)
        lock.release()


_builds = 0
_counting = threading.Lock()
_usual = builder.Pool


@contextlib.contextmanager
def _own_pool() -> Iterator[None]:
    """Let `datasets` use this file's pool while there is a build with several processes in any thread."""
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(more: int) -> None:
    global _builds
    with _counting:
        _builds += more
        builder.Pool = _pool if _builds else _usual


def _pool(processes: int | None = None, *given: Any, **named: Any) -> Pool:
    return Pool(processes, *given, context=multiprocess.get_context(), **named)
