"""Runs the dialogues of a plan in plan order: replays recorded ones, and makes calls for the rest."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Protocol

from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.check_identity import check_identity
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import Dialogue, FailedDraw, Steps
from consistent_chat.drivers.budget import Budget, Usage
from consistent_chat.drivers.call_queue import Order
from consistent_chat.drivers.deduplicate import Deduplicator, PendingDialogue, finished, is_done
from consistent_chat.drivers.limits import Limits
from consistent_chat.drivers.noted import Begin, NotedDialogues
from consistent_chat.drivers.online import Online
from consistent_chat.drivers.replay import REPLAY_DRAWS, walk
from consistent_chat.drivers.stats import RunStats
from consistent_chat.drivers.waves import BatchedServing, Waves
from consistent_chat.errors import MissingResponse
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.rules import CHECK_NAMES
from consistent_chat.request import Request
from consistent_chat.serving import Serving
from consistent_chat.store import ResponseStore
from consistent_chat.store.store import explain_miss
from consistent_chat.store.used import UsedResponses

logger = logging.getLogger(__name__)

Open = Callable[[], Serving | BatchedServing]
"""Opens a serving; called once, at the first request without a recorded response."""


class Driver(Protocol):
    """Finishes dialogues that need calls; at most `window` of them are started ahead."""

    @property
    def window(self) -> int:
        """Maximum dialogues in progress."""

    def submit(self, order: Order, steps: Steps, request: Request, failed: list[FailedDraw]) -> Future[Dialogue]:
        """Continue a dialogue that needs an answer to this request."""

    def stop(self) -> None:
        """Start no more calls, and wait for those in flight."""


def run(
    recipe: Recipe,
    indices: Iterable[int],
    store: ResponseStore,
    open_serving: Open | None,
    limits: Limits,
    stats: RunStats,
    spent: Usage | None = None,
    begin: Begin | None = None,
    notes: UsedResponses | None = None,
) -> Iterator[Dialogue]:
    """Yield the dialogues at these positions of the plan, in this order.

    Without `open_serving` no calls are made, and a missing response raises MissingResponse. With it, the serving is
    opened at the first request without a recorded response. Runs with the same `spent` share the limits. `begin`
    replaces the function that starts dialogues. `notes` are those of the recipe's plan, which are used and added to.
    """
    plan = Plan(recipe)
    noted = NotedDialogues(
        recipe, plan if begin is None else None, begin or partial(fill, recipe, plan), store, notes or UsedResponses()
    )
    driver = _Run(recipe, noted, store, open_serving, limits, stats, spent or Usage())
    try:
        for dialogue in driver.dialogues(indices):
            stats.finished(dialogue)
            yield dialogue
    except KeyboardInterrupt:
        driver.warn()
        raise
    finally:
        driver.stop()
        stats.settle()


class _Run:
    def __init__(
        self,
        recipe: Recipe,
        noted: NotedDialogues,
        store: ResponseStore,
        open_serving: Open | None,
        limits: Limits,
        stats: RunStats,
        spent: Usage,
    ) -> None:
        self._recipe, self._noted, self._store = recipe, noted, store
        self._open_serving, self._limits, self._stats, self._spent = open_serving, limits, stats, spent
        self._submitted: dict[int, tuple[list[FailedDraw], int, Steps]] = {}
        self._driver: Driver | None = None
        self._is_warm = False
        if recipe.has_checks:
            store.note_checks(check_identity(recipe))
        threshold = recipe.drop_near_duplicates
        self._distinct = Deduplicator(threshold, self._begin) if threshold else None

    def dialogues(self, indices: Iterable[int]) -> Iterator[Dialogue]:
        """Yield the dialogues at these positions, and start others while waiting for one."""
        pending: deque[PendingDialogue] = deque()
        for index in indices:
            pending.append(self._begin(index))
            if len(pending) == self._limits.max_concurrency and isinstance(self._driver, Online):
                self._driver.let_send()
            if len(pending) == 2 * self._limits.max_concurrency:  # the second half starts when the first is answered
                self._warm_up()
            while pending and (is_done(pending[0]) or self._is_full(len(pending))):
                yield self._next(pending)
        self._warm_up()
        while pending:
            yield self._next(pending)

    def warn(self) -> None:
        """Log what an interrupted run waits for."""
        if isinstance(self._driver, Online):
            logger.warning("Stopping after the calls in flight, to keep their answers. Press Ctrl-C to abandon them.")

    def stop(self) -> None:
        """Stop the driver, and close the store."""
        try:
            if self._driver is not None:
                self._driver.stop()
        finally:
            self._noted.save()
            self._store.close()

    def _warm_up(self) -> None:
        """Compile the patterns of the checks while the first calls are in flight."""
        if self._driver is not None and not self._is_warm and any(self._recipe.checks.values()):
            from consistent_chat.dialogue.checks import findings

            self._is_warm = True
            for language in self._recipe.languages:
                findings(("?",), ("?",), self._recipe.checks, language)

    def _is_full(self, count: int) -> bool:
        return self._driver is not None and count >= self._driver.window

    def _next(self, pending: deque[PendingDialogue]) -> Dialogue:
        dialogue = finished(pending.popleft()) if self._distinct is None else self._distinct.next(pending)
        submitted = self._submitted.pop(dialogue.spec.index, None)
        if submitted is not None:
            self._noted.note(dialogue, *submitted)
        return dialogue

    def _begin(self, index: int, substitute: int = 0, given_up: Sequence[FailedDraw] = ()) -> PendingDialogue:
        """Start a dialogue, with a substitute if earlier specs were given up, and replay what is recorded of it."""
        if not substitute and (dialogue := self._noted.replayed(index)) is not None:
            return dialogue
        failed = [*given_up]
        max_draws = REPLAY_DRAWS if self._open_serving is None else self._limits.max_draws
        progress = walk(partial(self._noted.steps, index, substitute), self._store, max_draws, failed)
        step = progress.step
        if isinstance(step, Dialogue):
            self._noted.note(step, failed, substitute, progress.steps)
            return step
        if self._open_serving is None:
            raise MissingResponse(_refused(failed) or explain_miss(step, index, self._store))
        driver = self._started(self._open_serving)
        self._submitted[index] = failed, substitute, progress.steps
        return driver.submit(Order(index, len(progress.used)), progress.steps, step, failed)

    def _started(self, open_serving: Open) -> Driver:
        if self._driver is None:
            budget = Budget(self._limits, self._spent, self._recipe.models)
            serving = open_serving()
            self._store.prepare()
            kind = Waves if isinstance(serving, BatchedServing) else Online
            self._driver = kind(serving, self._store, budget, self._limits, self._stats)  # type: ignore[arg-type]
        return self._driver


def _refused(failed: Sequence[FailedDraw]) -> str:
    """Return a message if a response is missing because a check rejects the recorded one."""
    reason = failed[-1].reason if failed else None
    if reason is Reason.REJECTED:
        return f"{failed[-1]}. The substitute for this dialogue is not recorded. Pass serving= to make it."
    if reason is None or reason.value not in (*CHECK_NAMES, Reason.RULE.value):
        return ""
    other = "leave the rule out" if reason is Reason.RULE else "checks=False for rows without checks"
    return (
        f"The recorded response is unusable: {failed[-1]}. No other response is recorded. "
        f"Pass serving= to request another, or {other}."
    )
