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
        self._open: dict[int, list[float]] = defaultdict(list)
        self._attempts: dict[int, list[Counts]] = defaultdict(list)

    def begin(self, shard: int) -> int:
        """Return how many attempts at this shard came before. The work that they counted as done is done again."""
        for reserved in self._open.pop(shard, ()):  # of a worker that died: its calls may have been made
            self._spent.settle(reserved, 1, reserved)
        self._attempts[shard].append({})
        return len(self._attempts[shard]) - 1

    def reserve(self, shard: int, most: float, likely: float) -> bool | BudgetSpent:
        """Reserve a call for a shard; return False if it has to wait, or the reason why it may not be made."""
        try:
            is_reserved = self._spent.reserve(self._limits, most, likely)
        except BudgetSpent as error:
            return error
        if is_reserved:
            self._open[shard].append(most)
        return is_reserved

    def settle(self, shard: int, reserved: float, calls: int, cost: float) -> None:
        """Replace the reservation of one call by what it has cost."""
        if reserved in self._open[shard]:  # else it was counted as spent when its worker was taken for dead
            self._open[shard].remove(reserved)
            self._spent.settle(reserved, calls, cost)

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
