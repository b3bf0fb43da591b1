"""Signals that stop a run: processes that a pool starts meanwhile do not outlive it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from consistent_chat import signals

if not hasattr(os, "fork"):
    pytest.skip("this system does not fork", allow_module_level=True)


def forked(act: Callable[[], int]) -> int:
    """Fork a process in a thread, as a pool does to replace a worker; return its id. It ends with the code of `act`."""
    made: list[int] = []

    def fork() -> None:
        process = os.fork()
        if process == 0:
            os._exit(act())
        made.append(process)

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    return made[0]


def has_default_signals() -> int:
    """Return 0 if SIGTERM and SIGHUP have their default action and are not blocked."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return int(any(signal.getsignal(one) is not signal.SIG_DFL or one in blocked for one in signals.STOPPING))


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """Handle SIGTERM and SIGHUP in Python, as a build with several processes does."""
    seen: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: seen.append(number)) for number in signals.STOPPING}
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_replaced_worker_has_the_default_signals(handled: list[int]) -> None:
    """A worker that a thread forks during a build does not inherit the handlers; one forked at other times does."""
    with signals.replaced_workers_die():
        assert os.waitpid(forked(has_default_signals), 0)[1] == 0
    assert os.waitstatus_to_exitcode(os.waitpid(forked(has_default_signals), 0)[1]) == 1


def test_no_signal_to_a_replaced_worker_is_lost(handled: list[int]) -> None:
    """A worker dies of a signal that arrives as soon as it exists, and the parent's own signals are not blocked."""
    with signals.replaced_workers_die():
        for _ in range(5):
            process = forked(lambda: time.sleep(60) or 0)
            os.kill(process, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGTERM
        os.kill(os.getpid(), signal.SIGHUP)
    assert handled == [signal.SIGHUP]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
