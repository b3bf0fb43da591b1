"""Limits the calls in flight, which start in the order of a CallQueue; fewer run while the server is overloaded."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable

from consistent_chat.drivers.call_queue import CallQueue, Order
from consistent_chat.drivers.limits import RateLimiter

RECHECK = 0.25
"""Seconds until the budget is checked again after it did not admit a call: other processes may have released a part."""

RESTORED = 2
"""Slots that are restored while each slot is used once. With one, a server that refuses every twentieth call for other
reasons than load would keep a third of 30 slots idle."""

Admit = Callable[[], bool]
"""Reserves a call within the budget; returns False if the call must wait for others. An error closes the semaphore."""
Waiting = tuple[float, Admit, asyncio.Future[int]]
"""The tokens of a call that waits for a slot, the function that admits it, and the future that gets the epoch."""


class Turns:
    """Lets tasks take turns at work that blocks the event loop, such as the checks of a response.

    There is one turn in each iteration of the loop, so that calls can be sent and responses received between two turns.
    `is_busy` is true while tasks wait for a turn, or after a turn in this iteration; `is_full` while `most` tasks wait.
    `in_doubt` is true while responses are unusable: then each is checked immediately, before another call is made.
    """

    def __init__(self, most: int) -> None:
        self.is_busy = self.in_doubt = False
        self._most = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_full(self) -> bool:
        """Whether too many tasks wait for a turn; no more calls should be made until some have had theirs."""
        return len(self._waiting) >= self._most

    async def take(self) -> None:
        """Wait for a turn, which lasts until the task awaits something else. While in doubt, do not wait."""
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
            if not waiter.done():  # a cancelled task's future is done
                waiter.set_result(None)
                asyncio.get_running_loop().call_soon(self._pass_on)
                return
        self.is_busy = False


class SharedSlots:
    """The slots that the semaphores of several servers share, so that the run's own limit is kept, too.

    An error closes all semaphores.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.used = 0
        self.error: BaseException | None = None
        self.closing = asyncio.Event()
        self.semaphores: list[AdaptiveSemaphore] = []

    @property
    def is_full(self) -> bool:
        """Whether all slots are in use."""
        return self.used >= self._size

    def close(self, error: BaseException) -> None:
        """Close all semaphores: no more slots are given out."""
        self.error = self.error or error
        self.closing.set()

    def hand_out(self) -> None:
        """Give free slots to waiting tasks of all semaphores; earlier dialogues go first."""
        for semaphore in sorted(self.semaphores, key=lambda each: each.first):
            semaphore.hand_out()


class Slot:
    """A place of an AdaptiveSemaphore, held in a `with` block whose value is the epoch, to pass to `shrink`.

    Raises the error passed to `close`. Errors in the block close the semaphore.
    """

    __slots__ = ("_admit", "_order", "_semaphore", "_tokens")

    def __init__(self, semaphore: AdaptiveSemaphore, order: Order, tokens: float, admit: Admit) -> None:
        self._semaphore, self._order, self._tokens, self._admit = semaphore, order, tokens, admit

    async def __aenter__(self) -> int:
        return await self._semaphore.acquire(self._order, self._tokens, self._admit)

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            self._semaphore.close(error)  # before the slot is passed on
        self._semaphore.release()


class AdaptiveSemaphore:
    """A semaphore that starts the calls of a CallQueue; when at most `few` dialogues wait to be started, they go first.

    Its size adapts to the server: each rate-limited call removes one slot; with n slots, RESTORED are restored after n
    answers. When only one slot is left, one is restored after each answer until the next rate-limited call.
    `rate_limiter` tells when a call may start, `is_busy` whether the check of a response is waiting. The semaphores of
    several servers have the same `shared` slots, but each has its own size.
    """

    def __init__(
        self,
        size: int,
        rate_limiter: RateLimiter,
        is_busy: Callable[[], bool] = lambda: False,
        shared: SharedSlots | None = None,
        few: int = -1,
    ) -> None:
        self._rate_limiter, self._is_busy = rate_limiter, is_busy
        self._timer: asyncio.TimerHandle | None = None
        self._recovering = False
        self._most = self._size = float(size)
        self.used = 0
        self._shut = 0
        self._epoch = 0
        self._crowded = 0
        self._waiting: CallQueue[Waiting] = CallQueue(few)
        self._shared = shared or SharedSlots(size)
        self._shared.semaphores.append(self)

    def one(self, order: Order, tokens: float, admit: Admit = lambda: True) -> Slot:
        """Return a place to hold while a call is in flight.

        `tokens` is the estimate for the call; `admit` is called when it may start.
        """
        return Slot(self, order, tokens, admit)

    @property
    def first(self) -> float:
        """The position in the plan of the dialogue whose call is next; infinite if none waits."""
        return self._waiting.next()[0] if self._waiting else math.inf

    @property
    def is_alone(self) -> bool:
        """Whether at most one slot is in use, so that there is no other call to wait for."""
        return self.used <= 1

    def grow(self) -> None:
        """Record an answer."""
        self._crowded = 0
        restored = 1.0 if self._recovering else min(1.0, RESTORED / self._size)
        self._size = min(self._most, self._size + restored)

    def shrink(self, epoch: int) -> int:
        """Remove a slot, because the server is overloaded; return how often this happened since the last answer.

        Calls that were in flight at the same time count once: all but the first return 0.
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
        """Close the semaphore: all waiting tasks, and all later ones, get the error."""
        self._shared.close(error)
        self._shared.hand_out()

    async def backoff(self, seconds: float) -> None:
        """Wait without holding a slot; `close` ends the wait and raises its error."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._shared.closing.wait(), seconds)
        if self._shared.error:
            raise self._shared.error

    async def acquire(self, order: Order, tokens: float, admit: Admit) -> int:
        """Wait for a place and return the epoch; raises the error passed to `close`."""
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.push(order, (tokens, admit, waiter))
        self.hand_out()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._use(-1)  # granted at the same time
                self._shared.hand_out()
            raise

    def release(self) -> None:
        """Give a place back."""
        self._use(-1)
        if self._is_busy():  # the dialogue cannot continue now, so its slot goes to another
            self._shared.hand_out()
        else:  # later, so that a dialogue that continues immediately gets the slot and is finished earlier
            asyncio.get_running_loop().call_soon(self._shared.hand_out)

    def _use(self, slots: int) -> None:
        self.used += slots
        self._shared.used += slots

    def _reopen(self) -> None:
        self._shut -= 1
        self.hand_out()

    def hand_out(self) -> None:
        """Give free slots to the tasks that wait here."""
        while self._waiting and (self._shared.error or self._has_room()):
            _, (tokens, admit, waiter) = self._waiting.next()
            if not (waiter.done() or self._shared.error or self._is_admitted(admit)):
                return
            self._waiting.pop()
            if waiter.done():
                continue
            if self._shared.error:
                waiter.set_exception(self._shared.error)
            else:
                self._use(1)
                self._rate_limiter.take(tokens)
                waiter.set_result(self._epoch)

    def _is_admitted(self, admit: Admit) -> bool:
        """Return whether the budget admits a call; if not, schedule another check. An error closes the semaphore."""
        try:
            admitted = admit()
        except Exception as error:
            self._shared.close(error)
            asyncio.get_running_loop().call_soon(self._shared.hand_out)
            return True
        if not admitted:
            self._check_later(RECHECK)
        return admitted

    def _has_room(self) -> bool:
        """Return whether a call may start now; if it is too early, schedule another check."""
        if self._shut or self._shared.is_full or self.used >= int(self._size):
            return False
        wait = self._rate_limiter.wait()
        self._check_later(wait)
        return wait <= 0

    def _check_later(self, wait: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(wait, self.hand_out) if wait > 0 else None
