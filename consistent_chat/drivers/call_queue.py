"""The order in which calls wait for a slot: rows early while many dialogues are left, no late starts at the end."""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Order(NamedTuple):
    """Where a call stands: the position of its dialogue in the plan, and how many usable answers that has so far."""

    dialogue: int
    answers: int = 0

    def following(self, is_usable: bool) -> Order:
        """Return the order of the dialogue's next call, after a response that is usable or not."""
        return Order(self.dialogue, self.answers + is_usable)


class CallQueue(Generic[T]):
    """Waiting calls, of which one is next.

    Usually that is a call of the earliest dialogue, so that rows are finished early. When at most `few` of the waiting
    calls would start a dialogue, calls of the dialogues with the fewest answers go first: each call of a dialogue waits
    for the one before, so a dialogue that is started last would occupy one slot at the end while the others are idle.
    """

    def __init__(self, few: int) -> None:
        self._few = few
        self._arrival = itertools.count()
        self._by_answers: dict[int, list[tuple[int, int, T]]] = {}
        """For each number of answers a heap of calls, with the index of the dialogue and the number of the arrival."""

    def __bool__(self) -> bool:
        return bool(self._by_answers)

    def push(self, order: Order, item: T) -> None:
        """Add a call."""
        heapq.heappush(self._by_answers.setdefault(order.answers, []), (order.dialogue, next(self._arrival), item))

    def next(self) -> tuple[int, T]:
        """Return the call that is next, with the index of its dialogue. Raises ValueError if none waits."""
        index, _, item = self._by_answers[self._first()][0]
        return index, item

    def pop(self) -> None:
        """Remove the call that is next."""
        answers = self._first()
        heapq.heappop(self._by_answers[answers])
        if not self._by_answers[answers]:
            del self._by_answers[answers]

    def _first(self) -> int:
        """Return the number of answers of the dialogue whose call is next."""
        if len(self._by_answers.get(0, ())) <= self._few:
            return min(self._by_answers)
        return min(self._by_answers, key=lambda answers: self._by_answers[answers][0][:2])
