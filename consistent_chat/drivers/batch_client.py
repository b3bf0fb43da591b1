"""A provider's batch API for callers that have no event loop; what passes at once is tried again here."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from consistent_chat.drivers.budget import Budget, Usage
from consistent_chat.drivers.event_loop import Loop
from consistent_chat.drivers.limits import Limits
from consistent_chat.drivers.retry import RetryPolicy, backoff
from consistent_chat.drivers.stats import RunStats
from consistent_chat.errors import RecipeError, RefusedRequest, ServingError, TransportError
from consistent_chat.prices import Price, price_of
from consistent_chat.serving import Serving
from consistent_chat.serving.batches import DISCOUNT, BatchesUnsupported, BatchServing, BatchStatus, NotSubmitted
from consistent_chat.store import ResponseStore
from consistent_chat.store.batch_log import Batch, BatchLog, Requests

T = TypeVar("T")


class Undecided(Exception):
    """A batch at the provider may be the one that is looked for: its results will tell."""


class BatchClient:
    """Submits batches and finds them again. Raises RecipeError for a serving that has no batch API.

    `fault` is why the last submission in doubt was not seen to arrive.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.batches: BatchServing = _batches(serving)
        self._loop = Loop()
        self._patience = RetryPolicy(time.monotonic)
        self.fault: TransportError | None = None

    def newest(self) -> str | None:
        """Return the id of the provider's newest batch, or None where there is none or batches are not listed."""
        try:
            return self._persist(self._newest)
        except (BatchesUnsupported, RefusedRequest):
            return None

    def submit(self, name: str, model: str, entries: Path) -> BatchStatus | None:
        """Submit a batch; None where the connection broke, so that it may be there or not."""
        for tries in itertools.count(1):
            try:
                state = self.run(self.batches.submit(name, model, entries))
            except TransportError as error:
                if not (error.rate_limited or isinstance(error, NotSubmitted)):
                    self.fault = error
                    return None
                self._wait(tries, error)
            else:
                self._patience.answered()
                return state
        raise AssertionError("unreachable: tries are counted without end")

    def state(self, id: str) -> BatchStatus:
        """Return how a batch is getting on; raises TransportError at the first fault."""
        return self.run(self.batches.state(id))

    def find(self, batch: Batch, requests: Requests, known: Collection[str]) -> BatchStatus | None:
        """Return the batch if it has arrived at the provider; None if it has not.

        `known` are the ids of all others. A provider that keeps names is asked by the name. Any other has it among the
        batches that came after `batch.before`, where the results tell by their first line; raises Undecided as long as
        they are not there.
        """
        return self.run(self._find(batch, requests, known))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine of the batch API returns."""
        return self._loop.run(work)

    def close(self) -> None:
        """Close all connections."""
        close = getattr(self._serving, "close", None)
        try:
            if close is not None:
                self.run(close())
        finally:
            self._loop.close()

    def _persist(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        for tries in itertools.count(1):
            try:
                result = self.run(begin())
            except TransportError as error:
                self._wait(tries, error)
            else:
                self._patience.answered()
                return result
        raise AssertionError("unreachable: tries are counted without end")

    def _wait(self, tries: int, error: TransportError) -> None:
        self._patience.test(tries, error)
        time.sleep(backoff(tries, error))

    async def _newest(self) -> str | None:
        async with contextlib.aclosing(self.batches.recent()) as recent:
            async for state in recent:
                return state.id
        return None

    async def _find(self, batch: Batch, requests: Requests, known: Collection[str]) -> BatchStatus | None:
        undecided = False
        async with contextlib.aclosing(self.batches.recent()) as recent:
            async for state in recent:
                if state.id == batch.before:
                    break
                if state.name == batch.name:
                    return state
                if state.name is None and state.id not in known and state.requests in (0, batch.requests):
                    if state.ended and await self._is_of(state, requests):
                        return state
                    undecided = undecided or not state.ended
        if undecided:
            raise Undecided
        return None

    async def _is_of(self, state: BatchStatus, requests: Requests) -> bool:
        try:
            async with contextlib.aclosing(self.batches.results(state, requests.find)) as results:
                async for digest, _ in results:
                    return digest in requests
        except TransportError:
            raise
        except ServingError:
            return False  # its results are not for this key, or gone
        return False


def _batches(serving: Serving) -> BatchServing:
    batches: BatchServing | None = getattr(serving, "batches", None)
    if batches is None:
        raise RecipeError(
            f"The serving {type(serving).__name__} has no batch API. Those of 'anthropic' and 'openai' have one; for "
            "any other leave driver= at 'online'."
        )
    return batches


SUBMITTING: set[str] = set()
"""The names of batches that this process is submitting."""


@dataclass(frozen=True)
class BatchProgress:
    """How a wave is getting on: its requests, and those that are through; when the first of its batches expires.

    `expires` is in seconds since 1970, None where no provider said so; `fault` is why the last look did not succeed.
    """

    batches: int
    requests: int
    done: int
    expires: float | None
    fault: str


@dataclass
class BatchContext:
    """What a fill works with.

    `name` is the serving's name in the log. `submits` says whether batches may be submitted, or only those that are
    there already are waited for; `waits`, whether to wait. `watch` is told how the waiting goes. `reserved` has the
    calls and dollars that the budget keeps for the run's own batches, by number; `refusals` counts how often a request
    was refused.
    """

    store: ResponseStore
    log: BatchLog
    name: str
    open_serving: Callable[[], Serving]
    limits: Limits
    tally: RunStats
    spent: Usage
    watch: Callable[[BatchProgress], None] = lambda progress: None
    submits: bool = True
    waits: bool = True
    reserved: dict[int, tuple[int, float]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    _desk: BatchClient | None = None

    @property
    def desk(self) -> BatchClient:
        """The provider; opened when it is first needed, after the store is known to be writable."""
        if self._desk is None:
            self._desk = BatchClient(self.open_serving())
            self.store.prepare()
            self.log.prepare()
        return self._desk

    @property
    def budget(self) -> Budget:
        """The budget, at the prices of batches."""
        return Budget(self.limits, self.spent, prices=batch_price, by_batch=True)

    def release(self, batch: Batch) -> None:
        """Put back what the budget keeps for a batch."""
        self.budget.release(*self.reserved.pop(batch.number, (0, 0.0)))

    def close(self) -> None:
        """Close the provider and the store; batches that go on count as spent at what is reserved for them."""
        for calls, reserved in self.reserved.values():
            self.spent.settle(reserved, calls, reserved, calls)
        self.reserved.clear()
        try:
            if self._desk is not None:
                self._desk.close()
        finally:
            self.store.close()


class RequestSpool:
    """The requests of batches, in files in a folder of this machine."""

    def __init__(self, log: BatchLog, folder: Path) -> None:
        self._log, self.folder = log, folder
        self._requests: dict[str, Requests] = {}

    def of(self, batch: Batch) -> Requests:
        """Return a batch's requests; raises Gone when it has been closed."""
        if batch.name not in self._requests:
            self._requests[batch.name] = self._log.requests(batch, self.folder)
        return self._requests[batch.name]

    def take(self, batch: Batch, path: Path) -> Requests:
        """Take over the file of a new batch's requests."""
        self._requests[batch.name] = Requests(path.rename(self.folder / f"{batch.name}.jsonl"))
        return self._requests[batch.name]

    def drop(self, batch: Batch) -> None:
        """Let a batch's requests go."""
        requests = self._requests.pop(batch.name, None)
        if requests is not None:
            requests.close()
            requests.path.unlink()

    def close(self) -> None:
        """Let go of all files."""
        for requests in self._requests.values():
            requests.close()


def batch_price(model: str) -> Price | None:
    """Return what a model's tokens cost in a batch, or None where the table of prices does not know it."""
    price = price_of(model)
    return price and Price(price.input * DISCOUNT, price.output * DISCOUNT)
