"""Gives up dialogues that nearly duplicate an earlier one, and passes to the substitutes of their places in the plan.

The first in plan order is kept. Dialogues are compared only in that order, so the result depends on the recipe and the
responses, not on their order of arrival.
"""

from __future__ import annotations

import json
from collections import deque
from concurrent.futures import Future
from typing import Protocol

from consistent_chat.dialogue.at_once import JUDGE, Dialogue, FailedDraw
from consistent_chat.dialogue.parse import Reason
from consistent_chat.duplicates import KeptTexts, Match, Sketch, dialogue_text, sketched
from consistent_chat.prices import billed, counted


class Begin(Protocol):
    """Starts the dialogue at a place of the plan with one of its substitutes; `given_up` lists earlier failures."""

    def __call__(self, index: int, substitute: int, given_up: tuple[FailedDraw, ...]) -> PendingDialogue:
        """Start it. Raises UnfilledSlot if there is no such substitute."""


class Deduplicator:
    """Compares dialogues with those already kept.

    `threshold` is the similarity from which one counts as a duplicate.
    """

    def __init__(self, threshold: float, begin: Begin) -> None:
        self._kept, self._begin = KeptTexts(threshold), begin
        self._sketches: dict[tuple[int, int], Sketch] = {}

    def next(self, pending: deque[PendingDialogue]) -> Dialogue:
        """Remove the first dialogue in progress, in plan order, and return it or its substitute."""
        while (match := self._match(dialogue := finished(pending.popleft()))) is not None:
            pending.appendleft(self._stand_in(dialogue, match))
            if not is_done(pending[0]):
                self._start_ahead(pending)
        self._kept.add(dialogue.spec.index, self._sketches.pop(_place(dialogue)))
        return dialogue

    def _start_ahead(self, pending: deque[PendingDialogue]) -> None:
        """Start the substitutes of later duplicates too, while waiting for the first substitute.

        A dialogue that duplicates a kept one now will still do so in its turn. Only one substitute per place: if all
        dialogues are duplicates, the run stops and should cost little.
        """
        for number, later in enumerate(pending):
            if is_done(later) and not _has_failed(later):
                dialogue = finished(later)
                if not dialogue.spec.substitute and (match := self._match(dialogue)) is not None:
                    pending[number] = self._stand_in(dialogue, match)

    def _match(self, dialogue: Dialogue) -> Match | None:
        place = _place(dialogue)
        if place not in self._sketches:
            self._sketches[place] = sketched(dialogue_text(dialogue.user_messages))
        return self._kept.like(dialogue.spec.index, self._sketches[place])

    def _stand_in(self, dialogue: Dialogue, match: Match) -> PendingDialogue:
        del self._sketches[_place(dialogue)]
        spec = dialogue.spec
        return self._begin(spec.index, spec.substitute + 1, (*dialogue.failed, _given_up(dialogue, match)))


def _place(dialogue: Dialogue) -> tuple[int, int]:
    return dialogue.spec.index, dialogue.spec.substitute


def _has_failed(pending: PendingDialogue) -> bool:
    return not isinstance(pending, Dialogue) and (pending.cancelled() or pending.exception() is not None)


def _given_up(dialogue: Dialogue, match: Match) -> FailedDraw:
    """Return the skeleton as an unusable draw, with its messages and the billed tokens of its dialogue.

    The unusable draws before it have their own tokens.
    """
    spec, stage = dialogue.spec, "skeleton"
    draw = sum(failed.spec == spec and failed.stage == stage for failed in dialogue.failed)
    said = {f"user_{turn}": text for turn, text in enumerate(dialogue.user_messages, 1)}
    detail = f"{match.similarity:.2f} like dialogue {match.earlier}"
    tokens, _ = dialogue.billed
    for failed in dialogue.failed:
        tokens = tokens.minus(billed(failed.response)) if failed.stage != JUDGE else tokens
    response = counted(json.dumps(said, ensure_ascii=False), tokens)
    return FailedDraw(spec, stage, draw, dialogue.keys[0], Reason.NEAR_DUPLICATE, detail, response)


PendingDialogue = Dialogue | Future[Dialogue]


def is_done(pending: PendingDialogue) -> bool:
    """Return whether a dialogue is finished or has failed."""
    return isinstance(pending, Dialogue) or pending.done()


def finished(pending: PendingDialogue) -> Dialogue:
    """Wait for a dialogue; raises the error that stopped it."""
    return pending if isinstance(pending, Dialogue) else pending.result()
