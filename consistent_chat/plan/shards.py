"""Shards: parts of a plan for processes that do not communicate. A shard depends on the plan alone."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass, replace

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a plan, numbered from 1. Every dialogue is in exactly one shard.

    A shard is a range of indices; the lengths of two shards differ by one at most. The intents of a plan take turns, so
    each shard also has about equally many dialogues of each intent. The responses of a range are close together in the
    store.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise _wrong(f"{self.number}/{self.count}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse a shard such as "3/16", the third of sixteen. Raises RecipeError."""
        found = re.fullmatch(r"([0-9]{1,18})/([0-9]{1,18})", text)
        if not found:
            raise _wrong(text)
        return cls(int(found[1]), int(found[2]))

    def within(self, length: int) -> range:
        """Return its range of this many indices."""
        return range(length * (self.number - 1) // self.count, length * self.number // self.count)

    def of(self, plans: Mapping[str, Sized]) -> dict[str, range]:
        """Return its range in each split, as if the plans of the splits were one. Splits with no index are left out."""
        whole = self.within(sum(map(len, plans.values())))
        places, before = {}, 0
        for split, plan in plans.items():
            part = range(max(whole.start - before, 0), min(whole.stop - before, len(plan)))
            if part:
                places[split] = part
            before += len(plan)
        return places

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def independent(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Return the recipes without the search for near-duplicates, which needs all dialogues."""
    if any(recipe.drop_near_duplicates for recipe in recipes.values()):
        logger.warning(
            "A shard cannot find near-duplicates, which takes all dialogues: pass serving= to the build as well, which "
            "requests their substitutes."
        )
    return {split: replace(recipe, drop_near_duplicates=False) for split, recipe in recipes.items()}


def _wrong(text: str) -> RecipeError:
    return RecipeError(f"There is no shard {text!r}. Shards are numbered from 1: use 1/16 to 16/16 for sixteen.")
