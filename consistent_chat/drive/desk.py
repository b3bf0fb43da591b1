"""A provider's batch API for callers that have no event loop; what passes at once is tried again here."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from consistent_chat.drive.loop import Loop
from consistent_chat.drive.retry import Patience, pause
from consistent_chat.errors import RecipeError, RefusedRequest, ServingError, TransportError
from consistent_chat.serving import Serving
from consistent_chat.serving.batches import BatchServing, NotOffered, NotSubmitted, State
from consistent_chat.store.batch_log import Batch, Requests

T = TypeVar("T")


class Undecided(Exception):
    """A batch at the provider may be the one that is looked for: its results will tell."""


class Desk:
    """Submits batches and finds them again. Raises RecipeError for a serving that has no batch API.

    `fault` is why the last submission in doubt was not seen to arrive.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.batches: BatchServing = _batches(serving)
        self._loop = Loop()
        self._patience = Patience(time.monotonic)
        self.fault: TransportError | None = None

    def newest(self) -> str | None:
        """Return the id of the provider's newest batch, or None where there is none or batches are not listed."""
        try:
            return self._persist(self._newest)
        except (NotOffered, RefusedRequest):
            return None

    def submit(self, name: str, model: str, entries: Path) -> State | None:
        """Submit a batch; None where the connection broke, so that it may be there or not."""
        for tries in itertools.count(1):
            try:
                state = self.run(self.batches.submit(name, model, entries))
            except TransportError as error:
                if not (error.crowded or isinstance(error, NotSubmitted)):
                    self.fault = error
                    return None
                self._wait(tries, error)
            else:
                self._patience.answered()
                return state
        raise AssertionError("unreachable: tries are counted without end")

    def state(self, id: str) -> State:
        """Return how a batch is getting on; raises TransportError at the first fault."""
        return self.run(self.batches.state(id))

    def find(self, batch: Batch, requests: Requests, known: Collection[str]) -> State | None:
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
        time.sleep(pause(tries, error))

    async def _newest(self) -> str | None:
        async with contextlib.aclosing(self.batches.recent()) as recent:
            async for state in recent:
                return state.id
        return None

    async def _find(self, batch: Batch, requests: Requests, known: Collection[str]) -> State | None:
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

    async def _is_of(self, state: State, requests: Requests) -> bool:
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
