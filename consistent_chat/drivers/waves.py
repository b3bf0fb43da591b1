"""The wave driver: sends all waiting requests of a stage in one call.

It is for servings that take many prompts in one call, such as DataFlow's. It runs in the caller's thread, because such
a serving may have a model bound to that thread. Responses are stored before they are used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

from consistent_chat.dialogue.work import Dialogue, FailedDraw, Steps
from consistent_chat.drivers.budget import Budget
from consistent_chat.drivers.call_queue import Order
from consistent_chat.drivers.concurrency import RECHECK
from consistent_chat.drivers.limits import Limits
from consistent_chat.drivers.replay import replay_until_missing
from consistent_chat.drivers.retry import MAX_TRIES_RETRIED, CircuitBreaker, Refusals, RetryPolicy, harmless
from consistent_chat.drivers.stats import RunStats
from consistent_chat.errors import TransportError
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore

T = TypeVar("T")

WAVE = 1000
"""Number of dialogues started ahead: enough for any serving. A killed run loses the responses of one call."""
REFUSED = Response("", "refusal")
"""The refusal recorded for a request that got no response while others did. The serving gives no reason."""

Outcome = Response | TransportError
"""The outcome of one request of a call."""


@runtime_checkable
class BatchedServing(Protocol):
    """Answers many requests in one call."""

    def answer_all(self, requests: Sequence[Request]) -> Sequence[Outcome]:
        """Return the outcome of each request, in order. All requests have the same stage and system text.

        Raises ServingError for a permanent fault.
        """


@dataclass
class _Slot:
    """A dialogue that waits for the response to `request`. `tries` counts the calls that did not return one.

    `probed` is the number of the call after which another request was sent to test whether the serving answers at all,
    or 0.
    """

    steps: Steps
    request: Request
    failed: list[FailedDraw]
    dialogue: Future[Dialogue]
    tries: int = 0
    probed: int = 0


class _Awaited(Future[Dialogue]):
    """A dialogue in progress: requesting its result makes calls until it is finished."""

    def __init__(self, advance: Callable[[], None]) -> None:
        super().__init__()
        self._advance = advance

    def result(self, timeout: float | None = None) -> Dialogue:
        """Return the dialogue. Raises the error that stops the run."""
        while not self.done():
            self._advance()
        return super().result(timeout)


class Waves:
    """Runs dialogues with one call per stage for all waiting requests. At most `window` dialogues are started ahead."""

    def __init__(
        self, serving: BatchedServing, store: ResponseStore, budget: Budget, limits: Limits, stats: RunStats
    ) -> None:
        self.window = WAVE
        self._serving, self._store, self._budget, self._stats = serving, store, budget, stats
        self._max_draws = limits.max_draws
        self._policy, self._breaker = RetryPolicy(time.monotonic), CircuitBreaker()
        self._refusals = Refusals(self._ask_unrecorded, self._other)
        self._known: dict[tuple[str, str], Request] = {}  # an answered request, by model and stage
        self._slots: list[_Slot] = []

    def submit(self, order: Order, steps: Steps, request: Request, failed: list[FailedDraw]) -> Future[Dialogue]:
        """Continue a dialogue that needs an answer to this request; requests are sent in the order of arrival.

        The dialogue appends its unusable answers to `failed`.
        """
        slot = _Slot(steps, request, failed, _Awaited(self._advance))
        self._slots.append(slot)
        return slot.dialogue

    def stop(self) -> None:
        """Leave the serving open: it belongs to the caller."""

    def _advance(self) -> None:
        """Make one call for each kind of waiting request."""
        for slots in _by_kind(self._slots):
            self._ask(slots)
        self._slots = [slot for slot in self._slots if not slot.dialogue.done()]

    def _ask(self, slots: Sequence[_Slot]) -> None:
        sent = self._refusals.sent()
        reserved = self._reserve([slot.request for slot in slots])
        slots = slots[: len(reserved)]
        outcomes = self._call([slot.request for slot in slots], reserved, self._store.keep)
        missed = [(slot, outcome) for slot, outcome in zip(slots, outcomes) if isinstance(outcome, TransportError)]
        for slot, outcome in zip(slots, outcomes):
            if isinstance(outcome, Response):
                self._policy.answered()
                self._refusals.answered(slot.request, self._refusals.sent())
                self._known[slot.request.model, slot.request.stage] = slot.request
                self._continue(slot, outcome)
        is_silent = len(missed) == len(slots)
        for slot, fault in missed:
            self._retry(slot, sent, fault, is_silent)
        if is_silent:
            time.sleep(self._policy.pause(slots[0].tries or 1, missed[0][1]))

    def _reserve(self, requests: Sequence[Request]) -> list[float]:
        """Reserve the calls that the budget allows now, and return the reserved dollars of each.

        The rest is sent later. Raises BudgetSpent if the budget allows none.
        """
        reserved: list[float] = []
        for request in requests:
            while (dollars := self._budget.reserve(request)) is None:
                if reserved:
                    return reserved
                time.sleep(RECHECK)  # another run shares the budget
            reserved.append(dollars)
        return reserved

    def _call(
        self, requests: Sequence[Request], reserved: Sequence[float], keep: Callable[[Request, Response], Response]
    ) -> list[Outcome | None]:
        outcomes: list[Outcome | None] = [None] * len(requests)
        try:
            outcomes = list(self._serving.answer_all(requests))
            for number, (request, outcome) in enumerate(zip(requests, outcomes)):
                if isinstance(outcome, Response):
                    outcomes[number] = keep(request, outcome)
        finally:
            for request, dollars, outcome in zip(requests, reserved, outcomes):
                response = outcome if isinstance(outcome, Response) else None
                taken = self._budget.settle(request, dollars, response)
                if response is not None:
                    self._stats.called(response, taken, partial(self._budget.price, request.model))
        return outcomes

    def _continue(self, slot: _Slot, response: Response) -> None:
        request, slot.tries, slot.probed = slot.request, 0, 0
        step = replay_until_missing(slot.steps, response, self._store.find, self._max_draws)
        self._breaker.test(request, response, slot.failed, step)
        if isinstance(step, Dialogue):
            slot.dialogue.set_result(step)
        else:
            slot.request = step

    def _retry(self, slot: _Slot, sent: int, fault: TransportError, is_silent: bool) -> None:
        """Keep a request for the next call, or give it up; raise the fault if other requests fail, too.

        If a call returned no response at all, another request is sent before the last try, so that an outage does not
        make all requests be given up.
        """
        slot.tries += 1
        self._stats.retried(fault)
        is_last = slot.tries >= MAX_TRIES_RETRIED
        if not is_last and not (is_silent and slot.tries == MAX_TRIES_RETRIED - 1):
            return
        slot.probed = slot.probed or sent
        if _at_once(self._refusals.give_up(slot.request, slot.probed, fault)) is None:
            self._policy.test(MAX_TRIES_RETRIED, fault)
        if is_last:
            self._continue(slot, self._store.keep(slot.request, REFUSED))

    def _other(self, request: Request) -> Request:
        """Return a request of the same kind to send as a test: one that was answered, or a harmless one.

        It has the same system text, because some servings recognize the task by it.
        """
        known = self._known.get((request.model, request.stage))
        return known or replace(harmless(request), system=request.system)

    async def _ask_unrecorded(self, request: Request) -> Response:
        (outcome,) = self._call([request], self._reserve([request]), lambda request, response: response)
        if not isinstance(outcome, Response):
            raise outcome or TransportError("The serving gave no response.")
        return outcome


def _by_kind(slots: Iterable[_Slot]) -> list[list[_Slot]]:
    """Return the slots grouped by kind, each group for one call, in the order of the first of each kind."""
    kinds: dict[tuple[str, str, str], list[_Slot]] = {}
    for slot in slots:
        kinds.setdefault((slot.request.model, slot.request.stage, slot.request.system), []).append(slot)
    return list(kinds.values())


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits, because no other work runs during a wave."""
    try:
        work.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    raise AssertionError("unreachable: the calls of a wave are not awaited")
