"""Counts the findings of the checks in the dialogues of a report, by reason and side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from consistent_chat.recipe.fields import thresholds
from consistent_chat.reports.check import chat_findings

CHECKED = 1_000
"""Only the first dialogues, up to this number, are checked. Each takes five milliseconds. `check` checks all."""


class AlarmCounter:
    """Runs all checks with their default thresholds on the first dialogues. `flagged` counts those with findings."""

    def __init__(self) -> None:
        self.checked = self.flagged = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        self._thresholds = thresholds("checks", None)

    def add(self, row: Mapping[str, Any]) -> None:
        """Check a row."""
        if self.checked == CHECKED:
            return
        found = chat_findings(row, self._thresholds)
        self.checked += 1
        self.flagged += bool(found)
        self.counts.update((each.reason, each.side) for each in found)

    @property
    def ranked(self) -> list[tuple[str, str, int]]:
        """The findings as (reason, side, number), the most frequent first."""
        counts = ((reason, side, number) for (reason, side), number in self.counts.items())
        return sorted(counts, key=lambda one: (-one[2], one[:2]))

    def __str__(self) -> str:
        among = f"the first {self.checked:,}" if self.checked == CHECKED else f"{self.checked:,}"
        return f"{self.flagged:,} of {among} dialogues"
