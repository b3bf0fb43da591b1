"""A provider's batch API for callers without an event loop. Temporary faults are retried here.

The budget of batches: the maximum cost of each batch stays reserved until its results are collected. The event loop
runs in a separate thread, so that it can be used everywhere, including in a notebook's running loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from consistent_chat.drivers.budget import Budget, Usage
from consistent_chat.drivers.limits import Limits
from consistent_chat.drivers.retry import RetryPolicy, backoff
from consistent_chat.errors import RecipeError, RefusedRequest, ServingError, TransportError
from consistent_chat.prices import Price, price_of
from consistent_chat.request import Request
from consistent_chat.serving import Serving
from consistent_chat.serving.batches import DISCOUNT, BatchesUnsupported, BatchServing, BatchStatus, NotSubmitted
from consistent_chat.serving.roles import role_of
from consistent_chat.store.batch_log import Batch, Requests

T = TypeVar("T")
ABSENT = frozenset({404, 501})
"""Statuses that show that the server does not have the endpoint; 405 means that it has it for other methods."""


class Undecided(Exception):
    """A batch at the provider may be the one searched for; its results will show it."""


Open = Callable[[], Serving]


class BatchClients:
    """The batch APIs of a run: one for its only serving, with the role "", or one for the serving of each role.

    `names` are the names of the servings in the log.
    """

    def __init__(
        self, names: str | Mapping[str, str], openers: Open | Mapping[str, Open], prepare: Callable[[], None]
    ) -> None:
        self._names = {"": names} if isinstance(names, str) else dict(names)
        opening = openers if isinstance(openers, Mapping) else {"": openers}
        self._clients = {role: BatchClient(opening[role], prepare) for role in self._names}
        self._checked = False

    def __getitem__(self, role: str) -> BatchClient:
        return self._clients[role]

    def name(self, role: str) -> str:
        """Return the name of a role's serving."""
        return self._names[role]

    def role_of(self, request: Request) -> str:
        """Return the role whose serving answers a request."""
        return "" if "" in self._clients else role_of(request.stage)

    def of(self, batch: Batch) -> BatchClient:
        """Return the batch API to which a batch was submitted; raise ServingError if no role uses that API now."""
        for role in dict.fromkeys((batch.role, *self._names)):
            if self._names.get(role) == batch.serving and (role == batch.role or not (role and batch.role)):
                return self._clients[role]
        given = {batch.role: batch.serving} if batch.role else batch.serving
        raise ServingError(
            f"{batch} was submitted to {batch.serving!r} and has requests that this build needs. Pass serving={given!r}"
            f" to collect it, or give it up: consistent-chat batches --forget {batch.number}."
        )

    def check(self) -> None:
        """Raise RecipeError or ServingError for a role whose serving has no batches, before other roles cost money."""
        if not self._checked:
            for role, client in self._clients.items():
                if role:
                    client.check(role)
        self._checked = True

    def close(self) -> None:
        """Close all connections."""
        with contextlib.ExitStack() as closing:
            for client in self._clients.values():
                closing.callback(client.close)


class BatchClient:
    """Submits batches and finds them again.

    It is opened at its first use, and then calls `prepare`, which raises StoreError if the store cannot keep results.
    `fault` is the reason why the last unconfirmed submission failed.
    """

    def __init__(self, open_serving: Open, prepare: Callable[[], None] = lambda: None) -> None:
        self._open, self._prepare = open_serving, prepare
        self._serving: Serving | None = None
        self._policy = RetryPolicy(time.monotonic)
        self.fault: TransportError | None = None

    @cached_property
    def batches(self) -> BatchServing:
        """The batch API of the serving. Raises RecipeError for a serving that has none."""
        serving = self._open()
        batches = _batches(serving)
        self._serving = serving
        self._prepare()
        return batches

    @cached_property
    def _loop(self) -> Loop:
        return Loop()

    def check(self, role: str) -> None:
        """Raise RecipeError or ServingError if the serving of a role certainly has no batch API."""
        try:
            self._persist(self._newest)
        except BatchesUnsupported as error:
            if error.status in ABSENT:
                raise BatchesUnsupported(f"The serving of the role {role!r} cannot be used: {error}") from None
        except RefusedRequest:
            pass  # batches are not listed
        except RecipeError as error:
            raise RecipeError(f"The role {role!r}: {error}") from None

    def newest(self) -> str | None:
        """Return the id of the provider's newest batch, or None if there is none or batches are not listed."""
        try:
            return self._persist(self._newest)
        except (BatchesUnsupported, RefusedRequest):
            return None

    def submit(self, name: str, model: str, entries: Path) -> BatchStatus | None:
        """Submit a batch. Return None if the connection broke, so that it is unknown whether the batch exists."""
        try:
            return self._persist(lambda: self.batches.submit(name, model, entries), _was_not_submitted)
        except TransportError as error:
            self.fault = error
            return None

    def state(self, id: str) -> BatchStatus:
        """Return the state of a batch; raises TransportError at the first fault."""
        return self.run(self.batches.state(id))

    def find(self, batch: Batch, requests: Requests, known: Collection[str]) -> BatchStatus | None:
        """Return the batch if the provider has it, else None. `known` are the ids of all other batches.

        If the provider keeps names, search for the name. Otherwise compare the first line of the results of batches
        after `batch.before`, and raise Undecided while there are no results yet.
        """
        return self.run(self._find(batch, requests, known))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine of the batch API."""
        return self._loop.run(work)

    def close(self) -> None:
        """Close all connections, if there are any."""
        close = getattr(self._serving, "close", None)
        try:
            if close is not None:
                self.run(close())
        finally:
            if "_loop" in vars(self):
                self._loop.close()

    def _persist(
        self, begin: Callable[[], Coroutine[Any, Any, T]], passes: Callable[[TransportError], bool] = lambda error: True
    ) -> T:
        """Return the result of a call, which is retried after faults if a retry is safe."""
        for tries in itertools.count(1):
            try:
                result = self.run(begin())
            except TransportError as error:
                if not passes(error):
                    raise
                self._wait(tries, error)
            else:
                self._policy.answered()
                return result
        raise AssertionError("unreachable: the loop has no end")

    def _wait(self, tries: int, error: TransportError) -> None:
        self._policy.test(tries, error)
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
            return False  # its results belong to another key, or were deleted
        return False


def _was_not_submitted(error: TransportError) -> bool:
    return error.rate_limited or isinstance(error, NotSubmitted)


def _batches(serving: Serving) -> BatchServing:
    batches: BatchServing | None = getattr(serving, "batches", None)
    if batches is None:
        raise RecipeError(
            f"The serving {type(serving).__name__} has no batch API; 'anthropic' and 'openai' have one. Use "
            f"driver='online' with other servings."
        )
    return batches


class Loop:
    """Runs one coroutine at a time. `close` ends the loop, and cancels tasks that a KeyboardInterrupt left running."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="consistent_chat", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """End the loop."""
        self.run(self._cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._loop.shutdown_asyncgens()


class BatchBudget(Budget):
    """A budget at batch prices, with the calls and dollars reserved for the run's own batches."""

    def __init__(self, limits: Limits, spent: Usage) -> None:
        super().__init__(limits, spent, prices=batch_price, by_batch=True)
        self._usage = spent
        self._held: dict[int, tuple[int, float]] = {}

    def hold(self, batch: Batch, calls: int, reserved: float) -> None:
        """Keep the reservation of calls while their batch is open."""
        self._held[batch.number] = calls, reserved

    def holds(self, batch: Batch) -> bool:
        """Return whether a batch has a reservation."""
        return batch.number in self._held

    def release_batch(self, batch: Batch) -> None:
        """Release the reservation of a batch."""
        self.release(*self._held.pop(batch.number, (0, 0.0)))

    def close(self) -> None:
        """Count the reservations of batches that are still open as spent."""
        for calls, reserved in self._held.values():
            self._usage.settle(reserved, calls, reserved, calls)
        self._held.clear()


def batch_price(model: str) -> Price | None:
    """Return a model's price in a batch, or None if the table of prices does not have it."""
    price = price_of(model)
    return price and price.times(DISCOUNT)
