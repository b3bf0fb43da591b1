"""`max_cost` and `max_calls` limit what a run spends, compared with the log of a priced server."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat import drivers
from consistent_chat.dialogue.at_once import fill
from consistent_chat.drivers import Limits, RunStats, Usage
from consistent_chat.drivers.batch_client import BatchBudget, batch_price
from consistent_chat.drivers.budget import FEWEST_CALLS, Budget
from consistent_chat.errors import BudgetSpent, RecipeError, TransportError
from consistent_chat.plan.plan import Plan
from consistent_chat.prices import Tokens, price_of
from consistent_chat.ray.ledger import Ledger
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from tests.answers import Answers

MODEL = "claude-sonnet-4-6"
RECIPE = Recipe(model=MODEL, num_dialogs_per_intent=20)


class Priced:
    """Log the cost of each answer in `log`. Answers have these lengths, or vary, with one in ten long."""

    def __init__(self, lengths: Sequence[float] = ()) -> None:
        self.lengths, self.log = lengths, list[float]()
        self.answers = Answers(self._answer, delay=0.001)

    def _answer(self, request: Request, attempt: int) -> Response:
        dice = random.Random(request.key)
        texts = {name: f"{name} of {request.key[7:15]}" for name in request.schema["required"]}
        length = 200 * dice.uniform(0.5, 1.5) * (4 if dice.random() < 0.1 else 1)
        tokens = min(request.max_tokens, round(self.lengths[len(self.log)] if self.lengths else length))
        price = price_of(MODEL)
        assert price is not None
        self.log.append(price.of(Tokens(500, tokens)))
        return Response(json.dumps(texts), input_tokens=500, output_tokens=tokens)


def run(place: Path, serving: Any, **limits: Any) -> None:
    """Make all dialogues within these limits."""
    store = ResponseStore(str(place))
    list(drivers.run(RECIPE, range(180), store, lambda: serving, Limits(**limits), RunStats()))


@pytest.mark.parametrize("limit", [0.01, 0.02, 0.05, 0.1, 0.3, 1.0])
def test_a_run_spends_to_within_one_call_of_its_limit(limit: float, tmp_path: Path) -> None:
    """The spending is within one call's cost of `max_cost`, above or below it."""
    server = Priced()
    with pytest.raises(BudgetSpent, match=rf"max_cost={limit:g} is reached: \$[\d.]+ is spent, \$0.0000 is reserved"):
        run(tmp_path, server.answers, max_cost=limit)
    assert abs(sum(server.log) - limit) <= max(server.log)


def test_each_run_with_a_small_limit_goes_on(tmp_path: Path) -> None:
    """Each of three runs with a limit below a call's maximum cost makes more than one call."""
    for _ in range(3):
        server = Priced()
        with pytest.raises(BudgetSpent):
            run(tmp_path, server.answers, max_cost=0.02)
        assert len(server.log) > 1


def test_a_limit_below_one_call_tells_the_least_useful_one(tmp_path: Path) -> None:
    """A limit too low for one call makes no call, and the limit that the message suggests is high enough."""
    server = Priced()
    with pytest.raises(BudgetSpent, match="too low for a single call") as told:
        run(tmp_path, server.answers, max_cost=0.001)
    assert server.log == []
    least = float(str(told.value).partition("limit is max_cost=")[2].partition(";")[0])
    with pytest.raises(BudgetSpent, match="is reached"):
        run(tmp_path, server.answers, max_cost=least)
    assert server.log


def test_reservations_follow_what_calls_cost() -> None:
    """After enough answers a call reserves less: between the most that one has cost and what one can cost."""
    request = next(fill(RECIPE, Plan(RECIPE), 0))
    budget = Budget(Limits(max_cost=9.0), Usage(), [MODEL])
    said = [Response("{}", input_tokens=1000, output_tokens=count) for count in (400, *range(100, 100 + FEWEST_CALLS))]
    price = price_of(MODEL)
    assert price is not None
    for response in said[:-2]:
        budget.record(request, response)
    assert budget.reserve(request) == budget.most(request)
    budget.record(request, said[-1])
    half_way = math.sqrt(price.of(Tokens(1000, 400)) * budget.most(request))
    assert budget.reserve(request) == pytest.approx(half_way)
    assert half_way < budget.most(request) / 2
    again = replace(request, draw=1, max_tokens=2 * request.max_tokens)
    assert budget.reserve(again) == budget.most(again)  # the answer before may have been cut off
    other = replace(request, stage="answers")
    assert budget.reserve(other) == budget.most(other)


@pytest.mark.parametrize(
    "lengths", [[40 * 50 ** min(1.0, number / 200) for number in range(360)], [100] * 130 + [600] * 230]
)
@pytest.mark.parametrize("limit", [0.3, 0.5])
def test_answers_that_grow_along_the_run_stay_within_one_call(
    lengths: list[float], limit: float, tmp_path: Path
) -> None:
    """Also with 100 calls in flight the spending is within one call's cost of the limit while answers become longer."""
    server = Priced(lengths)
    with pytest.raises(BudgetSpent):
        run(tmp_path, server.answers, max_cost=limit, max_concurrency=100)
    assert abs(sum(server.log) - limit) <= max(server.log)


def test_a_long_prompt_needs_room_for_itself() -> None:
    """A call is expected to cost what its own prompt costs: chats to judge, and later turns, differ much in length."""
    short = next(fill(RECIPE, Plan(RECIPE), 0))
    text = short.messages[0]["content"]
    long = replace(short, messages=({"role": "user", "content": text * 200},))
    budget = Budget(Limits(max_cost=0.3), Usage(), [MODEL])
    for _ in range(FEWEST_CALLS):
        budget.record(short, Response("{}", input_tokens=_length(short) // 4, output_tokens=100))
    price = price_of(MODEL)
    assert price is not None
    own = price.of(Tokens(_length(long) // 4, 100))
    assert own > 5 * budget.likely(short)
    assert budget.likely(long) == pytest.approx(own, rel=0.01)
    assert (budget.reserve(long) or 0.0) > own


def _length(request: Request) -> int:
    return len(request.system) + len(request.messages[0]["content"])


def test_a_dear_model_is_not_called_where_only_a_cheap_one_fits() -> None:
    """The cost of a cheap model's calls says nothing about a dear one's: its first call needs room for its own."""
    cheap = replace(next(fill(RECIPE, Plan(RECIPE), 0)), model="gpt-5-nano")
    dear = replace(cheap, model="o1-pro", stage="answers")
    budget = Budget(Limits(max_cost=0.05), Usage(), [cheap.model, dear.model])
    budget.record(cheap, Response("{}", input_tokens=1000, output_tokens=100))
    with pytest.raises(BudgetSpent, match=r"likely to cost \$0\.2235.*lowest useful limit is max_cost=0\.2235"):
        budget.reserve(dear)


def test_a_batch_reserves_what_rare_long_answers_cost() -> None:
    """Where one answer in 20 is 50 times as long, the mean is above most costs, and a batch's calls reserve it."""
    request = next(fill(RECIPE, Plan(RECIPE), 0))
    budget = BatchBudget(Limits(max_cost=9.0), Usage())
    lengths = [4000 if number % 20 == 7 else 80 for number in range(100)]
    for length in lengths:
        budget.record(request, Response("{}", input_tokens=10, output_tokens=length))
    price = batch_price(MODEL)
    assert price is not None
    assert (budget.reserve(request) or 0.0) * 100 > sum(price.of(Tokens(10, length)) for length in lengths)


def test_a_limit_is_reached_exactly() -> None:
    """Ten calls of $0.003 fit into $0.03, although their sum in binary fractions is a little more."""
    usage, limits = Usage(), Limits(max_cost=0.03)
    for _ in range(10):
        assert usage.reserve(limits, 0.003, 0.003)
        usage.settle(0.003, 1, 0.003)
    with pytest.raises(BudgetSpent):
        usage.reserve(limits, 0.003, 0.003)


def test_no_price_is_looked_up_before_a_call_that_nothing_limits() -> None:
    """Prices are looked up only with `max_cost`, because importing them is slower than opening plan and store."""
    request = next(fill(RECIPE, Plan(RECIPE), 0))
    looked_up: list[str] = []
    free, limited = (Budget(limits, Usage(), [MODEL], looked_up.append) for limits in (Limits(), Limits(max_calls=9)))
    assert (free.reserve(request), limited.reserve(request), looked_up) == (0.0, 0.0, [])
    with pytest.raises(RecipeError, match="no price is known"):
        Budget(Limits(max_cost=1), Usage(), [MODEL], looked_up.append)
    assert looked_up == [MODEL]


def test_a_failed_call_gives_its_place_back(tmp_path: Path) -> None:
    """A failed call does not count for `max_calls`, so exactly 7 responses are stored."""
    serving = Answers(lambda request, attempt: None if attempt else TransportError("try again", 0.0), delay=0.001)
    with pytest.raises(BudgetSpent, match="max_calls=7"):
        run(tmp_path, serving, max_calls=7)
    assert len(list(ResponseStore(str(tmp_path)).records())) == 7


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=40), st.floats(0, 3), st.randoms())
def test_no_order_of_settlements_passes_a_limit_by_a_call(
    calls: list[tuple[float, float]], limit: float, dice: random.Random
) -> None:
    """In any order of settlement, the cost exceeds the limit by at most one call's maximum cost."""
    usage, limits, open_calls = Usage(), Limits(max_cost=limit), list[tuple[float, float]]()
    try:
        for part, most in calls:
            while not usage.reserve(limits, most, most * dice.random()):
                _settle(usage, open_calls, dice)
            open_calls.append((most, most * part))
    except BudgetSpent:
        assert not open_calls
    while open_calls:
        _settle(usage, open_calls, dice)
    assert usage.cost <= limit + max([most for _, most in calls], default=0.0)
    assert (usage.in_flight, usage.reserved) == (0, 0.0)


def _settle(usage: Usage, open_calls: list[tuple[float, float]], dice: random.Random) -> None:
    most, cost = open_calls.pop(dice.randrange(len(open_calls)))
    usage.settle(most, 1, cost)


def test_a_dead_workers_calls_count_as_spent(tmp_path: Path) -> None:
    """A dead worker's open calls count as spent, so other workers do not wait, and a late settlement counts once."""
    ledger = Ledger(Limits(max_cost=1.0))
    ledger.begin(1)
    assert ledger.reserve(1, 0.9, 0.1) is True
    ledger.begin(2)
    assert ledger.reserve(2, 0.9, 0.1) is False
    ledger.begin(1)
    ledger.settle(1, 0.9, 1, 0.2)
    assert ledger.reserve(2, 0.9, 0.05) is True
    ledger.settle(2, 0.9, 1, 0.05)
    assert isinstance(ledger.reserve(2, 0.9, 0.1), BudgetSpent)


def test_a_batch_of_one_request_spends_what_is_left() -> None:
    """Where only the likely cost of a request fits, a batch has one request instead of none."""
    request = next(fill(RECIPE, Plan(RECIPE), 0))
    most = BatchBudget(Limits(), Usage()).most(request)
    budget = BatchBudget(Limits(max_cost=0.9 * most), Usage())
    assert budget.likely(request) < 0.9 * most
    assert budget.reserve(request) == most
    assert budget.reserve(request) is None
