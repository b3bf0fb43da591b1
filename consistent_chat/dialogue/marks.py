"""Applies a review to a finished dialogue: an edit stands in it, and a rejection gives it up for its substitute."""

from __future__ import annotations

import json

from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import JUDGE, Dialogue, FailedDraw, SpecFailed
from consistent_chat.prices import billed, counted
from consistent_chat.recipe.review import Mark, Review


def reviewed(dialogue: Dialogue, review: Review | None, failed: list[FailedDraw]) -> Dialogue:
    """Return a dialogue with its mark's edits. Raises SpecFailed, and notes why in `failed`, if the mark rejects it."""
    mark = None if review is None else review.of(_key(dialogue))
    if mark is None:
        return dialogue
    if mark.verdict == "reject":
        failed.append(_given_up(dialogue, mark))
        raise SpecFailed
    return _edited(dialogue, mark)._replace(mark=mark)


def _key(dialogue: Dialogue) -> str:
    """Return the key of the last answers, which no other dialogue has: the judge's may be another on another day."""
    judges = 0 if dialogue.judgement is None else len(dialogue.judgement.opinions)
    return dialogue.keys[-1 - judges]


def _edited(dialogue: Dialogue, mark: Mark) -> Dialogue:
    """Return a dialogue with the edited messages; edits of turns that it does not have are left out."""
    sides = {"user": list(dialogue.user_messages), "assistant": list(dialogue.answers)}
    edited = []
    for name, text in mark.edits:
        role, _, turn = name.partition("_")
        if int(turn) <= len(sides[role]):
            sides[role][int(turn) - 1] = text
            edited.append(name)
    users, answers = map(tuple, sides.values())
    return dialogue._replace(user_messages=users, answers=answers, edited=tuple(edited))


def _given_up(dialogue: Dialogue, mark: Mark) -> FailedDraw:
    """Return the answers as an unusable draw, with the billed tokens of their dialogue.

    The unusable draws before it have their own tokens.
    """
    spec, stage = dialogue.spec, "answers"
    draw = sum(one.spec == spec and one.stage == stage for one in dialogue.failed)
    said = {f"assistant_{turn}": text for turn, text in enumerate(dialogue.answers, 1)}
    tokens, _ = dialogue.billed
    for one in dialogue.failed:
        tokens = tokens.minus(billed(one.response)) if one.stage != JUDGE else tokens
    response = counted(json.dumps(said, ensure_ascii=False), tokens)
    return FailedDraw(spec, stage, draw, _key(dialogue), Reason.REJECTED, mark.reason, response)
