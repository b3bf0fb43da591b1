"""Additional lines of `consistent-chat estimate`, computed without calls.

They show the stated limit of a server that applies to the requests of a plan, and the calls and tokens of the plan in
each form of making dialogues.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

from consistent_chat.commands.estimate import estimate
from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.work import ANSWER_TOKENS, FRAME_TOKENS
from consistent_chat.errors import RecipeError, ServingError
from consistent_chat.plan.cards import Spec
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.serving.cap import MESSAGE_TOKENS, check_fits, prompt_tokens
from consistent_chat.serving.roles import of_role, role_of
from consistent_chat.serving.settings import UNKNOWN, Abilities
from consistent_chat.store import ResponseStore


class Stated(NamedTuple):
    """The limits that a user states, in tokens; None if unknown."""

    cap: int | None
    context: int | None
    density: float | None = None


def bound_by(recipe: Recipe, plan: Plan, abilities: Abilities | Mapping[str, Abilities]) -> str:
    """Return a line about the stated limit that applies and what it leaves for the answers of a dialogue, or "".

    With abilities by role, those of the user's side apply to the user messages, and those of the assistant to the
    answers. If dialogues cannot fit, return the error with which a build would stop.
    """
    request = next(fill(recipe, plan, 0))
    if request.stage not in ("skeleton", "answers"):
        return ""  # message by message: the length of a chat is unknown
    stated = _stated(abilities, "assistant")
    try:
        check_fits(request, _stated(abilities, role_of(request.stage)))
    except ServingError as error:
        return str(error)
    turns = len(request.fields)
    rooms = {"max_output_tokens": stated.cap, "context_tokens": None}
    if stated.context is not None:
        rooms["context_tokens"] = stated.context - prompt_tokens(request) - turns * MESSAGE_TOKENS["skeleton"]
    room, name = min(((room, name) for name, room in rooms.items() if room is not None), default=(None, ""))
    asked = FRAME_TOKENS + turns * ANSWER_TOKENS
    if room is None or room >= asked:
        return ""
    usual = turns * MESSAGE_TOKENS["answers"]
    return (
        f"limit: {name}= leaves {room:,} of {asked:,} tokens for the answers of a dialogue; typical ones take {usual:,}"
    )


def _stated(abilities: Abilities | Mapping[str, Abilities], role: str) -> Stated:
    known = of_role(abilities, role, UNKNOWN)
    return Stated(known.max_output_tokens, known.context_tokens)


FORMS = (("at_once", "at_once"), ("at_once", "turn_by_turn"), ("turn_by_turn", "turn_by_turn"))
"""How the user's messages and the answers are written, the cheapest first."""
LOOKED_AT = 45
"""Number of dialogues at the beginning of a plan from which the rest is estimated."""


@dataclass(frozen=True)
class FormEstimate:
    """The requirements of a whole plan in one form, without recorded responses and without a provider's prefix cache.

    `waves` is the maximum number of consecutive requests of a dialogue; `cost` is in US dollars, None if a price is
    unknown.
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
        """Return the spec at an index."""
        return self._plan.spec(index, substitute)


class _Nothing:
    """A store without responses."""

    def find(self, request: Request) -> Response | None:
        """Return None."""
        return None

    def find_all(self, request: Request) -> list[Response]:
        """Return no response."""
        return []
