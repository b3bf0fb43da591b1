"""Tells whether a server's limits bound the requests of a plan. It makes no calls: it knows only stated limits."""

from __future__ import annotations

from typing import NamedTuple

from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.work import ANSWER_TOKENS, FRAME_TOKENS
from consistent_chat.errors import ServingError
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.serving.abilities import Abilities
from consistent_chat.serving.cap import MESSAGE_TOKENS, check_fits, prompt_tokens


class Stated(NamedTuple):
    """The limits that a user states, in tokens; None is unknown."""

    cap: int | None
    context: int | None
    density: float | None = None


def bound_by(recipe: Recipe, plan: Plan, abilities: Abilities) -> str:
    """Return which stated limit binds and what it leaves for the answers of a dialogue, or an empty string.

    If dialogues cannot fit, return the error with which a build would stop.
    """
    request = next(fill(recipe, plan, 0))
    if request.stage not in ("skeleton", "answers"):
        return ""  # message by message: how long a chat becomes is not known
    stated = Stated(abilities.max_output_tokens, abilities.context_tokens)
    try:
        check_fits(request, stated)
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
