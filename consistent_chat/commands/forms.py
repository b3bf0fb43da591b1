"""Compares what a recipe takes in the three forms of making dialogues: waves, calls, tokens and dollars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from consistent_chat.commands.estimate import estimate
from consistent_chat.errors import RecipeError
from consistent_chat.plan.cards import Spec
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore

FORMS = (("at_once", "at_once"), ("at_once", "turn_by_turn"), ("turn_by_turn", "turn_by_turn"))
"""How the user's messages and the answers are written, the cheapest first."""
LOOKED_AT = 45
"""Dialogues at the beginning of a plan from which all are estimated."""


@dataclass(frozen=True)
class FormEstimate:
    """What a whole plan takes in one form, without recorded responses and without a provider's prefix cache.

    `waves` is how many requests of a dialogue follow each other, at most; `cost` is in US dollars, None if a price is
    not known.
    """

    users: str
    answers: str
    waves: int
    calls: int
    input_tokens: int
    output_tokens: int
    cost: float | None

    def __str__(self) -> str:
        cost = "no known price" if self.cost is None else f"${self.cost:,.4f}"
        return (
            f"users {self.users}, answers {self.answers}: {self.waves} waves, {self.calls:,} calls, "
            f"{self.input_tokens:,} tokens in, {self.output_tokens:,} tokens out, {cost}"
        )


def compare(recipe: Recipe, plan: Plan) -> list[FormEstimate]:
    """Return an estimate for each form that the recipe can have; empty for an empty plan."""
    found = []
    for users, answers in FORMS if len(plan) else ():
        try:
            form = replace(recipe, users=users, answers=answers)
        except RecipeError:  # a field that does not combine with the form
            continue
        found.append(_estimate(form, plan))
    return found


def _estimate(recipe: Recipe, plan: Plan) -> FormEstimate:
    beginning = cast("Plan", _Beginning(plan))
    one, scale = estimate(recipe, beginning, cast("ResponseStore", _Nothing())), len(plan) / len(beginning)
    calls, tokens_in, tokens_out = (round(scale * each) for each in (one.calls, one.input_tokens, one.output_tokens))
    cost = None if one.cost is None else scale * one.cost
    return FormEstimate(recipe.users, recipe.answers, recipe.most_waves, calls, tokens_in, tokens_out, cost)


class _Beginning:
    """The first dialogues of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __len__(self) -> int:
        return min(len(self._plan), LOOKED_AT)

    def __getitem__(self, index: int) -> Spec:
        return self._plan[index]

    def spec(self, index: int, substitute: int = 0) -> Spec:
        """Return the spec of a place."""
        return self._plan.spec(index, substitute)


class _Nothing:
    """A store without responses."""

    def find(self, request: Request) -> Response | None:
        """Return None."""
        return None

    def find_all(self, request: Request) -> list[Response]:
        """Return no response."""
        return []
