"""Imports libraries in a thread, while something else is done: half of what aiohttp's import takes holds no lock.

A process that forks during an import would leave its child waiting for it for ever, so a fork waits first.
"""

from __future__ import annotations

import contextlib
import os
import threading
from importlib import import_module

_threads: list[threading.Thread] = []


def import_ahead(*modules: str) -> None:
    """Import modules in a thread. An error is left to whoever imports the module next, and gets it too."""
    thread = threading.Thread(target=_import, args=modules, name="consistent_chat imports")
    _threads.append(thread)
    thread.start()


def wait() -> None:
    """Wait until all has been imported."""
    while _threads:
        _threads[-1].join()
        _threads.pop()


def _import(*modules: str) -> None:
    for module in modules:
        with contextlib.suppress(Exception):
            import_module(module)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=wait)
