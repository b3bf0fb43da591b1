"""What a run has spent and may still spend: calls and US dollars, with calls in flight at their maximum cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from consistent_chat.drivers.limits import Limits
from consistent_chat.drivers.rate_limit import RateLimiter
from consistent_chat.errors import BudgetSpent, RecipeError
from consistent_chat.prices import Price, price_of
from consistent_chat.request import Request, Response

CHARACTERS_PER_TOKEN = 3
"""A low estimate for most languages and tokenizers, so that the tokens of a prompt are not underestimated."""


Prices = Callable[[str], "Price | None"]
"""Tells what a model's tokens cost, None where nobody knows."""


@dataclass
class Usage:
    """Answered calls and US dollars, with what is in flight at the most it can cost.

    Runs that share one keep to their limits together, the splits of a dataset or the parts of a stream: each goes on at
    the `pace` of the one before.
    """

    calls: int = 0
    cost: float = 0.0
    pace: RateLimiter | None = None

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

    def __init__(self, limits: Limits, spent: Usage, models: Iterable[str] = (), prices: Prices = price_of) -> None:
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

    def pace(self) -> RateLimiter:
        """Return the pace of calls. Under the same limits, it is that of the run before."""
        pace = self._spent.pace
        if pace is None or pace.limits != self.limits:
            pace = self._spent.pace = RateLimiter(self.limits, time.monotonic)
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
