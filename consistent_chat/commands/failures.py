"""The unusable answers of a build as a table: of a finished build all, of a stopped one those that are recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import datasets

from consistent_chat import row
from consistent_chat.builder import ConsistentChat
from consistent_chat.commands.estimate import GAP
from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.work import FailedDraw
from consistent_chat.drivers.replay import walk
from consistent_chat.errors import UnfilledSlot

TEXT, NUMBER = datasets.Value("string"), datasets.Value("int64")
FAILURES = datasets.Features(
    {
        "split": TEXT,
        "index": NUMBER,
        **dict.fromkeys(("intent", "category", "topic"), TEXT),
        "substitute": NUMBER,
        "stage": TEXT,
        "draw": NUMBER,
        **dict.fromkeys(("reason", "detail", "response", "finish", "request_key"), TEXT),
    }
)
"""The columns of `row.failures`."""


def all_failures(builder: ConsistentChat) -> datasets.Dataset:
    """Return the unusable answers of a finished build, in the order of the plan."""
    return _table(
        {"split": split, **failure}
        for split in builder.recipes
        for dialogue in builder.replay(split)
        for failure in row.failures(dialogue)
    )


def failures_so_far(builder: ConsistentChat) -> datasets.Dataset:
    """Return the recorded unusable answers of a build that stopped, those of unfinished dialogues too.

    A plan is looked through until GAP dialogues in a row have no recorded response. Raises StoreError.
    """
    return _table(failure for split in builder.recipes for failure in _recorded(builder, split))


def _recorded(builder: ConsistentChat, split: str) -> Iterator[dict[str, Any]]:
    recipe, plan, store = builder.recipes[split], builder.plans()[split], builder.recorded()
    gap = 0
    for index in range(len(plan)):
        failed: list[FailedDraw] = []
        try:
            is_recorded = bool(walk(partial(fill, recipe, plan, index), store, failed=failed).used)
        except UnfilledSlot:
            is_recorded = True
        yield from ({"split": split, **row.failure(draw)} for draw in failed)
        gap = 0 if is_recorded else gap + 1
        if gap == GAP:
            return


def _table(failures: Iterable[dict[str, Any]]) -> datasets.Dataset:
    rows = [*failures]
    return datasets.Dataset.from_dict({name: [values[name] for values in rows] for name in FAILURES}, FAILURES)
