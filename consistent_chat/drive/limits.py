"""What a run may do: how much at once, how often, for how many dollars, and for how long a call may take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from consistent_chat.drive.rate import Pace
from consistent_chat.errors import BudgetSpent, RecipeError
from consistent_chat.prices import Price, price_of
from consistent_chat.request import Request, Response

CHARACTERS_PER_TOKEN = 3
"""A low estimate for most languages and tokenizers, so that the tokens of a prompt are not underestimated."""

Prices = Callable[[str], "Price | None"]
"""Tells what a model's tokens cost, None where nobody knows."""

PER_MINUTE = ("max_requests_per_minute", "max_tokens_per_minute")


@dataclass(frozen=True)
class Limits:
    """Bounds of a run, checked on creation.

    `max_concurrency` calls are in flight at most; a request is drawn `max_draws` times at most before its spec is
    given up; `timeout` is in seconds a call; `max_calls` counts answered calls; `max_cost` is in US dollars. Requests a
    minute include those that are tried again; tokens a minute are those of prompts and answers together.
    """

    max_concurrency: int = 30
    max_draws: int = 4
    timeout: float = 600.0
    max_calls: int | None = None
    max_cost: float | None = None
    max_requests_per_minute: int | None = None
    max_tokens_per_minute: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_concurrency", "max_draws"):
            self._check(name, 1, whole=True)
        self._check("timeout", 0.001)
        if self.max_calls is not None:
            self._check("max_calls", 0, whole=True)
        if self.max_cost is not None:
            self._check("max_cost", 0)
        for name in PER_MINUTE:
            if getattr(self, name) is not None:
                self._check(name, 1, whole=True)

    def divided(self, parts: int) -> Limits:
        """Return one of `parts` processes' share, so that all together keep to the limits."""
        share = self.paced(parts)
        cost = None if self.max_cost is None else self.max_cost / parts
        return replace(share, max_calls=self._share("max_calls", parts), max_cost=cost)

    def paced(self, parts: int) -> Limits:
        """Return the share of what goes on at once and in a minute; what may be spent is left whole."""
        shares = {name: self._share(name, parts) for name in ("max_concurrency", *PER_MINUTE)}
        return replace(self, **shares)

    def _share(self, name: str, parts: int) -> Any:
        whole: int | None = getattr(self, name)
        if whole and whole < parts:  # a share of nothing would never go on, however often run again
            raise RecipeError(f"{name}={whole} cannot be divided between {parts} processes. Raise it, or use fewer.")
        return None if whole is None else whole // parts

    def _check(self, name: str, low: float, whole: bool = False) -> None:
        value = getattr(self, name)
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or value < low:
            kind = "whole number" if whole else "number"
            raise RecipeError(f"{name} must be a {kind} of at least {low:g}, not {value!r}.")


@dataclass
class Spent:
    """Answered calls and US dollars, with what is in flight at the most it can cost.

    Runs that share one keep to their limits together, the splits of a dataset or the parts of a stream: each goes on at
    the `pace` of the one before.
    """

    calls: int = 0
    cost: float = 0.0
    pace: Pace | None = None

    def reserve(self, limits: Limits, cost: float) -> None:
        """Take a call that may cost so much; raise BudgetSpent if it could pass a limit."""
        if limits.max_calls is not None and self.calls + 1 > limits.max_calls:
            raise BudgetSpent(f"max_calls={limits.max_calls} is reached. All answers are kept; run again to go on.")
        if limits.max_cost is not None and self.cost + cost > limits.max_cost:
            raise BudgetSpent(
                f"max_cost={limits.max_cost:g} is reached: ${self.cost:.4f} is spent or in flight, and the next call "
                f"could cost ${cost:.4f}. All answers are kept; run again to go on."
            )
        self.calls += 1
        self.cost += cost

    def correct(self, calls: int, cost: float) -> None:
        """Take more, or with negative amounts give back, of what was reserved."""
        self.calls += calls
        self.cost += cost


class Budget:
    """Keeps a run within `max_calls` and `max_cost`, counting what is in flight at the most it can cost.

    `models` are those that will be called, `prices` tells what they cost. Raises RecipeError where `max_cost` is to
    hold and nobody knows a model's price.
    """

    def __init__(self, limits: Limits, spent: Spent, models: Iterable[str] = (), prices: Prices = price_of) -> None:
        self.limits = limits
        self._spent, self._prices = spent, prices
        for model in models:
            self.price(model)

    def price(self, model: str) -> Price | None:
        """Return a model's price: a judge's is another than that of who writes the dialogues."""
        price = self._prices(model)
        if self.limits.max_cost is not None and price is None:
            raise RecipeError(f"max_cost cannot be held: no price is known for the model {model!r}. Use max_calls.")
        return price

    def pace(self) -> Pace:
        """Return the pace of calls. Under the same limits, it is that of the run before."""
        pace = self._spent.pace
        if pace is None or pace.limits != self.limits:
            pace = self._spent.pace = Pace(self.limits, time.monotonic)
        return pace

    def reserve(self, request: Request) -> float:
        """Take a call's worst cost out of the budget; raise BudgetSpent if it could pass a limit."""
        cost = self.worst_cost(request)
        self._spent.reserve(self.limits, cost)
        return cost

    def take(self, request: Request) -> float:
        """Take a call's worst cost out of the budget, whatever its limits: it was made already."""
        cost = self.worst_cost(request)
        self._spent.correct(1, cost)
        return cost

    def release(self, calls: int, cost: float) -> None:
        """Put reservations back."""
        self._spent.correct(-calls, -cost)

    def settle(self, request: Request, reserved: float, response: Response | None) -> None:
        """Replace a reservation by what the call has cost; None stands for a call that was not answered.

        An answer without a count of its tokens is taken to have cost the most that it could.
        """
        price = self.price(request.model)
        if response is None:
            self.release(1, reserved)
        elif price is not None and response.input_tokens is not None and response.output_tokens is not None:
            self._spent.correct(0, price.of(response.input_tokens, response.output_tokens) - reserved)

    def worst_cost(self, request: Request) -> float:
        """Return the most that a call can cost."""
        price = self.price(request.model)
        if price is None:
            return 0.0
        characters = len(request.system) + sum(len(message["content"]) for message in request.messages)
        return price.of(characters // CHARACTERS_PER_TOKEN, request.max_tokens)
