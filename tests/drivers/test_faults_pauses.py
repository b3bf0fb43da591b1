"""A run waits as long as the server asks, and no longer than necessary."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from email.utils import formatdate, parsedate_to_datetime

import pytest

from consistent_chat.drivers import Limits
from consistent_chat.drivers.call_queue import Order
from consistent_chat.drivers.concurrency import AdaptiveSemaphore, SharedSlots
from consistent_chat.drivers.limits import RateLimiter
from consistent_chat.drivers.retry import MAX_TRIES, RetryPolicy
from consistent_chat.errors import TransportError
from consistent_chat.recipe import Recipe
from tests.faults import Reply, every, run
from tests.provider import Call, Provider
from tests.servings import OLD, opened

FAULT = TransportError("The server answered 500")
SMALL = Recipe(model=OLD, num_dialogs_per_intent=1, num_turns_per_dialog=1)


@pytest.fixture(params=["anthropic", pytest.param("openai", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    """Return each protocol in turn."""
    return str(request.param)


@pytest.mark.slow
def test_a_server_that_takes_fewer_calls_than_are_set_is_used_to_its_limit(place: str) -> None:
    """With 30 calls allowed and 20 taken, a run needs at most 1.2 times as long as with 20 of both, at real pauses."""
    recipe, seconds = Recipe(model=OLD, num_dialogs_per_intent=20, num_turns_per_dialog=2), []
    for allowed, folder in ((20, "limit"), (30, "beyond")):
        with Provider(delay=0.3, capacity=20) as provider:
            serving, began = opened("anthropic", provider, timeout=30.0), time.monotonic()
            made = run(place + folder, recipe, serving, max_concurrency=allowed)
            seconds.append(time.monotonic() - began)
        assert len(made) == 180
    assert seconds[1] <= 1.2 * seconds[0]


def test_a_dialogue_goes_on_before_another_begins(place: str) -> None:
    """A started dialogue is finished before another starts, so that the calls do not run out at the end of a run."""
    with Provider() as provider:
        run(place, SMALL, opened("anthropic", provider), max_concurrency=1)
        assert [call.stage for call in provider.requests] == ["skeleton", "answers"] * 9


class TestPlaces:
    """The tests count the calls in flight after the server has rejected some."""

    def test_each_that_is_refused_beside_others_gives_up_its_own(self) -> None:
        """Ten of thirty calls are rejected, which leaves twenty slots; another is added after about ten answers."""

        async def crowd() -> list[int]:
            slots = AdaptiveSemaphore(30, RateLimiter(Limits(), time.monotonic))
            async with held(slots, 20), held(slots, 10) as epochs:
                for epoch in epochs:
                    slots.shrink(epoch)
            return [await places(slots, answers) for answers in (0, 9, 2)]

        assert asyncio.run(asyncio.wait_for(crowd(), 10.0)) == [20, 20, 21]

    def test_all_come_back_soon_after_a_time_in_which_none_was_taken(self) -> None:
        """After all calls are rejected, each answer adds a slot, until another call is rejected."""

        async def outage() -> list[int]:
            slots = AdaptiveSemaphore(30, RateLimiter(Limits(), time.monotonic))
            await refused(slots, 30)
            counts = [await places(slots, answers) for answers in (0, 1, 2, 4)]
            async with held(slots, 5), held(slots, 1) as epochs:
                slots.shrink(epochs[0])
            return [*counts, await places(slots, 0), await places(slots, 3), await places(slots, 1)]

        assert asyncio.run(asyncio.wait_for(outage(), 10.0)) == [1, 2, 4, 8, 7, 7, 8]

    def test_a_server_that_refuses_some_leaves_another_its_places(self) -> None:
        """Servers have separate slots within the run's total, and slots that one server gives up go to another."""

        async def crowd() -> list[int]:
            shared, rate_limiter = SharedSlots(8), RateLimiter(Limits(), time.monotonic)
            slow, quick, other = (AdaptiveSemaphore(6, rate_limiter, shared=shared) for _ in range(3))
            async with held(slow, 6) as epochs:
                counts = [await places(quick, 0)]
                for epoch in epochs:
                    slow.shrink(epoch)
            async with held(quick, 5):
                counts.append(await places(slow, 1))
                async with held(slow, 2), held(quick, 1):
                    waiting = asyncio.ensure_future(places(other, 0))
                    await asyncio.sleep(0)
                    counts.append(shared.used)
                counts.append(await waiting)
            return counts

        assert asyncio.run(asyncio.wait_for(crowd(), 10.0)) == [2, 2, 8, 3]


class TestRetryPolicy:
    """Pauses after faults for which the server asks for no pause."""

    @pytest.fixture
    def policy(self) -> RetryPolicy:
        """Return the policy of a run whose server has answered."""
        policy = RetryPolicy(time.monotonic)
        policy.answered()
        return policy

    def test_faults_of_a_server_that_answers_others_cost_little_time(self, policy: RetryPolicy) -> None:
        """A call that fails three times while others are answered waits less than half a second in total."""
        pauses = self.failing(policy, tries=3)
        assert pauses == sorted(pauses)
        assert sum(pauses) < 0.5

    def test_a_call_outlasts_a_partial_outage(self, policy: RetryPolicy) -> None:
        """A call is tried for minutes before it is given up, also while others are answered."""
        assert sum(self.failing(policy, tries=MAX_TRIES - 1)) > 120.0

    @staticmethod
    def failing(policy: RetryPolicy, tries: int) -> list[float]:
        """Return the pauses of a call that fails so often while others are answered."""
        pauses = []
        for number in range(1, tries + 1):
            policy.answered()
            policy.test(number, FAULT)
            pauses.append(policy.pause(number, FAULT))
        return pauses

    def test_a_server_that_answers_nobody_is_left_alone(self, policy: RetryPolicy) -> None:
        """In an outage of thirty calls all but a few wait the usual pause, and longer each time."""
        pauses = []
        for _ in range(30):
            policy.test(1, FAULT)
            pauses.append(policy.pause(1, FAULT))
        assert len([pause for pause in pauses if pause >= 0.5]) >= 27
        assert policy.pause(2, FAULT) >= 1.0

    def test_a_pause_that_the_server_asks_for_is_kept(self, policy: RetryPolicy) -> None:
        """A requested pause is never shortened."""
        error = TransportError("Later", 7.0)
        policy.test(1, error)
        assert policy.pause(1, error) >= 7.0


class TestRetryAfter:
    """The server asks for a pause with a `retry-after` header."""

    @pytest.fixture(autouse=True)
    def _hasty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Remove the pauses that no server asks for."""
        monkeypatch.setattr("consistent_chat.drivers.retry.FIRST_PAUSE", 0.0)

    @pytest.mark.slow_after(1)
    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("form", ["seconds", "milliseconds", pytest.param("date", marks=pytest.mark.slow)])
    def test_is_kept_to_the_end(self, place: str, kind: str, form: str, status: int) -> None:
        """The request is retried, and not before the pause is over."""
        ends: list[float] = []
        came: list[float] = []

        def script(call: Call) -> Reply | None:
            if call.number:
                came.append(time.time())
                return None
            header, end = backoff(form)
            ends.append(end)
            return Reply.error(status, "Later", header)

        recipe = Recipe(model=OLD, num_dialogs_per_intent=1, num_turns_per_dialog=1, intents=("educational",))
        with Provider(script) as provider:
            assert len(run(place, recipe, opened(kind, provider))) == 1
        assert came[0] >= ends[0]

    @pytest.mark.parametrize("header", [{"retry-after": "86400"}, {"retry-after": formatdate(4e9, usegmt=True)}])
    def test_has_a_limit(self, place: str, header: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that asks for a day's pause gets the next request after the longest pause."""
        monkeypatch.setattr("consistent_chat.drivers.retry.LONGEST_PAUSE", 0.05)
        with Provider(every(10, Reply.error(429, "Tomorrow", header))) as provider:
            assert len(run(place, SMALL, opened("anthropic", provider))) == 9


@contextlib.asynccontextmanager
async def held(slots: AdaptiveSemaphore, count: int) -> AsyncIterator[list[int]]:
    """Hold a number of slots and yield their epochs."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(slots.one(Order(0), 0.0)) for _ in range(count)]


async def refused(slots: AdaptiveSemaphore, count: int) -> None:
    """Reject a number of calls one after the other, until none is in flight."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count - 1):
            await stack.enter_async_context(refusal(slots))
        async with refusal(slots):
            pass


@contextlib.asynccontextmanager
async def refusal(slots: AdaptiveSemaphore) -> AsyncIterator[None]:
    """Hold a slot and give it up as rejected."""
    async with slots.one(Order(0), 0.0) as epoch:
        yield
        slots.shrink(epoch)


async def places(slots: AdaptiveSemaphore, answers: int) -> int:
    """Return how many calls can run at the same time after a number of answers."""
    for _ in range(answers):
        slots.grow()
    async with contextlib.AsyncExitStack() as stack:
        for count in itertools.count():
            try:
                await asyncio.wait_for(stack.enter_async_context(slots.one(Order(0), 0.0)), 0.02)
            except asyncio.TimeoutError:
                return count
    raise AssertionError("unreachable")


def backoff(form: str) -> tuple[dict[str, str], float]:
    """Return a header that asks for a short pause, and the time at which the pause ends."""
    if form == "date":
        date = formatdate(time.time() + 1.0, usegmt=True)
        return {"retry-after": date}, parsedate_to_datetime(date).timestamp()
    header = {"retry-after": "0.2"} if form == "seconds" else {"retry-after-ms": "200", "retry-after": "0"}
    return header, time.time() + 0.2
