"""The limits of a run (concurrency, cost, time per call), and its rate limiter (requests and tokens per minute).

The rate limiter spreads requests evenly. It uses the generic cell rate algorithm: each request delays the next by its
share of a minute, without bursts. Providers refill their buckets continuously, and also enforce limits over shorter
times (60 per minute may mean one per second), so only an even rate is never refused. Also, the level of the bucket is
unknown when a run starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.request import Request, Response

PER_MINUTE = ("max_requests_per_minute", "max_tokens_per_minute")
PER_SERVER = ("max_concurrency", *PER_MINUTE)
"""The limits that can be given separately for the server of a role."""


@dataclass(frozen=True)
class Limits:
    """The limits of a run, checked on creation.

    At most `max_concurrency` calls are in flight; a request is drawn at most `max_draws` times before its spec is given
    up; `timeout` is in seconds per call; `max_calls` counts answered calls; `max_cost` is in US dollars. Requests per
    minute include retries; tokens per minute are those of prompts and answers together. `roles` has the limits of each
    role's server, if roles have separate servers: only the limits in PER_SERVER apply to them, in addition to those of
    the run.
    """

    max_concurrency: int = 30
    max_draws: int = 4
    timeout: float = 600.0
    max_calls: int | None = None
    max_cost: float | None = None
    max_requests_per_minute: int | None = None
    max_tokens_per_minute: int | None = None
    wait_for_server: float = 0.0
    roles: Mapping[str, Limits] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("max_concurrency", "max_draws"):
            self._check(name, 1, whole=True)
        self._check("timeout", 0.001)
        self._check("wait_for_server", 0)
        if self.max_calls is not None:
            self._check("max_calls", 0, whole=True)
        if self.max_cost is not None:
            self._check("max_cost", 0)
        for name in PER_MINUTE:
            if getattr(self, name) is not None:
                self._check(name, 1, whole=True)

    def split(self, parts: int) -> Limits:
        """Return the share of one of `parts` processes, so that all together keep the limits."""
        share = self.split_rate(parts)
        cost = None if self.max_cost is None else self.max_cost / parts
        return replace(share, max_calls=self._share("max_calls", parts), max_cost=cost)

    def split_rate(self, parts: int) -> Limits:
        """Return limits with divided concurrency and rates; the limits on spending stay undivided."""
        roles = {role: limits.split_rate(parts) for role, limits in self.roles.items()}
        return replace(self, roles=roles, **{name: self._share(name, parts) for name in PER_SERVER})

    def stated(self, name: str) -> list[int]:
        """Return all given values of one of the limits in PER_SERVER: that of the run, and those of roles."""
        values = (getattr(limits, name) for limits in (self, *self.roles.values()))
        return [value for value in values if value is not None]

    def _share(self, name: str, parts: int) -> Any:
        whole: int | None = getattr(self, name)
        if whole and whole < parts:  # a share of zero would never make progress
            raise RecipeError(f"{name}={whole} cannot be divided between {parts} processes. Raise it, or use fewer.")
        return None if whole is None else whole // parts

    def _check(self, name: str, low: float, whole: bool = False) -> None:
        value = getattr(self, name)
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or value < low:
            kind = "whole number" if whole else "number"
            raise RecipeError(f"{name} must be a {kind} of at least {low:g}, not {value!r}.")


CHARACTERS_PER_TOKEN = 4
"""A common estimate, which is corrected when the response reports its tokens."""
USED_OF_LIMIT = 4
"""Until the first answer arrives, the tokens of an answer are estimated as `max_tokens` divided by this."""
GRACE = 0.05
"""Maximum seconds of delay that later requests may make up for, since late timers would otherwise lower the rate."""


class Gcra:
    """Allows `per_minute` units per minute. `clock` returns seconds."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._seconds_each = 60.0 / per_minute
        self._clock = clock
        self._free_from = clock()

    def wait(self) -> float:
        """Return the seconds until something may be taken; 0 or less means now."""
        return self._free_from - self._clock()

    def take(self, amount: float) -> None:
        """Take an amount of any size, which delays the next."""
        self._free_from = max(self._free_from, self._clock() - GRACE) + amount * self._seconds_each

    def correct(self, amount: float) -> None:
        """Correct an estimate that was taken; a negative amount returns units."""
        self._free_from += amount * self._seconds_each


class RateLimiter:
    """Keeps a run within `max_requests_per_minute` and `max_tokens_per_minute`. `clock` returns seconds.

    The rate limiter of a role's server keeps to the limits of the role, and to those of the `whole` run.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float], whole: RateLimiter | None = None) -> None:
        self.limits, self._whole = limits, whole
        self._roles = {role: RateLimiter(own, clock, self) for role, own in limits.roles.items()}
        requests, tokens = limits.max_requests_per_minute, limits.max_tokens_per_minute
        self._requests = None if requests is None else Gcra(requests, clock)
        self._tokens = None if tokens is None else Gcra(tokens, clock)
        self._rates = [rate for rate in (self._requests, self._tokens, whole) if rate]
        self._answers = self._output = 0

    def of(self, role: str) -> RateLimiter:
        """Return the rate limiter of a role's server; the run's, if roles have no limits."""
        return self._roles.get(role, self)

    def wait(self) -> float:
        """Return the seconds until the next request may be sent; 0 or less means now."""
        return max([rate.wait() for rate in self._rates]) if self._rates else 0.0

    def rest(self) -> float:
        """Return the seconds until the next request of any role may be sent."""
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
        """Replace an estimate by the tokens of the request and its response, or by 0 if there was no response.

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
