"""Keeps the counts of a cluster's workers and their shared budget. It works without Ray."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from consistent_chat.drivers import Limits, RunStats, Usage
from consistent_chat.drivers.stats import PAID
from consistent_chat.errors import BudgetSpent

Counts = Mapping[str, Mapping[str, Any]]
"""The counts of a run, by split."""


class Ledger:
    """One per cluster, in its own process.

    All workers share the budget that it keeps. `calls` and `cost` are what was spent before.
    """

    def __init__(self, limits: Limits, calls: int = 0, cost: float = 0.0) -> None:
        self._limits = limits
        self._spent = Usage(calls, cost)
        self._stopped = False
        self._open: dict[int, list[float]] = defaultdict(list)
        self._attempts: dict[int, list[Counts]] = defaultdict(list)

    def begin(self, shard: int) -> int:
        """Return the number of earlier attempts at this shard. Work that they counted is done again."""
        for reserved in self._open.pop(shard, ()):  # from a worker that died: its calls may have been made
            self._spent.settle(reserved, 1, reserved)
        self._attempts[shard].append({})
        return len(self._attempts[shard]) - 1

    def reserve(self, shard: int, most: float, likely: float, guessed: str = "") -> bool | BudgetSpent:
        """Reserve a call for a shard; return False if it must wait, or the reason why it may not be made."""
        try:
            is_reserved = self._spent.reserve(self._limits, most, likely, guessed)
        except BudgetSpent as error:
            return error
        if is_reserved:
            self._open[shard].append(most)
        return is_reserved

    def settle(self, shard: int, reserved: float, calls: int, cost: float, model: str = "") -> None:
        """Replace the reservation of one call by its cost."""
        if reserved in self._open[shard]:  # otherwise it was counted as spent when its worker was considered dead
            self._open[shard].remove(reserved)
            self._spent.settle(reserved, calls, cost, model=model)

    def report(self, shard: int, attempt: int, counts: Counts) -> bool:
        """Record the counts of an attempt at a shard; return whether it should continue."""
        self._attempts[shard][attempt] = counts
        return not self._stopped

    def stop(self) -> None:
        """Stop all workers: at their next call, or within a second."""
        self._stopped = True

    def totals(self) -> dict[str, RunStats]:
        """Return the counts of all shards by split: only the payments of earlier attempts, all of the last one."""
        totals: dict[str, RunStats] = defaultdict(RunStats)
        for *earlier, last in self._attempts.values():
            for split, counts in last.items():
                totals[split].add(counts)
            for attempt in earlier:
                for split, counts in attempt.items():
                    totals[split].add({name: counts[name] for name in PAID})
        return dict(totals)
