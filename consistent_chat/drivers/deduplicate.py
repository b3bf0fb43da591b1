"""Replaces near-duplicates of earlier dialogues by the substitutes of their positions in the plan.

Of several near-duplicates the first in plan order is kept. Dialogues are compared only in that order, so the result
depends on the recipe and the responses, not on the order in which responses arrive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from consistent_chat import signals
from consistent_chat.dialogue.dropped import dropped
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import Dialogue, FailedDraw
from consistent_chat.duplicates import KeptTexts, Match, Sketch, dialogue_text, sketched


class Begin(Protocol):
    """Starts the dialogue at a position of the plan with one of its substitutes; `given_up` lists earlier failures."""

    def __call__(self, index: int, substitute: int, given_up: tuple[FailedDraw, ...]) -> PendingDialogue:
        """Start the dialogue. Raises UnfilledSlot if there is no such substitute."""


class Side(NamedTuple):
    """A side of dialogues that is compared: the stage of its messages, and its name in messages."""

    stage: str
    name: str


SIDES = {"user_messages": Side("skeleton", ""), "answers": Side("answers", "answers ")}


class Deduplicator:
    """Compares dialogues with those already kept.

    `thresholds` is the minimum similarity of a duplicate, for each side or for user messages only.
    """

    def __init__(self, thresholds: float | Mapping[str, float], begin: Begin) -> None:
        given = thresholds if isinstance(thresholds, Mapping) else {"user_messages": thresholds}
        self._begin = begin
        self._kept = {side: KeptTexts(given[side]) for side in SIDES if side in given}
        self._sketches: dict[tuple[int, int], dict[str, Sketch]] = {}

    def next(self, pending: deque[PendingDialogue]) -> Dialogue:
        """Remove the first dialogue in progress, in plan order, and return it or its substitute."""
        while (match := self._match(dialogue := finished(pending.popleft()))) is not None:
            pending.appendleft(self._stand_in(dialogue, match))
            if not is_done(pending[0]):
                self._start_ahead(pending)
        for side, sketch in self._sketches.pop(_place(dialogue)).items():
            self._kept[side].add(dialogue.spec.index, sketch)
        return dialogue

    def _start_ahead(self, pending: deque[PendingDialogue]) -> None:
        """Start the substitutes of later duplicates too, while waiting for the first substitute.

        A dialogue that duplicates a kept one now will still do so when its turn comes. Only one substitute per position
        is started: if all dialogues are duplicates, the run stops, and should have cost little.
        """
        for number, later in enumerate(pending):
            if is_done(later) and not _has_failed(later):
                dialogue = finished(later)
                if not dialogue.spec.substitute and (match := self._match(dialogue)) is not None:
                    pending[number] = self._stand_in(dialogue, match)

    def _match(self, dialogue: Dialogue) -> tuple[str, Match] | None:
        """Return the first side that is similar to that of a kept dialogue, or None."""
        place = _place(dialogue)
        if place not in self._sketches:
            texts = ((side, dialogue_text(getattr(dialogue, side))) for side in self._kept)
            self._sketches[place] = {side: sketched(text) for side, text in texts}
        for side, sketch in self._sketches[place].items():
            if (match := self._kept[side].like(dialogue.spec.index, sketch)) is not None:
                return side, match
        return None

    def _stand_in(self, dialogue: Dialogue, match: tuple[str, Match]) -> PendingDialogue:
        del self._sketches[_place(dialogue)]
        spec = dialogue.spec
        return self._begin(spec.index, spec.substitute + 1, (*dialogue.failed, _given_up(dialogue, *match)))


def _place(dialogue: Dialogue) -> tuple[int, int]:
    return dialogue.spec.index, dialogue.spec.substitute


def _has_failed(pending: PendingDialogue) -> bool:
    return not isinstance(pending, Dialogue) and (pending.cancelled() or pending.exception() is not None)


def _given_up(dialogue: Dialogue, compared: str, match: Match) -> FailedDraw:
    """Return an unusable draw that records why a dialogue was dropped."""
    stage, name = SIDES[compared]
    detail, key = f"{name}{match.similarity:.2f} like dialogue {match.earlier}", dialogue.keys[stage == "answers"]
    return dropped(dialogue, stage, key, Reason.NEAR_DUPLICATE, detail, getattr(dialogue, compared))


PendingDialogue = Dialogue | Future[Dialogue]


def is_done(pending: PendingDialogue) -> bool:
    """Return whether a dialogue is finished or has failed."""
    return isinstance(pending, Dialogue) or pending.done()


def finished(pending: PendingDialogue) -> Dialogue:
    """Wait for a dialogue; raises the error that stopped it, or the process."""
    signals.check_stop()
    return pending if isinstance(pending, Dialogue) else signals.result_of(pending)
