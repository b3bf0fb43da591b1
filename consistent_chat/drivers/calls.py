"""Makes calls to a serving: each is retried until the serving answers it or refuses this request alone.

All calls of a run share concurrency, rate limit and budget. Calls to the same server also share the retry policy and
the known refusals: if roles have separate servers, one that is overloaded or unreachable does not slow down the others.
This is used by the online driver, and by DataFlow's serving for prompts outside dialogues.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from consistent_chat.drivers.budget import Budget
from consistent_chat.drivers.call_queue import Order
from consistent_chat.drivers.concurrency import RECHECK, AdaptiveSemaphore, SharedSlots, Turns
from consistent_chat.drivers.limits import Limits, RateLimiter
from consistent_chat.drivers.retry import MAX_TRIES, Passing, Refusals, RetryPolicy, backoff
from consistent_chat.drivers.stats import RunStats
from consistent_chat.errors import ConsistentChatError, RefusedAccess, RefusedRequest, ServingError, TransportError
from consistent_chat.request import Request, Response
from consistent_chat.serving import Serving
from consistent_chat.serving.roles import role_of

Keep = Callable[[Request, Response], Response]
"""Stores a response, and returns it as the store will return it later."""


@dataclass(frozen=True)
class Caller:
    """What calls need: the serving, the function that stores answers, the limits and the counts.

    `wait_for_server` is the time, in seconds, to wait for a server that has not answered yet.
    """

    serving: Serving
    keep: Keep
    budget: Budget
    stats: RunStats
    wait_for_server: float = 0.0


class Reservation:
    """The dollars of the budget that are reserved for one call."""

    def __init__(self, budget: Budget, request: Request) -> None:
        self._budget, self._request = budget, request
        self.dollars = 0.0

    def admit(self) -> bool:
        """Reserve the call; return False if it must wait for calls in flight. Raises BudgetSpent."""
        dollars = self._budget.reserve(self._request)
        self.dollars = dollars or 0.0
        return dollars is not None


class Calls:
    """Makes calls within the budget. It belongs to one event loop; `clock` returns the loop's time in seconds.

    Processing a response takes one of its `turns`.
    """

    def __init__(self, caller: Caller, clock: Callable[[], float]) -> None:
        limits, rate_limiter = caller.budget.limits, caller.budget.rate_limiter()
        self.turns, self._shared = Turns(limits.max_concurrency), SharedSlots(limits.max_concurrency)
        self._servers: dict[str, ServerCalls] = {}
        for role, own in (limits.roles or {"": limits}).items():
            slots = AdaptiveSemaphore(
                own.max_concurrency, rate_limiter.of(role), self._is_busy, self._shared, started_early(limits)
            )
            policy = RetryPolicy(clock, caller.wait_for_server)
            self._servers[role] = ServerCalls(caller, slots, rate_limiter.of(role), policy, self.turns)

    def close(self, error: BaseException) -> None:
        """Start no more calls, and raise the error in all tasks that wait for one."""
        self._shared.close(error)
        self._shared.hand_out()

    async def ask(self, order: Order, request: Request) -> Response:
        """Store and return the answer to a request, or its refusal.

        Raises ServingError and BudgetSpent, which stop the run.
        """
        server = self._servers.get("") or self._servers[role_of(request.stage)]
        return await server.ask(order, request)

    def _is_busy(self) -> bool:
        return self.turns.is_busy and not self.turns.in_doubt


def started_early(limits: Limits) -> int:
    """Return how many of the last dialogues are started before others are finished, so that no slots are idle.

    Within a budget, calls must finish dialogues: then -1, for none.
    """
    return limits.max_concurrency - 1 if limits.max_calls is None and limits.max_cost is None else -1


class ServerCalls:
    """The calls to one server."""

    def __init__(
        self, caller: Caller, slots: AdaptiveSemaphore, rate_limiter: RateLimiter, policy: RetryPolicy, turns: Turns
    ) -> None:
        self._caller, self._slots, self._rate_limiter, self._policy, self._turns = (
            caller,
            slots,
            rate_limiter,
            policy,
            turns,
        )
        self._refusals = Refusals(self._ask_unrecorded)

    async def ask(self, order: Order, request: Request) -> Response:
        """Do what `Calls.ask` does. A pause between tries occupies no slot."""
        first = 0
        fault: Passing
        for tries in itertools.count(1):
            tokens, sent = self._rate_limiter.estimate(request), self._refusals.sent()
            reservation = Reservation(self._caller.budget, request)
            async with self._slots.one(order, tokens, reservation.admit) as epoch:
                try:
                    response = await self._call(request, tokens, reservation.dollars)
                except (RefusedAccess, RefusedRequest) as error:
                    first, fault = first or sent, error
                    refused = await self._refused(request, tries, first, error)
                except TransportError as error:
                    fault, refused = error, await self._failed(request, tries, sent, error, epoch)
                else:
                    await self._answered(request, sent)
                    return response
                if refused is not None:
                    return self._caller.keep(request, refused)
            self._caller.stats.retried(fault)
            if not fault.rate_limited:
                await self._slots.backoff(self._policy.pause(tries, fault))
        raise AssertionError("unreachable: the loop has no end")

    async def _answered(self, request: Request, sent: int) -> None:
        """Note that a request was answered; wait for a turn if all are taken."""
        self._refusals.answered(request, sent)
        self._policy.answered()
        self._slots.grow()
        if self._turns.is_full:  # otherwise a fast server would be paid for many responses before the first is checked
            await self._turns.take()

    async def _refused(
        self, request: Request, tries: int, first: int, error: RefusedAccess | RefusedRequest
    ) -> Response | None:
        """Return the refusal if it concerns only this request, or None to retry, or raise what stops the run."""
        refused = await self._refusals.settle(request, tries, first, error)
        if refused is None:
            self._policy.test(tries, error)
        return refused

    async def _failed(
        self, request: Request, tries: int, sent: int, error: TransportError, epoch: int
    ) -> Response | None:
        """Return a refusal if only this request fails, and too often; else None, after a pause if needed."""
        refused = await self._given_up(request, tries, sent, error)
        if refused is None and error.rate_limited:
            times = self._slots.shrink(epoch)
            if times and (error.retry_after or self._slots.is_alone):  # otherwise wait for calls in flight
                # the only call in flight tests the server, and may be retried more often
                self._slots.shut(backoff((times + 1) / 2, error))
        return refused

    async def _given_up(self, request: Request, tries: int, sent: int, error: TransportError) -> Response | None:
        """Return a refusal if only this request fails and has failed too often, or None to retry; else stop the run."""
        try:
            self._policy.test(tries, error)
        except ServingError:
            if error.rate_limited and not error.unexplained:
                raise
            refused = await self._refusals.give_up(request, self._sent_since(sent, error), error)
            if refused is None:
                raise
            return refused
        if error.unexplained and tries % MAX_TRIES == 0:
            return await self._refusals.give_up(request, self._sent_since(sent, error), error)
        return None

    def _sent_since(self, sent: int, error: TransportError) -> int:
        """Return the number of the first request whose answer would show that only this request fails.

        That is the request of the last try. While a server refuses calls (429), it is the next request.
        """
        return self._refusals.sent() if error.rate_limited else sent

    async def _ask_unrecorded(self, request: Request) -> Response:
        """Send a request outside all dialogues.

        It is paid for and counted like others, but its response is not stored.
        """
        reservation = Reservation(self._caller.budget, request)
        while not reservation.admit():
            await self._slots.backoff(RECHECK)
        response = await self._call(request, self._rate_limiter.estimate(request), reservation.dollars, keep=False)
        self._policy.answered()
        return response

    async def _call(self, request: Request, tokens: float, reserved: float, keep: bool = True) -> Response:
        caller = self._caller
        response = faulty = None
        try:
            with caller.stats.sending():
                response = _checked(await caller.serving.answer(request), caller.serving)
            response = caller.keep(request, response) if keep else response
        except ServingError as error:
            faulty = error.billed if isinstance(error.billed, Response) else None
            caller.stats.timeouts += isinstance(error, TransportError) and error.late
            raise
        except (ConsistentChatError, asyncio.CancelledError):
            raise
        except Exception as error:
            name = type(caller.serving).__name__
            raise ServingError(f"The serving {name} failed with {type(error).__name__}: {error}") from error
        finally:
            taken = caller.budget.settle(request, reserved, response, faulty)
            price = partial(caller.budget.price, request.model)
            self._rate_limiter.settle(tokens, response)
            if faulty is not None:
                caller.stats.paid(faulty, taken, price)
        caller.stats.called(response, taken, price)
        return response


def _checked(response: object, serving: Serving) -> Response:
    if not isinstance(response, Response):
        name = type(serving).__name__
        raise ServingError(f"The serving {name} returned {type(response).__name__}. It must return a Response.")
    return response
