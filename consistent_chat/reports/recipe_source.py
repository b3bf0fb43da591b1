"""Reads the rows of a recipe: replays its dialogues from recorded responses, without calls."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.bill import OF_USERS
from consistent_chat.dialogue.work import JUDGE, Dialogue, FailedDraw
from consistent_chat.drivers.replay import walk
from consistent_chat.errors import MissingResponse, UnfilledSlot
from consistent_chat.plan.plan import Plan
from consistent_chat.prices import Tokens, beyond, billed
from consistent_chat.recipe import Recipe
from consistent_chat.reports.records import ReportRow, ReportSource
from consistent_chat.row import failure, row
from consistent_chat.store import ResponseStore


def entries(builder: Any, reading: ReportSource) -> Iterator[ReportRow]:
    """Yield the rows of all splits in plan order with their failed draws. Missing dialogues are noted at the end."""
    for split, plan in builder.plans().items():
        recipe = replace(builder.recipes[split], provenance=True)
        start = 0
        try:
            for dialogue in builder.replay(split):
                start = dialogue.spec.index + 1
                yield _entry(dialogue, recipe)
        except (MissingResponse, UnfilledSlot):
            missing = yield from _rest(recipe, plan, start, builder.store())
            reading.notes.append(
                f"{missing:,} of {len(plan):,} dialogues of {split} are not recorded, or not finished."
            )


def _rest(recipe: Recipe, plan: Plan, start: int, store: ResponseStore) -> Generator[ReportRow, None, int]:
    """Yield the recorded dialogues from an index on, and return how many are missing."""
    missing = 0
    for index in range(start, len(plan)):
        failed: list[FailedDraw] = []
        dialogue = _dialogue(recipe, plan, index, store, failed)
        if dialogue is not None:
            yield _entry(dialogue, recipe)
            continue
        missing += 1
        if failed:
            yield ReportRow(None, [_counted(draw, recipe) for draw in failed], _beyond(failed, recipe))
    return missing


def _entry(dialogue: Dialogue, recipe: Recipe) -> ReportRow:
    """Return a dialogue with its failed draws. Those of specs that were given up have tokens, which the row lacks."""
    own = dialogue.spec.substitute
    drawn = [failure(draw) if draw.spec.substitute == own else _counted(draw, recipe) for draw in dialogue.failed]
    given_up = [draw for draw in dialogue.failed if draw.spec.substitute != own]
    return ReportRow(row(dialogue, recipe), drawn, _beyond_counts(dialogue, given_up, recipe))


def _beyond_counts(dialogue: Dialogue, given_up: list[FailedDraw], recipe: Recipe) -> list[tuple[str, Tokens]]:
    """Return the billed tokens of a place that its row and the draws of given-up specs do not count."""
    (written, judged), users = dialogue.billed, dialogue.billed_users
    judge_in, judge_out = (0, 0) if dialogue.judgement is None else dialogue.judgement[-2:]
    written = beyond(written, dialogue.input_tokens - judge_in, dialogue.output_tokens - judge_out)
    judged = beyond(judged, judge_in, judge_out)
    for draw in given_up:
        if draw.stage == JUDGE:
            judged = beyond(judged, *_counts(draw))
        elif draw.stage in OF_USERS and any(users):
            users = beyond(users, *_counts(draw))
        else:
            written = beyond(written, *_counts(draw))
    each = [(recipe.model or "", written), (recipe.judge_model or "", judged), (recipe.user_writer, users)]
    return [(model, tokens) for model, tokens in each if any(tokens)]


def _beyond(draws: list[FailedDraw], recipe: Recipe) -> list[tuple[str, Tokens]]:
    """Return the same for failed draws."""
    return [(_model(draw, recipe), beyond(billed(draw.response), *_counts(draw))) for draw in draws]


def _counts(draw: FailedDraw) -> tuple[int, int]:
    return draw.response.input_tokens or 0, draw.response.output_tokens or 0


def _model(draw: FailedDraw, recipe: Recipe) -> str:
    if draw.stage in OF_USERS:
        return recipe.user_writer
    return (recipe.judge_model if draw.stage == JUDGE else recipe.model) or ""


def _counted(draw: FailedDraw, recipe: Recipe) -> dict[str, Any]:
    """Return a failed draw as a row with its model and tokens."""
    tokens_in, tokens_out = _counts(draw)
    return {
        **failure(draw),
        "model": _model(draw, recipe) or None,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
    }


def _dialogue(
    recipe: Recipe, plan: Plan, index: int, store: ResponseStore, failed: list[FailedDraw]
) -> Dialogue | None:
    """Return the dialogue at an index of the plan, or None if it is not completely recorded."""
    try:
        step = walk(partial(fill, recipe, plan, index), store, failed=failed).step
    except UnfilledSlot:
        return None
    return step if isinstance(step, Dialogue) else None
