"""The rate limiter: requests and tokens per minute, spread evenly.

It uses the generic cell rate algorithm: each request delays the next by its share of a minute, without bursts.
Providers refill their buckets continuously and enforce limits over shorter times too (60 per minute may mean one per
second), so only an even rate is never refused; and the bucket's level is unknown when a run starts.
"""

from __future__ import annotations

from collections.abc import Callable

from consistent_chat.drivers.limits import Limits
from consistent_chat.request import Request, Response

CHARACTERS_PER_TOKEN = 4
"""A common estimate. It is corrected when the response reports its tokens."""
USED_OF_LIMIT = 4
"""`max_tokens` divided by this estimates an answer until the first has arrived."""
GRACE = 0.05
"""Seconds that may be caught up, since late timers would otherwise lower the rate."""


class Gcra:
    """Allows `per_minute` units per minute. `clock` returns seconds."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._seconds_each = 60.0 / per_minute
        self._clock = clock
        self._free_from = clock()

    def wait(self) -> float:
        """Return the seconds until something may be taken; 0 or less is now."""
        return self._free_from - self._clock()

    def take(self, amount: float) -> None:
        """Take an amount of any size, which delays the next."""
        self._free_from = max(self._free_from, self._clock() - GRACE) + amount * self._seconds_each

    def correct(self, amount: float) -> None:
        """Correct an estimate that was taken; a negative amount returns units."""
        self._free_from += amount * self._seconds_each


class RateLimiter:
    """Keeps a run within `max_requests_per_minute` and `max_tokens_per_minute`. `clock` returns seconds.

    That of a role's server keeps to the role's limits, and to those of the `whole` run.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float], whole: RateLimiter | None = None) -> None:
        self.limits, self._whole = limits, whole
        self._roles = {role: RateLimiter(own, clock, self) for role, own in limits.roles.items()}
        requests, tokens = limits.max_requests_per_minute, limits.max_tokens_per_minute
        self._requests = None if requests is None else Gcra(requests, clock)
        self._tokens = None if tokens is None else Gcra(tokens, clock)
        self._answers = self._output = 0

    def of(self, role: str) -> RateLimiter:
        """Return the rate limiter of a role's server, which is that of the run where no role has its own."""
        return self._roles.get(role, self)

    def wait(self) -> float:
        """Return the seconds until the next request may go; 0 or less is now."""
        return max((rate.wait() for rate in (self._requests, self._tokens, self._whole) if rate), default=0.0)

    def rest(self) -> float:
        """Return the seconds until the next request of any role may go."""
        return max(self.wait(), *(own.wait() for own in self._roles.values()), 0.0)

    def take(self, tokens: float) -> None:
        """Record a request sent now, with its estimated tokens."""
        if self._whole:
            self._whole.take(tokens)
        if self._requests:
            self._requests.take(1)
        if self._tokens:
            self._tokens.take(tokens)

    def estimate(self, request: Request) -> float:
        """Return the estimated tokens of a request and its answer."""
        characters = len(request.system) + sum(len(message["content"]) for message in request.messages)
        output = self._output / self._answers if self._answers else request.max_tokens / USED_OF_LIMIT
        return characters / CHARACTERS_PER_TOKEN + output

    def settle(self, estimated: float, response: Response | None) -> None:
        """Replace an estimate by the tokens of the request and its response; None, for no response, has none.

        For a response without token counts the estimate stays.
        """
        if self._whole:
            self._whole.settle(estimated, response)
        taken = 0.0 if response is None else estimated
        if response is not None and response.input_tokens is not None and response.output_tokens is not None:
            taken = response.input_tokens + response.output_tokens
            self._answers += 1
            self._output += response.output_tokens
        if self._tokens:
            self._tokens.correct(taken - estimated)
