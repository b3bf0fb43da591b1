"""Runs the dialogues of a plan in plan order: replayed where recorded, called for where not."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from consistent_chat.dialogue.at_once import Dialogue, FailedDraw, fill
from consistent_chat.drivers.budget import Budget, Usage
from consistent_chat.drivers.deduplicate import Deduplicator, PendingDialogue, finished, is_done
from consistent_chat.drivers.limits import Limits
from consistent_chat.drivers.online import Caller, Online
from consistent_chat.drivers.replay import REPLAY_DRAWS, walk
from consistent_chat.drivers.stats import RunStats
from consistent_chat.errors import MissingResponse
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.fields import DEFAULTS
from consistent_chat.serving import Serving
from consistent_chat.store import ResponseStore
from consistent_chat.store.miss import explain_miss

logger = logging.getLogger(__name__)

WINDOW = 8
"""Dialogues begun ahead of the one that is awaited, for each call in flight: enough to keep every slot busy while
one slow call holds up the rows, little enough to fit into memory."""


def run(
    recipe: Recipe,
    indices: Iterable[int],
    store: ResponseStore,
    open_serving: Callable[[], Serving] | None,
    limits: Limits,
    tally: RunStats,
    spent: Usage | None = None,
) -> Iterator[Dialogue]:
    """Yield the dialogues at these places of the plan, in this order.

    Without `open_serving` no calls are made, and a response that the store lacks raises MissingResponse. With it,
    the serving is opened at the first request that is not recorded, if there is one. Runs that are given the same
    `spent` keep to the limits together.
    """
    driver = _Driver(recipe, store, open_serving, limits, tally, spent or Usage())
    try:
        for dialogue in driver.dialogues(indices):
            tally.finished(dialogue)
            yield dialogue
    except KeyboardInterrupt:
        logger.warning(
            "Stopping: calls in flight are waited for, so that their answers are kept. Ctrl-C abandons them."
        )
        raise
    finally:
        driver.stop()


class _Driver:
    def __init__(
        self,
        recipe: Recipe,
        store: ResponseStore,
        open_serving: Callable[[], Serving] | None,
        limits: Limits,
        tally: RunStats,
        spent: Usage,
    ) -> None:
        self._recipe, self._plan = recipe, Plan(recipe)
        self._store, self._tally, self._limits, self._spent = store, tally, limits, spent
        self._open_serving = open_serving
        self._online: Online | None = None
        threshold = recipe.drop_near_duplicates
        self._distinct = Deduplicator(threshold, self._begin) if threshold else None

    def dialogues(self, indices: Iterable[int]) -> Iterator[Dialogue]:
        window = max(256, WINDOW * self._limits.max_concurrency)
        pending: deque[PendingDialogue] = deque()
        for index in indices:
            pending.append(self._begin(index))
            while pending and (len(pending) > window or is_done(pending[0])):
                yield self._next(pending)
        while pending:
            yield self._next(pending)

    def stop(self) -> None:
        try:
            if self._online is not None:
                self._online.stop()
        finally:
            self._store.close()

    def _next(self, pending: deque[PendingDialogue]) -> Dialogue:
        return finished(pending.popleft()) if self._distinct is None else self._distinct.next(pending)

    def _begin(self, index: int, substitute: int = 0, given_up: Sequence[FailedDraw] = ()) -> PendingDialogue:
        """Begin a dialogue, with a substitute where the specs before it were given up, and go on while replaying."""
        failed = [*given_up]
        begin = partial(fill, self._recipe, self._plan, index, first=substitute)
        max_draws = REPLAY_DRAWS if self._open_serving is None else self._limits.max_draws
        progress = walk(begin, self._store, max_draws, failed)
        step = progress.step
        if isinstance(step, Dialogue):
            return step
        if self._open_serving is None:
            raise MissingResponse(_refused(failed) or explain_miss(step, index, self._store))
        return self._started(self._open_serving).submit(index, progress.steps, step, failed)

    def _started(self, open_serving: Callable[[], Serving]) -> Online:
        if self._online is None:
            models = [model for model in (self._recipe.model, self._recipe.judge_model) if model is not None]
            budget = Budget(self._limits, self._spent, models)
            serving = open_serving()
            self._store.prepare()
            caller = Caller(
                serving, self._store, budget, self._tally, self._limits.max_draws, self._limits.wait_for_server
            )
            self._online = Online(caller, self._limits.max_concurrency)
        return self._online


def _refused(failed: Sequence[FailedDraw]) -> str:
    """Return the message where a response is missing because a check refuses the one that is recorded."""
    if not failed or failed[-1].reason.value not in DEFAULTS:
        return ""
    return (
        f"A response is recorded, but was of no use: {failed[-1]}. Nothing is recorded in its place. "
        "Pass serving= to ask again, or checks=False for rows without checks."
    )
