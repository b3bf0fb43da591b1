"""A thread that flushes: when it is told to, and every so many seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Flusher:
    """Calls `flush` in a thread of its own, one call at a time, while it is running."""

    def __init__(self, flush: Callable[[], None], seconds: float | None) -> None:
        self._flush, self._seconds = flush, seconds
        self._due = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether it was started, and not stopped since."""
        return self._thread is not None

    def start(self) -> None:
        """Begin, unless it is running."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="consistent_chat flush", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Flush now."""
        self._due.set()

    def stop(self) -> None:
        """Let a flush that is going on finish, and begin no more."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._due.set()
            thread.join()

    def _work(self) -> None:
        while True:
            self._due.wait(self._seconds)
            self._due.clear()
            if threading.current_thread() is not self._thread:
                return
            self._flush()
