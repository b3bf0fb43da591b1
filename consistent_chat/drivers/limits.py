"""The limits of a run: concurrency, rates, cost, and the time of a call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from consistent_chat.errors import RecipeError

PER_MINUTE = ("max_requests_per_minute", "max_tokens_per_minute")
PACE = ("max_concurrency", *PER_MINUTE)
"""The limits that the server of a role may have of its own."""


@dataclass(frozen=True)
class Limits:
    """Limits of a run, checked on creation.

    At most `max_concurrency` calls are in flight; a request is drawn at most `max_draws` times before its spec is given
    up; `timeout` is in seconds per call; `max_calls` counts answered calls; `max_cost` is in US dollars. Requests per
    minute include retries; tokens per minute are those of prompts and answers together. `roles` has the limits of each
    role's server, where roles have servers of their own: only those in PACE count, and those of the run hold besides.
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
        """Return the share of concurrency and rates; the limits on spending stay undivided."""
        roles = {role: limits.split_rate(parts) for role, limits in self.roles.items()}
        return replace(self, roles=roles, **{name: self._share(name, parts) for name in PACE})

    def stated(self, name: str) -> list[int]:
        """Return the values of one of the limits in PACE: that of the run, and those of roles, as far as given."""
        values = (getattr(limits, name) for limits in (self, *self.roles.values()))
        return [value for value in values if value is not None]

    def _share(self, name: str, parts: int) -> Any:
        whole: int | None = getattr(self, name)
        if whole and whole < parts:  # a share of zero could never progress, however often it is rerun
            raise RecipeError(f"{name}={whole} cannot be divided between {parts} processes. Raise it, or use fewer.")
        return None if whole is None else whole // parts

    def _check(self, name: str, low: float, whole: bool = False) -> None:
        value = getattr(self, name)
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or value < low:
            kind = "whole number" if whole else "number"
            raise RecipeError(f"{name} must be a {kind} of at least {low:g}, not {value!r}.")
