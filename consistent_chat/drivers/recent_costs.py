"""The costs of a stage's recent calls, and what they say about the next call.

A prompt's cost follows its length, which differs between calls much more than that of answers: a later turn repeats all
earlier ones, and a source or a judged chat has any length. So the two parts are kept apart.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

RECENT_CALLS = 100
"""Number of recent calls of a stage that determine the costs of the next."""
LIKELY_QUANTILE = 0.9
"""An answer is likely to cost this quantile of the recent ones at most."""


class _Rates(NamedTuple):
    """US dollars per character of a prompt, and for an answer."""

    most: tuple[float, float]
    likely: tuple[float, float]
    in_batch: tuple[float, float]


class RecentCosts:
    """The last RECENT_CALLS calls of one model and stage. Costs are in US dollars."""

    def __init__(self) -> None:
        self._calls: deque[tuple[int, float, float]] = deque(maxlen=RECENT_CALLS)
        self._known: _Rates | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, characters: int, prompt: float, answer: float) -> None:
        """Record a call: the characters of its prompt, and what prompt and answer have cost."""
        self._calls.append((max(1, characters), prompt, answer))
        self._known = None

    def most(self, characters: int) -> float:
        """Return what a call with a prompt of this length costs at the highest recent costs."""
        return _applied(self._rates().most, characters)

    def likely(self, characters: int) -> float:
        """Return a cost that most calls with a prompt of this length do not exceed."""
        return _applied(self._rates().likely, characters)

    def in_batch(self, characters: int) -> float:
        """Return a cost that calls of a batch do not exceed on average, also if a few answers are very long."""
        return _applied(self._rates().in_batch, characters)

    def _rates(self) -> _Rates:
        if self._known is None:
            characters, prompts, answers = zip(*self._calls)
            prompt, answer = sum(prompts) / sum(characters), sum(answers) / len(answers)
            # statistics.pstdev takes five times as long
            deviation = math.sqrt(sum((cost - answer) ** 2 for cost in answers) / len(answers))
            likely = sorted(answers)[round(LIKELY_QUANTILE * (len(answers) - 1))]
            highest = max(cost / length for length, cost in zip(characters, prompts)), max(answers)
            self._known = _Rates(highest, (prompt, likely), (prompt, max(likely, answer + deviation)))
        return self._known


def _applied(rates: tuple[float, float], characters: int) -> float:
    return rates[0] * characters + rates[1]
