"""Limits the calls in flight: lower orders go first, and fewer calls run while the server is overloaded."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections import deque
from collections.abc import Callable

from consistent_chat.drivers.limits import RateLimiter

RECHECK = 0.25
"""Seconds until the budget is asked again after it did not admit a call: other processes may have freed some of it."""

Admit = Callable[[], bool]
"""Reserves a call within the budget; returns False if it must wait for others. An error closes the semaphore."""


class Turns:
    """Gives tasks one turn each for work that keeps the event loop busy, such as checks of a response.

    There is one turn in each iteration of the loop, so that calls go out and responses come in between two turns.
    `is_busy` while tasks wait for a turn, or one was given in this iteration; `is_full` while `most` tasks wait.
    `in_doubt` while incoming responses are unusable: then each is checked at once, before another call is made.
    """

    def __init__(self, most: int) -> None:
        self.is_busy = self.in_doubt = False
        self._most = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_full(self) -> bool:
        """Whether too many tasks wait, so that no calls should be made until some have had their turn."""
        return len(self._waiting) >= self._most

    async def take(self) -> None:
        """Wait for a turn, which lasts until the task awaits something else; while in doubt, do not wait."""
        if self.in_doubt:
            return
        loop = asyncio.get_running_loop()
        if self.is_busy:
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiting.append(waiter)
            await waiter
        else:
            self.is_busy = True
            loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():  # done if its task was cancelled
                waiter.set_result(None)
                asyncio.get_running_loop().call_soon(self._pass_on)
                return
        self.is_busy = False


class Places:
    """The places that the semaphores of several servers share, so that a run keeps to its own limit too.

    An error closes all of them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.used = 0
        self.error: BaseException | None = None
        self.closing = asyncio.Event()
        self.semaphores: list[AdaptiveSemaphore] = []

    @property
    def is_full(self) -> bool:
        """Whether all places are in use."""
        return self.used >= self._size

    def close(self, error: BaseException) -> None:
        """Give out no more places."""
        self.error = self.error or error
        self.closing.set()

    def hand_out(self) -> None:
        """Give free places to those who wait, wherever they wait: lower orders go first."""
        for semaphore in sorted(self.semaphores, key=lambda each: each.first):
            semaphore.hand_out()


class Place:
    """A place of an AdaptiveSemaphore, held in a `with` block whose value is the epoch, to pass to `shrink`.

    Raises the error passed to `close`. Errors in the block close the semaphore.
    """

    __slots__ = ("_admit", "_order", "_semaphore", "_tokens")

    def __init__(self, semaphore: AdaptiveSemaphore, order: int, tokens: float, admit: Admit) -> None:
        self._semaphore, self._order, self._tokens, self._admit = semaphore, order, tokens, admit

    async def __aenter__(self) -> int:
        return await self._semaphore.acquire(self._order, self._tokens, self._admit)

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            self._semaphore.close(error)  # before the place is passed on
        self._semaphore.release()


class AdaptiveSemaphore:
    """A semaphore with priorities: earlier dialogues go first, so that their rows come out early.

    Its size adapts to the server: each rate-limited call removes one place, and one is restored after as many answers
    as there are places. Once only one place is left, one is restored after each answer until the next rate-limited
    call. `pace` says when a call may start, `is_busy` whether the check of a response must wait. The semaphores of
    several servers have the same `places`, and each its own size.
    """

    def __init__(
        self,
        size: int,
        pace: RateLimiter,
        is_busy: Callable[[], bool] = lambda: False,
        places: Places | None = None,
    ) -> None:
        self._pace, self._is_busy = pace, is_busy
        self._timer: asyncio.TimerHandle | None = None
        self._recovering = False
        self._most = self._size = float(size)
        self.used = 0
        self._shut = 0
        self._epoch = 0
        self._crowded = 0
        self._waiting: list[tuple[int, int, float, Admit, asyncio.Future[int]]] = []
        self._arrival = itertools.count()
        self._places = places or Places(size)
        self._places.semaphores.append(self)

    def one(self, order: int, tokens: float, admit: Admit = lambda: True) -> Place:
        """Return a place to hold while a call is in flight.

        `tokens` is the estimate for the call; `admit` is called when it may start.
        """
        return Place(self, order, tokens, admit)

    @property
    def first(self) -> tuple[float, int]:
        """The order and the arrival of the first that waits."""
        return self._waiting[0][:2] if self._waiting else (float("inf"), 0)

    @property
    def is_alone(self) -> bool:
        """Whether at most one place is in use, so that no other call can be waited for."""
        return self.used <= 1

    def grow(self) -> None:
        """Record an answer."""
        self._crowded = 0
        self._size = min(self._most, self._size + (1 if self._recovering else 1 / self._size))

    def shrink(self, epoch: int) -> int:
        """Remove a place, because the server is overloaded; return how often this happened since the last answer.

        Calls that were in flight together count once: the others return 0.
        """
        self._size = max(1.0, self._size - 1)
        self._recovering = self.is_alone
        if epoch != self._epoch:
            return 0
        self._epoch += 1
        self._crowded += 1
        return self._crowded

    def shut(self, seconds: float) -> None:
        """Pause all calls for some seconds."""
        self._shut += 1
        asyncio.get_running_loop().call_later(seconds, self._reopen)

    def close(self, error: BaseException) -> None:
        """Give out no more places: all waiters, present and future, get the error."""
        self._places.close(error)
        self._places.hand_out()

    async def backoff(self, seconds: float) -> None:
        """Wait without holding a place; `close` ends the wait and raises its error."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._places.closing.wait(), seconds)
        if self._places.error:
            raise self._places.error

    async def acquire(self, order: int, tokens: float, admit: Admit) -> int:
        """Wait for a place and return the epoch; raises the error passed to `close`."""
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (order, next(self._arrival), tokens, admit, waiter))
        self.hand_out()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._use(-1)  # granted at the same instant
                self._places.hand_out()
            raise

    def release(self) -> None:
        """Give a place back."""
        self._use(-1)
        if self._is_busy():  # a continuing dialogue must wait: its place goes to another meanwhile
            self._places.hand_out()
        else:  # not at once: a dialogue that continues right away goes first, so that it is finished earlier
            asyncio.get_running_loop().call_soon(self._places.hand_out)

    def _use(self, places: int) -> None:
        self.used += places
        self._places.used += places

    def _reopen(self) -> None:
        self._shut -= 1
        self.hand_out()

    def hand_out(self) -> None:
        """Give free places to those who wait here."""
        while self._waiting and (self._places.error or self._has_room()):
            *_, tokens, admit, waiter = self._waiting[0]
            if not (waiter.done() or self._places.error or self._is_admitted(admit)):
                return
            if self._waiting and self._waiting[0][-1] is waiter:
                heapq.heappop(self._waiting)
            if waiter.done():
                continue
            if self._places.error:
                waiter.set_exception(self._places.error)
            else:
                self._use(1)
                self._pace.take(tokens)
                waiter.set_result(self._epoch)

    def _is_admitted(self, admit: Admit) -> bool:
        """Tell whether the budget has room for a call; if not, schedule another check.

        An error closes the semaphore.
        """
        try:
            admitted = admit()
        except Exception as error:
            self._places.close(error)
            asyncio.get_running_loop().call_soon(self._places.hand_out)
            return True
        if not admitted:
            self._check_later(RECHECK)
        return admitted

    def _has_room(self) -> bool:
        """Tell whether a call may start now; if it is too early, schedule another check in time."""
        if self._shut or self._places.is_full or self.used >= int(self._size):
            return False
        wait = self._pace.wait()
        self._check_later(wait)
        return wait <= 0

    def _check_later(self, wait: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(wait, self.hand_out) if wait > 0 else None
