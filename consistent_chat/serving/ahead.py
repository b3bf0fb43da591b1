"""Imports libraries in a thread in the background: half of aiohttp's import time is spent without a lock.

If a process forked during an import, the child could wait for that import forever. So a fork waits for it first.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from importlib import import_module

_threads: list[threading.Thread] = []


def import_ahead(*modules: str) -> None:
    """Import modules in a thread. Errors are ignored: the next import of the module raises them again."""
    if all(module in sys.modules for module in modules):
        return
    thread = threading.Thread(target=_import, args=modules, name="consistent_chat imports")
    thread.start()
    _threads[:] = [*(other for other in _threads if other.is_alive()), thread]


def wait() -> None:
    """Wait until all has been imported."""
    for thread in tuple(_threads):
        if thread is not threading.current_thread():
            thread.join()


def _import(*modules: str) -> None:
    for module in modules:
        with contextlib.suppress(Exception):
            import_module(module)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=wait)
