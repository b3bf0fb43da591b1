"""What judges say about a dialogue: the scores of each, whose fault the flaws are, and the combined result."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from consistent_chat.dialogue import parse
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.recipe.rubric import HIGHEST, Rubric
from consistent_chat.request import Response

CRITERIA = ("consistency", "helpfulness", "naturalness")
"""The criteria of recipes that define none, each scored from 1 (useless) to 5 (flawless)."""
FAULT = "at_fault"
SIDES = ("user", "assistant", "none")
"""Whose messages a judge can find at fault. Only judges of recipes that define criteria are asked for this."""
MAX_REASON = 5_000
"""Maximum characters of a reason; the prompt asks for one or two sentences."""


class Opinion(NamedTuple):
    """What one judge says: a score and a reason for each criterion, in order, and whose fault the flaws are.

    The tokens are those of all its responses for a spec; 0 if the provider gave no counts.
    """

    model: str
    scores: tuple[tuple[int, str], ...]
    fault: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True)
class Judgement:
    """What all judges of a dialogue say together.

    The score of a criterion is the median of the judges' scores (the lower one of the middle two, if their number is
    even), with the reason of the first judge who gave that score. `rubric` has the weights of the criteria; it is None
    for the three built-in criteria, and if the weights are unknown.
    """

    criteria: tuple[str, ...]
    opinions: tuple[Opinion, ...]
    rubric: Rubric | None = None

    @cached_property
    def said(self) -> dict[str, tuple[int, str]]:
        """The score and the reason by criterion."""
        columns = zip(*(opinion.scores for opinion in self.opinions))
        return {name: _median(column) for name, column in zip(self.criteria, columns)}

    @property
    def scores(self) -> dict[str, int]:
        """The scores by criterion."""
        return {name: score for name, (score, _) in self.said.items()}

    @property
    def score(self) -> float:
        """The overall score: the weighted mean if there is a rubric, else the lowest score.

        With the built-in criteria a high score in one does not make up for a low one in another.
        """
        return min(self.scores.values()) if self.rubric is None else self.rubric.score(self.scores)

    @property
    def missed(self) -> tuple[str, ...]:
        """The criteria whose scores are below what the rubric demands of each."""
        return () if self.rubric is None else self.rubric.missed(self.scores)

    @property
    def fault(self) -> str:
        """Whose fault the flaws are according to most judges; "assistant" if they are tied, "" if not asked."""
        votes = Counter(opinion.fault for opinion in self.opinions)
        first, *others = votes.most_common()
        return "assistant" if any(count == first[1] for _, count in others) else first[0]

    @property
    def agreement(self) -> float:
        """The agreement of the judges: 1 if all scores are the same, 0 if each pair is as far apart as possible."""
        pairs = [
            abs(one - other)
            for column in zip(*([score for score, _ in opinion.scores] for opinion in self.opinions))
            for one, other in itertools.combinations(column, 2)
        ]
        return round(1 - statistics.fmean(pairs) / (HIGHEST - 1), 6) if pairs else 1.0

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the judges."""
        return tuple(opinion.model for opinion in self.opinions)

    @property
    def worst(self) -> str:
        """The worst criterion, with its score, its reason and whose fault it is; one below its minimum goes first."""
        name = min(self.missed or self.criteria, key=self.scores.__getitem__)
        score, reason = self.said[name]
        return f"{name} {score}: {reason}" + (f" (at fault: {self.fault})" if self.fault else "")

    def plain(self) -> dict[str, Any]:
        """Return the judgement as plain data, as its column stores it."""
        several = {"agreement": self.agreement, "judges": list(map(self._own, self.opinions))}
        return {
            **_columns(self.criteria, tuple(self.said.values())),
            **({} if self.rubric is None else {"score": self.score}),
            **({FAULT: self.fault} if self.fault else {}),
            **(several if len(self.opinions) > 1 else {}),
            "model": ", ".join(self.models),
            "input_tokens": sum(opinion.input_tokens for opinion in self.opinions),
            "output_tokens": sum(opinion.output_tokens for opinion in self.opinions),
        }

    def _own(self, opinion: Opinion) -> dict[str, Any]:
        fault = {FAULT: opinion.fault} if opinion.fault else {}
        tokens = {"input_tokens": opinion.input_tokens, "output_tokens": opinion.output_tokens}
        return {**_columns(self.criteria, opinion.scores), **fault, "model": opinion.model, **tokens}


def read(response: Response, criteria: Sequence[str], with_fault: bool = False) -> tuple[Any, str]:
    """Return a score (a whole number from 1 to 5) and a reason for each criterion, and whose fault the flaws are.

    The fault is "" unless `with_fault`. Raises Unusable.
    """
    if not with_fault:
        return parse.scores(response, criteria), ""
    parse.check_finish(response)
    value = parse.json_answer(response, lambda value: _judged(value, criteria))
    return _judged(value, criteria)


def _judged(value: Any, criteria: Sequence[str]) -> tuple[tuple[tuple[int, str], ...], str]:
    fault = value.get(FAULT) if isinstance(value, dict) else None
    scores = parse.read_scores(value, criteria, (FAULT,))
    if fault not in SIDES:
        raise Unusable(Reason.NO_SCORE, f"{FAULT!r} is not one of {', '.join(SIDES)}")
    for name, (_, reason) in zip(criteria, scores):
        if len(reason) > MAX_REASON:
            raise Unusable(Reason.WRONG_SHAPE, f"the reason for {name!r} has {len(reason):,} characters")
    return scores, fault


def _columns(criteria: Sequence[str], said: Sequence[tuple[int, str]]) -> dict[str, Any]:
    scores = {name: score for name, (score, _) in zip(criteria, said)}
    return {**scores, **{f"{name}_reason": reason for name, (_, reason) in zip(criteria, said)}}


def _median(said: Sequence[tuple[int, str]]) -> tuple[int, str]:
    score = statistics.median_low([score for score, _ in said])
    return score, next(reason for own, reason in said if own == score)


SCORES = [name for criterion in CRITERIA for name in (f"{criterion}_reason", criterion)]
"""The fields of a judge's answer with the built-in criteria.

With others, a last field says whose fault the flaws are.
"""
COMPARISON = "comparison"
"""The stage of requests that compare two answers, for stores that did not keep the stage: a judge's."""
PLACES = ("first", "second")
"""The names of the two answers in a comparison."""
_FIRST_FIELD = {"first_reason": COMPARISON, "user_1": "skeleton", "assistant_1": "answers", "message": "user_message"}


def stage_of(schema: Mapping[str, Any] | None) -> str:
    """Return the stage whose answers have this schema, or "" for other requests."""
    if schema is None:
        return "answer"
    names = list(schema.get("required", ()))
    if names == SCORES or names[-1:] == [FAULT]:
        return "judge"
    return _FIRST_FIELD.get(names[0], "") if names and isinstance(names[0], str) else ""
