"""The online driver: dialogues that need calls run side by side, in an event loop of their own thread.

The thread makes it usable wherever rows are wanted, a notebook's running loop included. Nothing here knows a
provider, a prompt or a row.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from consistent_chat.dialogue.at_once import Dialogue, FailedDraw, Steps
from consistent_chat.drivers.budget import Budget
from consistent_chat.drivers.concurrency import RECHECK, AdaptiveSemaphore
from consistent_chat.drivers.refusals import Refusals
from consistent_chat.drivers.replay import replay_until_missing
from consistent_chat.drivers.retry import CircuitBreaker, Passing, RetryPolicy, backoff
from consistent_chat.drivers.stats import RunStats
from consistent_chat.errors import ConsistentChatError, RefusedAccess, RefusedRequest, ServingError, TransportError
from consistent_chat.request import Request, Response
from consistent_chat.serving import Serving
from consistent_chat.store import ResponseStore


class Stopped(ConsistentChatError):
    """The run was stopped before this dialogue was finished."""


@dataclass(frozen=True)
class Caller:
    """What calls need: who answers, what keeps the answers, what bounds and counts them."""

    serving: Serving
    store: ResponseStore
    budget: Budget
    tally: RunStats
    max_draws: int
    wait_for_server: float = 0.0


class Reservation:
    """The dollars of the budget that one call holds from when it may go."""

    def __init__(self, budget: Budget, request: Request) -> None:
        self._budget, self._request = budget, request
        self.dollars = 0.0

    def admit(self) -> bool:
        """Reserve the call; False if it has to wait for calls in flight. Raises BudgetSpent."""
        dollars = self._budget.reserve(self._request)
        self.dollars = dollars or 0.0
        return dollars is not None


class Online:
    """Runs dialogues with `max_concurrency` calls in flight. The first error that cannot pass stops all of them."""

    def __init__(self, caller: Caller, max_concurrency: int) -> None:
        self._caller = caller
        self._loop = asyncio.new_event_loop()
        self._pace = caller.budget.pace()
        self._slots = AdaptiveSemaphore(max_concurrency, self._pace)
        self._patience = RetryPolicy(self._loop.time, caller.wait_for_server)
        self._refusals = Refusals(self._ask_unrecorded)
        self._breaker = CircuitBreaker()
        self._tasks: set[Any] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="consistent_chat", daemon=True)
        self._thread.start()

    def submit(self, order: int, steps: Steps, request: Request, failed: list[FailedDraw]) -> Future[Dialogue]:
        """Go on with a dialogue that needs this request answered; lower orders go first.

        `failed` is where the dialogue notes its unusable answers.
        """
        return self._run(self._finish(order, steps, request, failed))

    def stop(self) -> None:
        """Start no more calls, wait for those in flight so that their answers are kept, and let go of everything.

        A KeyboardInterrupt while waiting abandons what is still in flight, and is raised again.
        """
        try:
            self._run(self._drain()).result()
        finally:
            self._run(self._abandon()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _finish(self, order: int, steps: Steps, request: Request, failed: list[FailedDraw]) -> Dialogue:
        caller, task = self._caller, asyncio.current_task()
        self._tasks.add(task)
        try:
            while True:
                response = await self._ask(order, request)
                step = replay_until_missing(steps, response, caller.store.find, caller.max_draws)
                self._breaker.test(request, response, failed, step)
                if isinstance(step, Dialogue):
                    return step
                request = step
        except Exception as error:
            self._slots.close(error)
            raise
        finally:
            self._tasks.discard(task)

    async def _ask(self, order: int, request: Request) -> Response:
        """Call until answered, and keep the answer. A pause between tries holds no slot."""
        caller, first = self._caller, 0
        fault: Passing
        for tries in itertools.count(1):
            tokens, sent = self._pace.estimate(request), self._refusals.sent()
            reservation = Reservation(caller.budget, request)
            async with self._slots.one(order, tokens, reservation.admit) as epoch:
                try:
                    response = await self._call(request, tokens, reservation.dollars)
                except (RefusedAccess, RefusedRequest) as error:
                    first, fault = first or sent, error
                    refused = await self._refusals.settle(request, tries, first, error)
                    if refused is not None:
                        return caller.store.keep(request, refused)
                    self._patience.test(tries, error)
                except TransportError as error:
                    fault = error
                    refused = await self._given_up(request, tries, sent, error)
                    if refused is not None:
                        return caller.store.keep(request, refused)
                    times = self._slots.shrink(epoch) if error.rate_limited else 0
                    if times and (error.retry_after or self._slots.alone):  # else calls in flight are waited for
                        # one call alone finds out whether it is over: it may do so more often than each of many
                        self._slots.shut(backoff((times + 1) / 2, error))
                else:
                    self._refusals.answered(request, sent)
                    self._patience.answered()
                    self._slots.grow()
                    return response
            caller.tally.retried(fault)
            if not fault.rate_limited:
                await self._slots.backoff(self._patience.pause(tries, fault))
        raise AssertionError("unreachable: tries are counted without end")

    async def _given_up(self, request: Request, tries: int, sent: int, error: TransportError) -> Response | None:
        """Return the refusal of a request that alone has failed too often, None to try again; else stop the run."""
        try:
            self._patience.test(tries, error)
        except ServingError:
            refused = None if error.rate_limited else await self._refusals.give_up(request, sent, error)
            if refused is None:
                raise
            return refused
        return None

    async def _ask_unrecorded(self, request: Request) -> Response:
        """Ask what is no part of any dialogue: it is paid for and counted like others, and not kept."""
        reservation = Reservation(self._caller.budget, request)
        while not reservation.admit():
            await self._slots.backoff(RECHECK)
        response = await self._call(request, self._pace.estimate(request), reservation.dollars, keep=False)
        self._patience.answered()
        return response

    async def _call(self, request: Request, tokens: float, reserved: float, keep: bool = True) -> Response:
        caller = self._caller
        response = None
        try:
            response = _checked(await caller.serving.answer(request), caller.serving)
            response = caller.store.keep(request, response) if keep else response
        except (ConsistentChatError, asyncio.CancelledError):
            raise
        except Exception as error:
            name = type(caller.serving).__name__
            raise ServingError(f"The serving {name} failed with {type(error).__name__}: {error}") from error
        finally:
            caller.budget.settle(request, reserved, response)
            self._pace.settle(tokens, response)
        caller.tally.called(response, caller.budget.price(request.model))
        return response

    async def _drain(self) -> None:
        self._slots.close(Stopped("The run was stopped. All answers are kept; run again to go on."))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _abandon(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        close = getattr(self._caller.serving, "close", None)
        if close is not None:
            await close()


def _checked(response: Any, serving: Serving) -> Response:
    if not isinstance(response, Response):
        name = type(serving).__name__
        raise ServingError(f"The serving {name} returned {type(response).__name__}. It must return a Response.")
    return response
