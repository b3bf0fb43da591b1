"""The budget of a run: calls and US dollars. Calls in flight count with more than such calls have cost so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from consistent_chat.drivers.limits import CHARACTERS_PER_TOKEN as LIKELY_CHARACTERS_PER_TOKEN
from consistent_chat.drivers.limits import Limits, RateLimiter
from consistent_chat.drivers.recent_costs import RecentCosts
from consistent_chat.errors import BudgetSpent, RecipeError
from consistent_chat.prices import NO_TOKENS, Price, Tokens, billed, estimated, price_of
from consistent_chat.request import Request, Response

CHARACTERS_PER_TOKEN = 3
"""A low number for most languages and tokenizers, so that the tokens of a prompt are not underestimated."""


Prices = Callable[[str], "Price | None"]
"""Returns a model's price, or None if it is unknown."""


FEWEST_CALLS = 20
"""After this many calls of a stage, what a call reserves follows what they have cost.

A call reserves the geometric mean of its cost at the highest recent costs and of what `max_tokens` allows. With the
first alone, answers that become longer along the run exceed a limit by the cost of half the calls in flight; with the
second alone, a run takes several times as long near its limit. The requests of a batch reserve less, because their
costs average out.
"""
ANSWER_PART = 16
"""Before the first answer, an answer's tokens are estimated as `max_tokens` divided by this: about the mean length of
the paper's messages. Even if this is too low, the limit is exceeded by less than the cost of one call.
"""
ROUNDING = 1e-9
"""US dollars by which sums of binary fractions may exceed a limit that is reached exactly."""


@dataclass
class Usage:
    """Answered calls and the US dollars spent; calls in flight and the dollars reserved for them.

    Runs with the same Usage, such as the splits of a dataset or the parts of a stream, share their limits: each
    continues with the `rate_limiter` of the previous one. `costs` has the costs of recent calls by model and stage,
    `outputs` the number of counted responses and the sum of their output tokens. `dearest` is the cost of the dearest
    call by model: a process that shares the Usage of others knows no other costs before its own first call.
    """

    calls: int = 0
    cost: float = 0.0
    in_flight: int = 0
    reserved: float = 0.0
    rate_limiter: RateLimiter | None = None
    costs: dict[tuple[str, str], RecentCosts] = field(default_factory=dict)
    outputs: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    dearest: dict[str, float] = field(default_factory=dict)

    def reserve(self, limits: Limits, most: float, likely: float, guessed: str = "") -> bool:
        """Reserve `most` for a call; return False if it must wait until calls in flight are settled.

        Calls are admitted while what is reserved for all calls in flight fits into the limit. When it no longer does,
        one call at a time runs if its likely cost fits, so that the limit is exceeded by less than the cost of one
        call. If the likely cost is a guess, `guessed` is the model: the cost of its dearest call is then the maximum.
        Raises BudgetSpent if no call is in flight and this one does not fit.
        """
        likely = min(likely, self.dearest.get(guessed, likely))
        too_many = limits.max_calls is not None and self.calls + self.in_flight + 1 > limits.max_calls
        if too_many or not self._has_room(limits.max_cost, most, likely):
            if self.in_flight:
                return False
            raise BudgetSpent(_calls_message(limits) if too_many else self._cost_message(limits, min(likely, most)))
        self.in_flight += 1
        self.reserved += most
        return True

    def settle(self, reserved: float, calls: int, cost: float, in_flight: int = 1, model: str = "") -> None:
        """Replace the reservation of calls in flight, of one model, by the answered calls and their cost."""
        self.in_flight -= in_flight
        self.reserved = self.reserved - reserved if self.in_flight else 0.0
        self.calls += calls
        self.cost += cost
        if calls == 1 and model:
            self.dearest[model] = max(self.dearest.get(model, 0.0), cost)

    def _has_room(self, limit: float | None, most: float, likely: float) -> bool:
        if limit is None or self.cost + self.reserved + most <= limit + ROUNDING:
            return True
        return not self.in_flight and self.cost + likely <= limit + ROUNDING

    def _cost_message(self, limits: Limits, likely: float) -> str:
        least = math.ceil(likely * 10_000) / 10_000
        if not (self.calls or self.cost):
            return (
                f"max_cost={limits.max_cost:g} is too low for a single call, which is likely to cost ${likely:.4f}. "
                f"The lowest useful limit is max_cost={least:g}; nothing was spent."
            )
        return (
            f"max_cost={limits.max_cost:g} is reached: ${self.cost:.4f} is spent, ${self.reserved:.4f} is reserved for "
            f"calls in flight, and the next call is likely to cost ${likely:.4f}. All answers are kept; rerun to "
            f"resume. The lowest useful limit is max_cost={least:g}."
        )


def _calls_message(limits: Limits) -> str:
    return f"max_calls={limits.max_calls} is reached. All answers are kept; rerun to resume."


class Budget:
    """Keeps a run within `max_calls` and `max_cost`.

    `models` are the models of the run, `prices` returns their prices. `by_batch` says whether batches send requests.
    Raises RecipeError for a `max_cost` with a model whose price is unknown.
    """

    def __init__(
        self,
        limits: Limits,
        spent: Usage,
        models: Iterable[str] = (),
        prices: Prices = price_of,
        by_batch: bool = False,
    ) -> None:
        self.limits = limits
        self._spent, self._prices, self._by_batch = spent, prices, by_batch
        self.check(models)

    def check(self, models: Iterable[str]) -> None:
        """Raise RecipeError for a `max_cost` with a model whose price is unknown."""
        if self.limits.max_cost is not None:  # otherwise prices are loaded (0.2 s) after the first call
            for model in models:
                self.price(model)

    def price(self, model: str) -> Price | None:
        """Return a model's price: the judge's may differ from the writer's."""
        price = self._prices(model)
        if self.limits.max_cost is not None and price is None:
            raise RecipeError(f"max_cost cannot be enforced: no price is known for the model {model!r}. Use max_calls.")
        return price

    def rate_limiter(self) -> RateLimiter:
        """Return the rate limiter of calls; if the limits are the same, the one of the previous run."""
        rate_limiter = self._spent.rate_limiter
        if rate_limiter is None or rate_limiter.limits != self.limits:
            rate_limiter = self._spent.rate_limiter = RateLimiter(self.limits, time.monotonic)
        return rate_limiter

    def reserve(self, request: Request) -> float | None:
        """Reserve a call and return the reserved dollars, or None if it must wait for calls in flight.

        Raises BudgetSpent if no call is in flight and this one does not fit.
        """
        if self.limits.max_cost is None:
            return 0.0 if self._spent.reserve(self.limits, 0.0, 0.0) else None
        reserved, likely = self._reserved(request), self.likely(request)
        guessed = "" if (request.model, request.stage) in self._spent.costs else request.model
        return reserved if self._spent.reserve(self.limits, reserved, likely, guessed) else None

    def _reserved(self, request: Request) -> float:
        """Return the dollars to reserve for a call, or for a request of a batch."""
        costs, most = self._spent.costs.get((request.model, request.stage)), self.most(request)
        if costs is None or len(costs) < FEWEST_CALLS:
            return most
        if self._by_batch:
            return min(most, costs.in_batch(_characters(request)))
        # the answer to an earlier draw may have been cut off; then this one has a higher limit
        return most if request.draw else min(most, math.sqrt(costs.most(_characters(request)) * most))

    def release(self, calls: int, reserved: float) -> None:
        """Release the reservation of calls that will not be made."""
        self._spent.settle(reserved, 0, 0.0, calls)

    def settle(
        self, request: Request, reserved: float, response: Response | None, faulty: Response | None = None
    ) -> Tokens:
        """Replace a reservation by the cost of the call: without a response, that of the faulty one, or 0.

        Return the billed tokens, estimated if they are not counted.
        """
        received = response or faulty
        tokens = NO_TOKENS if received is None else self._tokens(request, received)
        cost = 0.0 if received is None else self._noted(request, tokens)
        self._spent.settle(reserved, int(response is not None), cost, model=request.model)
        return tokens

    def record(self, request: Request, response: Response, calls: int = 1) -> Tokens:
        """Count an answered call without a reservation, or with `calls=0` a faulty one, which is paid for only.

        Return the billed tokens, estimated if they are not counted.
        """
        tokens = self._tokens(request, response)
        self._spent.settle(0.0, calls, self._noted(request, tokens), 0, request.model)
        return tokens

    def most(self, request: Request) -> float:
        """Return the maximum cost of a call."""
        price = self.price(request.model)
        return 0.0 if price is None else price.most(_characters(request) // CHARACTERS_PER_TOKEN, request.max_tokens)

    def likely(self, request: Request) -> float:
        """Return a cost that most calls of this stage do not exceed, judging by earlier calls."""
        costs, characters = self._spent.costs.get((request.model, request.stage)), _characters(request)
        if costs:
            return min(self.most(request), costs.likely(characters))
        others = [known.likely(characters) for (model, _), known in self._spent.costs.items() if model == request.model]
        return min([*others, self._guess(request)])

    def _guess(self, request: Request) -> float:
        price, prompt = self.price(request.model), _characters(request) / LIKELY_CHARACTERS_PER_TOKEN
        return 0.0 if price is None else price.of(Tokens(prompt, request.max_tokens // ANSWER_PART))

    def _tokens(self, request: Request, response: Response) -> Tokens:
        """Return the billed tokens of a response; if they are not counted, an estimate."""
        tokens, stage = billed(response), (request.model, request.stage)
        count, total = self._spent.outputs.get(stage, (0, 0.0))
        if tokens.uncounted:
            return estimated(request, response, total / count if count else 0.0)
        self._spent.outputs[stage] = count + 1, total + tokens.output
        return tokens

    def _noted(self, request: Request, tokens: Tokens) -> float:
        """Return the cost of a call, and record it for later reservations. Without `max_cost` no cost is needed."""
        if self.limits.max_cost is None:
            return 0.0
        price = self.price(request.model)
        if price is None:
            return 0.0
        cost, prompt = price.of(tokens), price.of(tokens._replace(output=0, reasoning=0))
        recent = self._spent.costs.setdefault((request.model, request.stage), RecentCosts())
        recent.add(_characters(request), prompt, cost - prompt)
        return cost


def _characters(request: Request) -> int:
    return len(request.system) + sum(len(message["content"]) for message in request.messages)
