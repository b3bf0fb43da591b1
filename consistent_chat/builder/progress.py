"""Progress bars for dialogues (as `datasets` has for rows), for calls with tokens and cost, and for batches."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from datasets.utils import tqdm

from consistent_chat.drivers import BatchProgress, RunStats
from consistent_chat.errors import ConsistentChatError
from consistent_chat.recipe import Recipe
from consistent_chat.text import counted
from consistent_chat.text.console import for_bar, lines_only, say

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def told_if_stopped(all_stats: Callable[[], Iterable[RunStats]]) -> Iterator[None]:
    """Log the counts of the block's runs, which include what they have spent, if an error or an interrupt ends it."""
    try:
        yield
    except (ConsistentChatError, KeyboardInterrupt):
        whole = RunStats()
        for stats in all_stats():
            whole.add(stats.counts())
        if whole.calls or whole.cost or whole.timeouts:
            logger.warning("Before the stop: %s.", whole)
        raise


def dialogues_bar(about: str, total: int) -> Any:
    """Return a progress bar for dialogues, for steps that do not write rows."""
    return tqdm(desc=for_bar(about, 40), total=total, unit=" dialogues")


TICK = 1.0
"""Seconds between two updates for calls in flight, so that a bar moves while no responses arrive."""
LINES_EVERY = 30.0
"""Seconds between two progress lines if no bar can be shown."""
SHOW_EVERY = 0.1
"""Seconds between two updates of a bar while responses arrive."""
LONG = 5.0
"""Seconds after which the age of the oldest call in flight is shown."""


class CallsBar(contextlib.AbstractContextManager["CallsBar"]):
    """Shows the calls of a run: a bar that obeys `datasets.disable_progress_bars()`, or occasional lines.

    The bar appears when a call is in flight, so a replay shows none.
    """

    def __init__(self, recipe: Recipe, stats: RunStats) -> None:
        self._name, self._stats = for_bar(f"Calling {recipe.model}", 40), stats
        self._bar: Any = None
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._last, self._shown, self._next_update = stats, 0, 0.0
        self._next_line = time.monotonic() + LINES_EVERY
        stats.on_call = self.show

    def __enter__(self) -> CallsBar:
        threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        with self._lock:
            if self._bar is not None:
                self._draw(self._last)
                self._bar.close()

    def show(self, stats: RunStats) -> None:
        """Show the counts of a run."""
        now, self._last = time.monotonic(), stats
        if now < self._next_update and stats.calls != self._shown:
            return
        self._next_update = now + SHOW_EVERY
        with self._lock:
            self._draw(stats)

    def _draw(self, stats: RunStats) -> None:
        if self._bar is None:
            self._bar = tqdm(desc=self._name, unit=" calls", position=1, leave=False)
        waiting = stats.calls == self._shown  # no response since then: show the fault now, not with the next response
        self._bar.set_postfix_str(_postfix(stats), refresh=waiting)
        self._bar.update(stats.calls - self._shown)
        self._shown = stats.calls

    def _tick(self) -> None:
        while not self._ended.wait(TICK):
            self._stats.settle()
            if self._stats.in_flight:
                self.show(self._stats)
            if lines_only() and time.monotonic() >= self._next_line and (self._stats.calls or self._stats.in_flight):
                self._next_line += LINES_EVERY
                say(f"{self._name}: {counted(self._stats.calls, 'call')}, {_postfix(self._stats)}")


def _postfix(stats: RunStats) -> str:
    cost = "" if stats.cost is None else f", ${stats.cost:.4f}"
    retries = f", {counted(stats.retries, 'retry')}, the last: {for_bar(stats.last_fault, 80)}" if stats.retries else ""
    return f"{stats.input_tokens + stats.output_tokens:,} tokens{cost}{_in_flight(stats)}{retries}"


def _in_flight(stats: RunStats) -> str:
    oldest = next(iter(stats.in_flight.copy().values()), None)
    if oldest is None:
        return ""
    age = time.monotonic() - oldest
    return f", {len(stats.in_flight)} in flight" + (f", the oldest for {age:.0f} s" if age >= LONG else "")


class BatchBar(contextlib.AbstractContextManager["BatchBar"]):
    """Shows the progress of batches.

    The bar appears at the first poll of an open batch; tqdm shows the elapsed time.
    """

    def __init__(self, model: str | None) -> None:
        self._model = model
        self._bar: Any = None

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, progress: BatchProgress) -> None:
        """Show the progress of a wave's batches."""
        if self._bar is None or self._bar.total != progress.requests:
            self.__exit__()
            name = for_bar(f"Batches of {self._model}", 40)
            self._bar = tqdm(desc=name, unit=" requests", total=progress.requests, leave=False)
        said = [f"{progress.batches} under way"]
        if progress.expires is not None:
            said.append(f"expire in {_hours(progress.expires - time.time())}")
        if progress.fault:
            said.append(f"last poll: {for_bar(progress.fault, 80)}")
        self._bar.set_postfix_str(", ".join(said), refresh=False)
        self._bar.n = progress.done
        self._bar.refresh()


def _hours(seconds: float) -> str:
    """Return a remaining time, to the minute."""
    minutes = max(0, round(seconds / 60))
    return f"{minutes // 60}:{minutes % 60:02} h"
