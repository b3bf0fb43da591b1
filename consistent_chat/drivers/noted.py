"""Replays dialogues with the responses that they used before on this machine, and notes what dialogues used.

What a note says is never trusted: its responses are found in the store, compared with their digests and parsed. If
anything is unexpected, `walk` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from consistent_chat.dialogue.at_once import is_plain, recorded
from consistent_chat.dialogue.work import Dialogue, FailedDraw, Steps
from consistent_chat.drivers.replay import NotingSteps, UsedRecord, used_by, walk_used
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.used import Used, UsedResponses

Begin = Callable[[int, list[FailedDraw], int], Steps]
"""Starts the dialogue at a position of the plan with a substitute; its unusable answers are appended to the list."""


class NotedDialogues:
    """The dialogues of a recipe about which there are notes.

    `begin` starts one. If it is `fill`, `plan` is that of the recipe, so that plain dialogues can be made directly. The
    responses of the dialogues that follow in the plan are read ahead.
    """

    def __init__(
        self, recipe: Recipe, plan: Plan | None, begin: Begin, store: ResponseStore, notes: UsedResponses
    ) -> None:
        self._recipe, self._begin, self._store, self._notes = recipe, begin, store, notes
        self._plan = plan if is_plain(recipe) else None
        self._has_checks = recipe.has_checks
        self._ahead: dict[int, list[Used]] = {}

    def steps(self, index: int, substitute: int, failed: list[FailedDraw]) -> Steps:
        """Start a dialogue that notes what it uses."""
        return NotingSteps(self._begin(index, failed, substitute))

    def replayed(self, index: int) -> Dialogue | None:
        """Return the dialogue at an index with the responses that it used before, if the store still has them."""
        if self._notes.is_due(index):
            self._ahead = {}  # `note` may find that all notes are wrong
            return None
        used = self._used(index)
        responses = self._found(used)
        if not responses:  # also if the notes were made with another store
            return None
        plain = None if self._plan is None else self._plain(self._plan, index, used, responses)
        return plain or self._walked(index, used)

    def note(self, dialogue: Dialogue, failed: Sequence[FailedDraw], substitute: int, steps: Steps) -> None:
        """Note which responses a dialogue used, however it was finished, and which of them passed the checks.

        Dialogues with unusable responses or substitutes are replayed without notes.
        """
        used = used_by(steps)
        self._mark_checked(dialogue, used)
        if not (failed or substitute) and all(record.digest for record in used):
            self._notes.add(dialogue.spec.index, [record[:2] for record in used])

    def save(self) -> None:
        """Keep the notes for the next run."""
        self._notes.save()

    def _used(self, index: int) -> list[Used]:
        if index not in self._ahead:
            self._ahead = self._notes.following(index)
            self._store.read_ahead([key for used in self._ahead.values() for key, _ in used])
        return self._ahead.get(index, [])

    def _found(self, used: Sequence[Used]) -> list[Response]:
        """Return all responses that were used; none if the store lacks one."""
        responses = list[Response]()
        for key, digest in used:
            if (response := self._store.find_used(key, digest)) is None:
                return []
            responses.append(response)
        return responses

    def _plain(self, plan: Plan, index: int, used: Sequence[Used], responses: Sequence[Response]) -> Dialogue | None:
        """Make the dialogue directly, if all its responses have passed the checks before."""
        if self._has_checks and not all(response.checked for response in responses):
            return None
        return recorded(self._recipe, plan, index, [key for key, _ in used], responses)

    def _walked(self, index: int, used: Sequence[Used]) -> Dialogue | None:
        progress = walk_used(partial(self.steps, index, 0), used, self._store.find_used)
        if progress is None or not isinstance(progress.step, Dialogue):
            return None
        self._mark_checked(progress.step, used_by(progress.steps))
        return progress.step

    def _mark_checked(self, dialogue: Dialogue, used: Sequence[UsedRecord]) -> None:
        """Record that the dialogue passed the checks, so that its next replay does not check it again."""
        for key, digest, is_checked in used if self._has_checks else ():
            if digest and not is_checked and key in dialogue.keys:
                self._store.mark_checked(key, digest)
