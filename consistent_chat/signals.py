"""Signals that stop a run cleanly, as Ctrl-C does: SIGTERM, which schedulers send before they kill, and SIGHUP."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

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


@contextlib.contextmanager
def replaced_workers_die() -> Iterator[None]:
    """Let processes that are forked by other threads meanwhile end at once when they get a signal of STOPPING.

    A thread of a pool replaces workers that have ended, even while the pool is being stopped. A Python handler that the
    new worker inherits may miss the pool's signal, and the pool would wait for it forever: Python drops signals that
    arrive during a fork, and runs no handler if one arrives just before the process starts to wait for a lock.
    """
    global _pools
    _pools += 1
    try:
        yield
    finally:
        _pools -= 1


_pools = 0
_before = threading.local()


def _block() -> None:
    _before.mask = None
    if _pools and threading.current_thread() is not threading.main_thread():
        _before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


def _unblock() -> None:
    if _before.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _before.mask)


def _unblock_child() -> None:
    if _before.mask is not None:
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        _unblock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_unblock_child)
