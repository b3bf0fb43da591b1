"""Progress bars: of dialogues, as `datasets` shows one of rows, and of calls, with tokens and cost so far."""

from __future__ import annotations

import contextlib
from typing import Any

from datasets.utils import tqdm

from consistent_chat.drive import Tally
from consistent_chat.recipe import Recipe


def dialogues_bar(about: str, total: int) -> Any:
    """Return a bar of dialogues, for where no rows are written."""
    return tqdm(desc=about, total=total, unit=" dialogues")


class CallsBar(contextlib.AbstractContextManager["CallsBar"]):
    """Appears with the first call, so that a replay shows none; obeys `datasets.disable_progress_bars()`."""

    def __init__(self, recipe: Recipe, tally: Tally) -> None:
        self._model = recipe.model
        self._bar: Any = None
        tally.on_call = self.show

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, tally: Tally) -> None:
        """Show the counts of a tally."""
        if self._bar is None:
            self._bar = tqdm(desc=f"Calling {self._model}", unit=" calls", position=1, leave=False)
        cost = "" if tally.cost is None else f", ${tally.cost:.4f}"
        retries = f", {tally.retries} retries, the last: {tally.last_fault[:80]}" if tally.retries else ""
        waiting = tally.calls == self._bar.n  # nothing was answered: say so at once, not with the next answer
        postfix = f"{tally.input_tokens + tally.output_tokens:,} tokens{cost}{retries}"
        self._bar.set_postfix_str(postfix, refresh=waiting)
        self._bar.update(tally.calls - self._bar.n)
