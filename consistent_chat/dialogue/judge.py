"""The judge's scores of a dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

CRITERIA = ("consistency", "helpfulness", "naturalness")
"""The criteria by which a dialogue is scored, each from 1 (useless) to 5 (flawless)."""


class Judgement(NamedTuple):
    """Scores with their reasons, the judge's model, and the tokens of all its responses for a spec.

    Tokens are 0 if the provider gave no counts.
    """

    consistency: int
    helpfulness: int
    naturalness: int
    consistency_reason: str
    helpfulness_reason: str
    naturalness_reason: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0

    @classmethod
    def of(cls, scores: Sequence[tuple[int, str]], model: str, tokens: tuple[int, int] = (0, 0)) -> Judgement:
        """Return a judgement from scores and reasons, in the order of the criteria; `tokens` are (in, out)."""
        (one, why), (two, for_two), (three, for_three) = scores
        return cls(one, two, three, why, for_two, for_three, model, *tokens)

    @property
    def score(self) -> int:
        """The lowest of the three: a high score in one criterion does not make up for a low one in another."""
        return min(self.consistency, self.helpfulness, self.naturalness)

    @property
    def worst(self) -> str:
        """The criterion with the lowest score, with its reason."""
        name = min(CRITERIA, key=lambda criterion: int(getattr(self, criterion)))
        return f"{name} {getattr(self, name)}: {getattr(self, f'{name}_reason')}"

    def plain(self) -> dict[str, Any]:
        """Return the judgement as plain data, as its column stores it."""
        return self._asdict()
