"""`max_calls` and `max_cost` limit a whole run: all parts of a stream, all splits and all processes together."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.drivers import Limits, RunStats, Usage
from consistent_chat.drivers.budget import Budget
from consistent_chat.drivers.shared_usage import SharedUsage
from consistent_chat.errors import BudgetSpent, RecipeError
from consistent_chat.prices import Tokens, price_of
from consistent_chat.ray.ledger import Ledger
from tests.provider import Provider, answer

pytestmark = pytest.mark.usefixtures("folder")  # a separate working directory and cache

MODEL = "claude-sonnet-4-6"


def load(provider: Provider, **given: Any) -> Any:
    """Load with calls to the provider."""
    called = {"serving": "anthropic", "base_url": provider.url, "api_key": "a-key", "responses": "responses"}
    return load_dataset("consistent_chat", **called, **given)


def test_a_stream_keeps_to_max_calls_over_all_its_parts(provider: Provider) -> None:
    """The stream has one budget, not one for each part; a new iteration continues without repeated requests."""
    stream = load(provider, model=MODEL, num_dialogs_per_intent=2, max_calls=20, streaming=True, split="train")
    with pytest.raises(BudgetSpent, match="max_calls=20 is reached"):
        list(stream)
    assert len(provider.requests) == 20
    assert len(list(stream)) == 18
    assert len(provider.requests) == 36


def test_a_stream_keeps_to_max_cost_over_all_its_parts(provider: Provider) -> None:
    """All parts of a stream share one `max_cost`."""
    given = {"num_dialogs_per_intent": 20, "num_turns_per_dialog": 1, "streaming": True, "split": "train"}
    stream = load(provider, model=MODEL, max_cost=0.1, **given)
    with pytest.raises(BudgetSpent, match=r"max_cost=0\.1 is reached: \$0\.(?:09|10)\d+ is spent"):
        list(stream)
    assert 0 < len(provider.requests) < 360


def test_splits_share_what_may_be_called(provider: Provider) -> None:
    """Two splits together stay within `max_calls=2`, and a rerun makes only the missing calls."""
    for seed, split in enumerate(("train", "test")):
        Path(f"{split}.consistent_chat.yaml").write_text(
            f"model: {MODEL}\nnum_dialogs_per_intent: 1\nintents: [simulation]\nseed: {seed}\n"
        )
    files = {split: f"{split}.consistent_chat.yaml" for split in ("train", "test")}
    with pytest.raises(BudgetSpent):
        load(provider, data_files=files, max_calls=2)
    assert len(provider.requests) == 2
    assert load(provider, data_files=files, max_calls=2).num_rows == {"train": 1, "test": 1}
    assert len(provider.requests) == 4


@pytest.mark.slow
@pytest.mark.parametrize("limit", [{"max_calls": 80}, {"max_cost": 0.4}])
def test_processes_and_splits_share_one_budget(limit: dict[str, float], provider: Provider) -> None:
    """Two splits in three processes spend to within one call of the limit together, and the message tells all of it."""
    Path("both.consistent_chat.yaml").write_text(f"model: {MODEL}\nsplits: {{a: 4, b: 14}}\n")
    with pytest.raises(BudgetSpent) as told:
        load(provider, data_files="both.consistent_chat.yaml", num_proc=3, **limit)
    (name, value), price = next(iter(limit.items())), price_of(MODEL)
    assert price is not None
    usages = [json.loads(answer(*each))["usage"] for each in provider.replies]
    costs = [price.of(Tokens(usage["input_tokens"], usage["output_tokens"])) for usage in usages]
    assert f"{name}={value:g} is reached" in str(told.value)
    if name == "max_calls":
        assert len(costs) == value
    else:
        assert abs(sum(costs) - value) <= max(costs)
        assert f"${sum(costs):.4f} is spent" in str(told.value)


def test_a_process_that_has_no_more_room_stops_the_others(tmp_path: Path) -> None:
    """What one process tells at the end holds: another makes no cheaper call afterwards."""
    first = SharedUsage(str(tmp_path), Usage(1, 0.25))
    second = pickle.loads(pickle.dumps(first))
    limits = Limits(max_cost=1.0)
    assert first.reserve(limits, 0.5, 0.1) is True
    assert second.reserve(limits, 0.5, 0.5) is False
    first.settle(0.5, 1, 0.5)
    for usage, cost in ((second, 0.5), (first, 0.1)):
        with pytest.raises(BudgetSpent, match=r"\$0\.7500 is spent, \$0\.0000 is reserved .* likely to cost \$0\.5000"):
            usage.reserve(limits, cost, cost)
    assert first.alone() == Usage(2, 0.75)


def test_runs_that_share_a_budget_go_on_at_one_pace() -> None:
    """Runs with the same limits share one rate limiter, and other limits get a new one."""
    spent, limits = Usage(), Limits(max_requests_per_minute=1)
    first, second = (Budget(limits, spent).rate_limiter() for _ in range(2))
    assert first.wait() <= 0
    first.take(0)
    assert second.wait() > 50
    assert Budget(Limits(max_requests_per_minute=2), spent).rate_limiter().wait() <= 0


@pytest.mark.slow
def test_fewer_places_than_processes_are_said(provider: Provider) -> None:
    """A concurrency lower than the number of processes raises an error before any call, except for a replay."""
    given = {"model": MODEL, "num_dialogs_per_intent": 8, "num_proc": 4, "max_concurrency": 3, "split": "train"}
    with pytest.raises(RecipeError, match="max_concurrency=3 cannot be divided between 4 processes"):
        load(provider, **given)
    assert provider.requests == []
    load(provider, **{**given, "max_concurrency": 4})
    assert provider.in_flight_peak <= 4
    assert load(provider, **given, mode="replay", download_mode="force_redownload").num_rows == 72


def test_a_ledger_keeps_one_budget_and_counts_what_was_paid_twice_but_not_what_was_done_twice() -> None:
    """A restarted worker's dialogues are counted once, but all calls and costs are counted, within one budget."""
    ledger = Ledger(Limits(max_calls=4))
    for attempt, dialogues, calls in ((0, 1, 2), (1, 2, 1)):
        assert ledger.begin(7) == attempt
        stats = RunStats(dialogues=dialogues, calls=calls, cost=0.5)
        assert ledger.report(7, attempt, {"train": stats.counts()})
    total = ledger.totals()["train"]
    assert (total.dialogues, total.calls, total.cost) == (2, 3, 1.0)
    assert [ledger.reserve(7, 0.0, 0.0) for _ in range(5)] == [True] * 4 + [False]
    ledger.settle(7, 0.0, 0, 0.0)
    assert ledger.reserve(7, 0.0, 0.0) is True
    for _ in range(4):
        ledger.settle(7, 0.0, 1, 0.0)
    assert isinstance(ledger.reserve(7, 0.0, 0.0), BudgetSpent)
    ledger.stop()
    assert not ledger.report(7, 1, {"train": stats.counts()})


def test_too_few_calls_for_so_many_processes_is_said() -> None:
    """A `max_calls` lower than the number of processes raises an error, except 0."""
    with pytest.raises(RecipeError, match="max_calls=3 cannot be divided between 4 processes"):
        Limits(max_calls=3).split(4)
    assert Limits(max_calls=0).split(4).max_calls == 0


@pytest.mark.parametrize("name", ["max_requests_per_minute", "max_tokens_per_minute"])
def test_processes_share_what_may_be_asked_in_a_minute(name: str) -> None:
    """Processes divide the limit, a share below one raises an error, and no limit remains no limit."""
    assert getattr(Limits(**{name: 100}).split(3), name) == 33
    with pytest.raises(RecipeError, match=f"{name}=3 cannot be divided between 4 processes"):
        Limits(**{name: 3}).split(4)
    assert getattr(Limits().split(3), name) is None


@pytest.mark.parametrize("kind", ["processes", "cluster"])
def test_a_process_that_begins_late_knows_what_calls_of_others_cost(kind: str, tmp_path: Path) -> None:
    """Its first call is admitted if the dearest call so far would fit, although it guesses a higher cost."""
    limits = Limits(max_cost=0.005)
    if kind == "processes":
        shared = SharedUsage(str(tmp_path), Usage())
        late = pickle.loads(pickle.dumps(shared))
        assert shared.reserve(limits, 0.004, 0.002)
        shared.settle(0.004, 1, 0.002, model=MODEL)
        assert late.reserve(limits, 0.04, 0.0055, MODEL)
        late.settle(0.04, 1, 0.0015, model=MODEL)
        with pytest.raises(BudgetSpent, match=r"\$0\.0035 is spent.* likely to cost \$0\.0020"):
            late.reserve(limits, 0.04, 0.0055, MODEL)
    else:
        ledger = Ledger(limits)
        assert ledger.reserve(0, 0.004, 0.002) is True
        ledger.settle(0, 0.004, 1, 0.002, MODEL)
        assert ledger.reserve(1, 0.04, 0.0055, MODEL) is True
        ledger.settle(1, 0.04, 1, 0.0015, MODEL)
        assert isinstance(ledger.reserve(1, 0.04, 0.0055, MODEL), BudgetSpent)
