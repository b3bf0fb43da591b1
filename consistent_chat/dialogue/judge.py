"""What the judge says of a dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

CRITERIA = ("consistency", "helpfulness", "naturalness")
"""What a dialogue is scored by, each from 1 (of no use) to 5 (nothing to object to)."""


class Judgement(NamedTuple):
    """Scores with their reasons, the judge's model, and the tokens of all that it said of a spec's dialogues.

    Tokens are 0 where the provider gave no counts.
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
        """Put scores and reasons, in the order of the criteria, into their places; `tokens` are in and out."""
        (one, why), (two, for_two), (three, for_three) = scores
        return cls(one, two, three, why, for_two, for_three, model, *tokens)

    @property
    def score(self) -> int:
        """The least of the three: what is excellent in one respect does not make up for another."""
        return min(self.consistency, self.helpfulness, self.naturalness)

    @property
    def worst(self) -> str:
        """The criterion with the least score, with its reason."""
        name = min(CRITERIA, key=lambda criterion: int(getattr(self, criterion)))
        return f"{name} {getattr(self, name)}: {getattr(self, f'{name}_reason')}"

    def plain(self) -> dict[str, Any]:
        """Return the judgement as plain data, in the form of its column."""
        return self._asdict()
