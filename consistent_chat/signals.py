"""Signals that stop a run cleanly, as Ctrl-C does: SIGTERM, which schedulers send before they kill, and SIGHUP."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, TimeoutError
from typing import Any, TypeVar

T = TypeVar("T")
POLL = 0.05
"""Seconds between two checks whether to stop."""

STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))


class Interrupter:
    """A handler that raises KeyboardInterrupt in the process that made it.

    In a forked process the signal has its usual effect.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    def __call__(self, number: int, frame: Any) -> None:
        """Interrupt."""
        if os.getpid() != self._process:
            die_of(number)
        raise KeyboardInterrupt


def die_of(number: int) -> None:
    """End this process by a signal's default action."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextlib.contextmanager
def taken_like_ctrl_c() -> Iterator[None]:
    """Let signals with their default action interrupt the process. SIGHUP stays ignored under `nohup`."""
    taken = []
    if threading.current_thread() is threading.main_thread():
        taken = [number for number in STOPPING if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, Interrupter())
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def interrupting() -> dict[int, Any]:
    """Return the handlers, by signal, that would interrupt this thread; empty outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *STOPPING)}
    return {
        number: handler
        for number, handler in handlers.items()
        if handler is signal.default_int_handler or isinstance(handler, Interrupter)
    }


_error: Exception | None = None


def request_stop(error: Exception) -> None:
    """Let this process stop with this error where it is safe: at the next `check_stop` or `result_of`.

    A handler calls this instead of raising the error itself. An error that a handler raises may come just when the
    thread has taken a lock. The lock would never be given back, and other threads would wait for it forever.
    """
    global _error
    _error = error


def check_stop() -> None:
    """Raise the error of a requested stop."""
    if _error is not None:
        raise _error


def result_of(future: Future[T]) -> T:
    """Wait for a future's result; raises the error of a stop that is requested meanwhile."""
    while True:
        check_stop()
        try:
            return future.result(POLL)
        except TimeoutError:
            if future.done():
                return future.result()  # also if the error is its own
