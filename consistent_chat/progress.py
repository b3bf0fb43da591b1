"""The second progress bar: calls, with tokens and cost so far. `datasets` shows the rows in the first."""

from __future__ import annotations

import contextlib
from typing import Any

from datasets.utils import tqdm

from consistent_chat.drive import Tally
from consistent_chat.recipe import Recipe


class CallsBar(contextlib.AbstractContextManager["CallsBar"]):
    """Appears with the first call, so that a replay shows none; obeys `datasets.disable_progress_bars()`."""

    def __init__(self, recipe: Recipe, tally: Tally) -> None:
        self._model = recipe.model
        self._bar: Any = None
        tally.on_call = self._show

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _show(self, tally: Tally) -> None:
        if self._bar is None:
            self._bar = tqdm(desc=f"Calling {self._model}", unit=" calls", position=1, leave=False)
        cost = "" if tally.cost is None else f", ${tally.cost:.4f}"
        self._bar.set_postfix_str(f"{tally.input_tokens + tally.output_tokens:,} tokens{cost}", refresh=False)
        self._bar.update(1)
