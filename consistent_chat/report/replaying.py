"""Entries of a recipe: its dialogues replayed, as far as they are recorded. Nobody is called."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

from consistent_chat.dialogue import Dialogue, FailedDraw, fill
from consistent_chat.drive.replay import advance
from consistent_chat.drive.ways import any_way
from consistent_chat.errors import MissingResponse, UnfilledSlot
from consistent_chat.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.report.entry import Entry, Reading
from consistent_chat.request import Request
from consistent_chat.row import failure, failures, row
from consistent_chat.store import ResponseStore


def entries(builder: Any, reading: Reading) -> Iterator[Entry]:
    """Yield the rows of all splits in plan order, with their failed draws; what is not recorded is noted at the end."""
    for split, plan in builder.plans().items():
        recipe = replace(builder.recipes[split], provenance=True)
        start = 0
        try:
            for dialogue in builder.replay(split):
                start = dialogue.spec.index + 1
                yield Entry(row(dialogue, recipe), failures(dialogue))
        except (MissingResponse, UnfilledSlot):
            missing = yield from _rest(recipe, plan, start, builder.store())
            reading.notes.append(
                f"{missing:,} of {len(plan):,} dialogues of {split} are not recorded, or not finished."
            )


def _rest(recipe: Recipe, plan: Plan, start: int, store: ResponseStore) -> Generator[Entry, None, int]:
    """Yield what is recorded from a place of the plan on, and return how many dialogues are not there."""
    missing = 0
    for index in range(start, len(plan)):
        failed: list[FailedDraw] = []
        dialogue = _dialogue(recipe, plan, index, store, failed)
        if dialogue is not None:
            yield Entry(row(dialogue, recipe), failures(dialogue))
            continue
        missing += 1
        if failed:
            yield Entry(None, [failure(draw) for draw in failed])
    return missing


def _dialogue(
    recipe: Recipe, plan: Plan, index: int, store: ResponseStore, failed: list[FailedDraw]
) -> Dialogue | None:
    """Return the dialogue at a place of the plan, or None where it is not recorded to its end."""
    try:
        step = advance(fill(recipe, plan, index, failed), None, store.find, _may_ask)
        if isinstance(step, Dialogue):
            return step
        return any_way(lambda: fill(recipe, plan, index), store.find_all, _may_ask)
    except UnfilledSlot:
        return None


def _may_ask(request: Request) -> bool:
    """Say, as a replay does, which requests may be missing: a spec is given up where the recording gave it up."""
    return request.draw < 1
