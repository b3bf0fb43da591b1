"""The places for calls in flight, given to whoever waits with the lowest number."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator


class Slots:
    """A semaphore with an order: earlier dialogues go first, so that rows come out early and the window moves on."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrival = itertools.count()
        self._closed: BaseException | None = None
        self._closing = asyncio.Event()

    @contextlib.asynccontextmanager
    async def one(self, order: int) -> AsyncIterator[None]:
        """Hold a place while a call is in flight; raises what `close` was given. An error in it closes the slots."""
        await self._acquire(order)
        try:
            yield
        except Exception as error:
            self.close(error)  # before the place is handed on
            raise
        finally:
            self._free += 1
            self._hand_out()

    def close(self, error: BaseException) -> None:
        """Give out no more places: whoever waits, now or later, gets the error."""
        self._closed = self._closed or error
        self._closing.set()
        self._hand_out()

    async def pause(self, seconds: float) -> None:
        """Wait without holding a place; `close` ends the wait, raising its error."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)
        if self._closed:
            raise self._closed

    async def _acquire(self, order: int) -> None:
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (order, next(self._arrival), waiter))
        self._hand_out()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._free += 1  # handed out at the same instant
                self._hand_out()
            raise

    def _hand_out(self) -> None:
        while self._waiting and (self._free or self._closed):
            *_, waiter = heapq.heappop(self._waiting)
            if waiter.done():
                continue
            if self._closed:
                waiter.set_exception(self._closed)
            else:
                self._free -= 1
                waiter.set_result(None)
