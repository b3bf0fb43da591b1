"""Progress bars: of dialogues, as `datasets` shows one of rows; of calls, with tokens and cost so far; of batches."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from datasets.utils import tqdm

from consistent_chat.drivers import BatchProgress, RunStats
from consistent_chat.recipe import Recipe
from consistent_chat.text.console import for_bar


def dialogues_bar(about: str, total: int) -> Any:
    """Return a progress bar of dialogues, for steps that write no rows."""
    return tqdm(desc=for_bar(about, 40), total=total, unit=" dialogues")


class CallsBar(contextlib.AbstractContextManager["CallsBar"]):
    """Appears with the first call, so that a replay shows none; obeys `datasets.disable_progress_bars()`."""

    def __init__(self, recipe: Recipe, tally: RunStats) -> None:
        self._model = recipe.model
        self._bar: Any = None
        tally.on_call = self.show

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, tally: RunStats) -> None:
        """Show the counts of a run."""
        if self._bar is None:
            self._bar = tqdm(desc=for_bar(f"Calling {self._model}", 40), unit=" calls", position=1, leave=False)
        cost = "" if tally.cost is None else f", ${tally.cost:.4f}"
        retries = f", {tally.retries} retries, the last: {for_bar(tally.last_fault, 80)}" if tally.retries else ""
        waiting = tally.calls == self._bar.n  # no response so far: show the fault at once, not with the next response
        postfix = f"{tally.input_tokens + tally.output_tokens:,} tokens{cost}{retries}"
        self._bar.set_postfix_str(postfix, refresh=waiting)
        self._bar.update(tally.calls - self._bar.n)


class BatchBar(contextlib.AbstractContextManager["BatchBar"]):
    """Appears with the first poll of a batch that has not ended; tqdm shows the elapsed time."""

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
