"""The worker side: one online driver for a shard, within its share of the limits."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray

from consistent_chat.builder.execution import ExecutionOptions
from consistent_chat.drivers import Limits, RunStats, Usage
from consistent_chat.drivers.online import Stopped
from consistent_chat.errors import BudgetSpent, ConsistentChatError, StoreError
from consistent_chat.recipe import Recipe
from consistent_chat.store.location import StoreLocation

REPORT = 0.5
"""Seconds between two reports."""


@dataclass(frozen=True)
class Work:
    """What a worker needs to make dialogues: recipes by split, and options to execute them."""

    execution: ExecutionOptions
    recipes: Mapping[str, Recipe]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a shard: its error, if any, and the seconds until its rate limit allows another call."""

    error: ConsistentChatError | None
    rest: float = 0.0


class SharedSpent(Usage):
    """A budget that asks the ledger what this worker may spend. The rate limit is the worker's own."""

    def __init__(self, ledger: Any, limits: Limits, shard: int) -> None:
        super().__init__()
        self._ledger, self._shard = ledger, shard
        self._is_bounded = limits.max_calls is not None or limits.max_cost is not None
        self.stopped = False

    def reserve(self, limits: Limits, most: float, likely: float, guessed: str = "") -> bool:
        """Reserve a call at the ledger; return False if it must wait. Raises BudgetSpent, or Stopped."""
        self.go_on()
        if not self._is_bounded:
            return True
        answer = ray.get(self._ledger.reserve.remote(self._shard, most, likely, guessed))
        if isinstance(answer, BudgetSpent):
            raise answer
        return bool(answer)

    def settle(self, reserved: float, calls: int, cost: float, in_flight: int = 1, model: str = "") -> None:
        """Report the cost of a call to the ledger."""
        if self._is_bounded:
            self._ledger.settle.remote(self._shard, reserved, calls, cost, model)

    def go_on(self) -> None:
        """Raise Stopped if the run was stopped."""
        if self.stopped:
            raise Stopped("The run was stopped. All answers are kept; rerun to resume.")

    def rest(self) -> float:
        """Return the seconds until the rate limit allows the next call."""
        return 0.0 if self.rate_limiter is None else self.rate_limiter.rest()


def run_shard(work: Work, ledger: Any, shard: int, places: Mapping[str, range]) -> Outcome:
    """Fill the store with a shard's responses. An expected error is returned, not raised."""
    execution, spent = work.execution, SharedSpent(ledger, work.execution.limits, shard)
    all_stats = {split: RunStats() for split in places}
    attempt = ray.get(ledger.begin.remote(shard))
    if attempt:  # the worker that died may have called just before
        time.sleep(seconds_a_call(execution.limits))
    try:
        _check_shared(execution)
        with _reporting(functools.partial(ledger.report.remote, shard, attempt), all_stats, spent):
            for split, indices in places.items():
                for _ in execution.run(work.recipes[split], indices, all_stats[split], spent):
                    spent.go_on()
    except ConsistentChatError as error:
        return Outcome(error, spent.rest())
    return Outcome(None, spent.rest())


def seconds_a_call(limits: Limits) -> float:
    """Return the seconds between two calls at the rate of these limits."""
    return max((60.0 / rate for rate in limits.stated("max_requests_per_minute")), default=0.0)


def _check_shared(execution: ExecutionOptions) -> None:
    """Raise StoreError if a folder that the caller has prepared is a different one on this machine."""
    place = StoreLocation(execution.places[0], execution.storage_options)
    if execution.may_call and place.is_local:
        try:
            place.check_exists()
        except StoreError:
            raise StoreError(
                f"The response store {place.url} does not exist on {ray.util.get_node_ip_address()}. All machines of a "
                "cluster must reach it: pass a folder that they share, or a bucket, as responses=."
            ) from None


@contextlib.contextmanager
def _reporting(report: Callable[..., Any], all_stats: Mapping[str, RunStats], spent: SharedSpent) -> Iterator[None]:
    """Report the counts to the ledger during the block and at its end; stop if it says so."""
    done = threading.Event()

    def tell() -> None:
        try:
            if not ray.get(report({split: stats.counts() for split, stats in all_stats.items()})):
                spent.stopped = True
        except ray.exceptions.RayError:  # the caller has ended
            spent.stopped = True

    def report_periodically() -> None:
        while not done.wait(REPORT):
            tell()

    thread = threading.Thread(target=report_periodically, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        tell()
