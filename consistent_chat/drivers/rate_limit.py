"""How often a run may ask: requests and tokens a minute, spread evenly.

A generic cell rate algorithm: each request pushes back the time from which the next may go, by as long as it is worth.
There is no burst. Providers refill their buckets all the time and hold a minute's limit over shorter times too (60 a
minute may be one a second), so that only an even pace is never refused; and it is unknown how full the bucket is when a
run begins.
"""

from __future__ import annotations

from collections.abc import Callable

from consistent_chat.drivers.limits import Limits
from consistent_chat.request import Request, Response

CHARACTERS_PER_TOKEN = 4
"""The usual estimate. What it is wrong by is put right when the answer tells its tokens."""
USED_OF_LIMIT = 4
"""One part in so many of `max_tokens` is taken for the answer as long as none has come."""
GRACE = 0.05
"""Seconds that may be caught up: a timer that goes off late would make the pace slower than the limit."""


class Gcra:
    """So much a minute: after each amount as long a wait as it is worth. `clock` gives seconds."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._seconds_each = 60.0 / per_minute
        self._clock = clock
        self._free_from = clock()

    def wait(self) -> float:
        """Return the seconds until something may be taken; 0 or less is now."""
        return self._free_from - self._clock()

    def take(self, amount: float) -> None:
        """Take an amount, however large: what follows waits for it."""
        self._free_from = max(self._free_from, self._clock() - GRACE) + amount * self._seconds_each

    def correct(self, amount: float) -> None:
        """Take more, or with a negative amount give back, of what was taken as an estimate."""
        self._free_from += amount * self._seconds_each


class RateLimiter:
    """Keeps a run within `max_requests_per_minute` and `max_tokens_per_minute`. `clock` gives seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits = limits
        requests, tokens = limits.max_requests_per_minute, limits.max_tokens_per_minute
        self._requests = None if requests is None else Gcra(requests, clock)
        self._tokens = None if tokens is None else Gcra(tokens, clock)
        self._answers = self._output = 0

    def wait(self) -> float:
        """Return the seconds until the next request may go; 0 or less is now."""
        return max((rate.wait() for rate in (self._requests, self._tokens) if rate), default=0.0)

    def take(self, tokens: float) -> None:
        """Take note of a request that goes now, and of the tokens that it may be worth."""
        if self._requests:
            self._requests.take(1)
        if self._tokens:
            self._tokens.take(tokens)

    def estimate(self, request: Request) -> float:
        """Return the tokens that a request and its answer may have."""
        characters = len(request.system) + sum(len(message["content"]) for message in request.messages)
        output = self._output / self._answers if self._answers else request.max_tokens / USED_OF_LIMIT
        return characters / CHARACTERS_PER_TOKEN + output

    def settle(self, estimated: float, response: Response | None) -> None:
        """Put what the request has taken in the place of the estimate; None stands for no answer, so no tokens.

        An answer without a count of its tokens is taken to have what was estimated.
        """
        taken = 0.0 if response is None else estimated
        if response is not None and response.input_tokens is not None and response.output_tokens is not None:
            taken = response.input_tokens + response.output_tokens
            self._answers += 1
            self._output += response.output_tokens
        if self._tokens:
            self._tokens.correct(taken - estimated)
