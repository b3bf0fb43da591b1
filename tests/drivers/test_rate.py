"""A run stays within the limits of requests and tokens per minute, and uses them fully."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.drivers import Limits
from consistent_chat.drivers.call_queue import Order
from consistent_chat.drivers.concurrency import AdaptiveSemaphore
from consistent_chat.drivers.limits import GRACE, RateLimiter
from consistent_chat.errors import RecipeError
from consistent_chat.recipe import Recipe
from consistent_chat.request import Response
from tests.faults import Reply, run
from tests.provider import Call, Provider
from tests.servings import OLD, opened, request


class Clock:
    """Return a time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock that changes only when it is set."""
    return Clock()


def taken(
    rate_limiter: RateLimiter, clock: Clock, seconds: float, tokens: float = 0.0, late: float = 0.0
) -> list[float]:
    """Return the times at which requests start if one is always waiting and timers are late by `late` seconds."""
    end, times = clock.now + seconds, []
    while clock.now <= end:
        if (wait := rate_limiter.wait()) > 0:
            clock.now += wait + late
        else:
            times.append(clock.now)
            rate_limiter.take(tokens)
    return times


def most_in(times: list[float], seconds: float) -> int:
    """Return the highest number of these times in any interval of this length, excluding its end."""
    return max(sum(begin <= time < begin + seconds for time in times) for begin in times)


@pytest.mark.parametrize("per_minute", [1, 7, 60, 600, 50_000])
def test_requests_go_evenly_from_the_first_on(clock: Clock, per_minute: int) -> None:
    """No interval from a second to a minute has more than its share plus one request, and the limit is fully used."""
    times = taken(RateLimiter(Limits(max_requests_per_minute=per_minute), clock), clock, min(150, 60_000 / per_minute))
    for seconds in (1.0, 10.0, 60.0):
        assert most_in(times, seconds) <= per_minute * seconds / 60 + 1
    assert len(times) >= (times[-1] - times[0]) * per_minute / 60


def test_an_idle_time_gives_no_burst(clock: Clock) -> None:
    """After an idle hour, there is no burst of requests."""
    rate_limiter = RateLimiter(Limits(max_requests_per_minute=600), clock)
    taken(rate_limiter, clock, 1.0)
    clock.now += 3600
    assert most_in(taken(rate_limiter, clock, 3.0), 1.0) <= 10 + 1 + GRACE * 10


def test_late_timers_do_not_make_the_pace_slower(clock: Clock) -> None:
    """Timers that are 2 ms late do not slow down 100 requests per second."""
    times = taken(RateLimiter(Limits(max_requests_per_minute=6000), clock), clock, 10.0, late=0.002)
    assert 995 <= len(times) <= 1002


def test_a_request_waits_for_the_tokens_before_it(clock: Clock) -> None:
    """At 6,000 tokens per minute, requests of 250 tokens start every 2.5 seconds."""
    rate_limiter = RateLimiter(Limits(max_tokens_per_minute=6000), clock)
    times = taken(rate_limiter, clock, 60.0, tokens=250)
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == pytest.approx([2.5] * 24)


def test_the_tighter_limit_counts(clock: Clock) -> None:
    """The slower of the limits of requests and tokens applies."""
    limits = Limits(max_tokens_per_minute=6000, max_requests_per_minute=60)
    assert len(taken(RateLimiter(limits, clock), clock, 10.0, tokens=10)) == 11
    assert len(taken(RateLimiter(limits, clock), clock, 10.0, tokens=200)) == 6


@pytest.mark.parametrize(
    ("response", "seconds"),
    [(Response("", "stop", 50, 150), 2.0), (Response("", "stop", None, None), 4.0), (None, 0.0)],
)
def test_what_a_request_has_taken_replaces_the_estimate(clock: Clock, response: Any, seconds: float) -> None:
    """Measured tokens replace the estimate; without a count the estimate applies; a failed call takes no tokens."""
    rate_limiter = RateLimiter(Limits(max_tokens_per_minute=6000), clock)
    rate_limiter.take(400)
    rate_limiter.settle(400, response)
    assert rate_limiter.wait() == pytest.approx(seconds)


def test_the_estimate_is_the_prompt_and_what_answers_took(clock: Clock) -> None:
    """The estimate is a quarter of the prompt's characters, plus `max_tokens` / 4 at first, later the mean answer."""
    rate_limiter, asking = RateLimiter(Limits(), clock), request(max_tokens=4000)
    prompt = (len(asking.system) + len(asking.messages[0]["content"])) / 4
    assert rate_limiter.estimate(asking) == prompt + 1000
    for output in (100, 300):
        rate_limiter.settle(0, Response("", "stop", 10, output))
    assert rate_limiter.estimate(asking) == prompt + 200


def test_without_limits_nothing_waits(clock: Clock) -> None:
    """Without limits, nothing waits after any number of tokens."""
    rate_limiter = RateLimiter(Limits(), clock)
    rate_limiter.take(1e9)
    assert rate_limiter.wait() <= 0


def test_a_call_that_waits_for_the_pace_holds_no_place(clock: Clock) -> None:
    """Calls that wait for the rate limit hold no slot, and the lowest number goes first although it came last."""

    async def ask() -> list[int]:
        asyncio.get_running_loop().time = clock  # type: ignore[method-assign]
        slots, gone = AdaptiveSemaphore(5, RateLimiter(Limits(max_requests_per_minute=1), clock)), []

        async def call(order: int) -> None:
            async with slots.one(Order(order), 0.0):
                gone.append(order)

        calls = [asyncio.ensure_future(call(order)) for order in (9, 5, 7, 3)]
        await steps()
        assert (gone, slots.used) == ([9], 0)
        for count in range(2, 5):
            clock.now += 59
            await steps()
            assert (len(gone), slots.used) == (count - 1, 0)
            clock.now += 1
            await steps()
            assert (len(gone), slots.used) == (count, 0)
        await asyncio.gather(*calls)
        return gone

    async def steps() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    assert asyncio.run(asyncio.wait_for(ask(), 1e9)) == [9, 3, 5, 7]


@pytest.mark.parametrize("name", ["max_requests_per_minute", "max_tokens_per_minute"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "60", float("inf")])
def test_limits_that_are_none_are_refused(name: str, value: Any) -> None:
    """A limit must be a whole number of at least one."""
    with pytest.raises(RecipeError, match=f"{name} must be a whole number of at least 1"):
        Limits(**{name: value})


@pytest.mark.slow
def test_a_server_never_sees_more_than_the_limit(tmp_path: Path) -> None:
    """With 600 requests per minute, a server gets at most 10 per second plus tolerance, including retries."""
    came: list[float] = []

    def script(call: Call) -> Reply | None:
        came.append(time.monotonic())
        return Reply.error(529, "Overloaded") if call.number == 5 else None

    with Provider(script) as provider:
        serving = opened("anthropic", provider)
        made = run(str(tmp_path), Recipe(model=OLD, num_dialogs_per_intent=2), serving, max_requests_per_minute=600)
    assert (len(made), len(came)) == (18, 37)
    assert most_in(came, 1.0) <= 10 + 1 + 1  # a request may take longer to arrive than the next one
    assert came[-1] - came[0] >= 36 / 10 - GRACE - 0.1
