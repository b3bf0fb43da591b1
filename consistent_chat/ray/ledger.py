"""What the workers of a cluster have done so far, and what they may still do. It knows nothing of Ray."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from consistent_chat.drivers import Limits, RunStats, Usage
from consistent_chat.drivers.stats import PAID
from consistent_chat.errors import BudgetSpent

Counts = Mapping[str, Mapping[str, Any]]
"""The counts of a tally, by split."""


class Ledger:
    """One for a cluster, in a process of its own. All workers draw on the one budget that it keeps.

    `calls` and `cost` are what was spent of it before.
    """

    def __init__(self, limits: Limits, calls: int = 0, cost: float = 0.0) -> None:
        self._limits = limits
        self._spent = Usage(calls, cost)
        self._stopped = False
        self._attempts: dict[int, list[Counts]] = defaultdict(list)

    def begin(self, shard: int) -> int:
        """Return how many have begun this shard before. What they have counted as done will be done again."""
        self._attempts[shard].append({})
        return len(self._attempts[shard]) - 1

    def reserve(self, cost: float) -> BudgetSpent | None:
        """Take a call that may cost so much; return why it may not be made. A worker that dies gives nothing back."""
        try:
            self._spent.reserve(self._limits, cost)
        except BudgetSpent as error:
            return error
        return None

    def correct(self, calls: int, cost: float) -> None:
        """Take more, or with negative amounts give back, of what was reserved."""
        self._spent.correct(calls, cost)

    def report(self, shard: int, attempt: int, counts: Counts) -> bool:
        """Take note of what an attempt at a shard has done so far; return whether it is to go on."""
        self._attempts[shard][attempt] = counts
        return not self._stopped

    def stop(self) -> None:
        """Let all workers stop: with the next call they would make, or within a second."""
        self._stopped = True

    def totals(self) -> dict[str, RunStats]:
        """Return what all have done, by split: of a shard's earlier attempts what was paid, of its last all."""
        totals: dict[str, RunStats] = defaultdict(RunStats)
        for *earlier, last in self._attempts.values():
            for split, counts in last.items():
                totals[split].add(counts)
            for attempt in earlier:
                for split, counts in attempt.items():
                    totals[split].add({name: counts[name] for name in PAID})
        return dict(totals)
