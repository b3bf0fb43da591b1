"""Tells whether a server's limits bound the requests of a plan. It makes no calls: it knows only stated limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.work import ANSWER_TOKENS, FRAME_TOKENS
from consistent_chat.errors import ServingError
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.serving.cap import MESSAGE_TOKENS, check_fits, prompt_tokens
from consistent_chat.serving.roles import of_role, role_of
from consistent_chat.serving.settings import UNKNOWN, Abilities


class Stated(NamedTuple):
    """The limits that a user states, in tokens; None is unknown."""

    cap: int | None
    context: int | None
    density: float | None = None


def bound_by(recipe: Recipe, plan: Plan, abilities: Abilities | Mapping[str, Abilities]) -> str:
    """Return which stated limit binds and what it leaves for the answers of a dialogue, or an empty string.

    Of abilities by role, those of the user's side bound its messages, and those of the assistant the answers.

    If dialogues cannot fit, return the error with which a build would stop.
    """
    request = next(fill(recipe, plan, 0))
    if request.stage not in ("skeleton", "answers"):
        return ""  # message by message: how long a chat becomes is not known
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
