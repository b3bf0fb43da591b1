"""Determines the requests that the dialogues of a plan still need."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import Dialogue, FailedDraw
from consistent_chat.drivers.deduplicate import Deduplicator
from consistent_chat.drivers.replay import walk
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request
from consistent_chat.store import ResponseStore


class PlanSlice(NamedTuple):
    """Places of a recipe's plan. `indices` can be iterated more than once."""

    recipe: Recipe
    indices: Iterable[int]


class PendingRequests:
    """Replays dialogues as far as they are recorded.

    `unusable` counts the unusable responses of the last pass; `last` is one of them, with its model. Truncated
    responses are not counted: they are drawn again with a higher limit.
    """

    def __init__(self, parts: Sequence[PlanSlice], max_draws: int) -> None:
        self._parts, self._max_draws = parts, max_draws
        self.unusable = 0
        self.last: tuple[str, FailedDraw] | None = None

    def requests(self, store: ResponseStore) -> Iterator[Request]:
        """Yield the first unrecorded request of each incomplete dialogue, in the order of the plan."""
        self.unusable = 0
        for recipe, indices in self._parts:
            begin = partial(self._begin, recipe, Plan(recipe), store)
            threshold = recipe.drop_near_duplicates
            distinct = Deduplicator(threshold, begin) if threshold else None
            for index in indices:
                try:
                    dialogue = begin(index)
                    if distinct is not None:  # passes to a substitute, whose requests may be missing too
                        distinct.next(deque([dialogue]))
                except _MissingRequest as missing:
                    yield missing.request

    def _begin(
        self,
        recipe: Recipe,
        plan: Plan,
        store: ResponseStore,
        index: int,
        substitute: int = 0,
        given_up: Sequence[FailedDraw] = (),
    ) -> Dialogue:
        failed = [*given_up]
        begin = partial(fill, recipe, plan, index, first=substitute)
        step = walk(begin, store, self._max_draws, failed).step
        self._count(recipe.model or "", failed[len(given_up) :])
        if isinstance(step, Dialogue):
            return step
        raise _MissingRequest(step)

    def _count(self, model: str, failed: Sequence[FailedDraw]) -> None:
        for draw in failed:
            if draw.reason is not Reason.TRUNCATED:
                self.unusable += 1
                self.last = model, draw


class _MissingRequest(Exception):
    """A dialogue needs a response that the store does not have."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request
