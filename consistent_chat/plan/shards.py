"""How work is divided between processes that know nothing of each other: a shard is a property of the plan."""

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
    """One of `count` parts, counted from 1. Together they are the whole, and no two of them share a dialogue.

    A shard is a range of places, as long as any other to within one. The intents of a plan take turns, so a range has
    as many dialogues of each to within one, too, and its responses lie close together in the store.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise _wrong(f"{self.number}/{self.count}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "3/16", the third of sixteen; raises RecipeError."""
        found = re.fullmatch(r"([0-9]{1,18})/([0-9]{1,18})", text)
        if not found:
            raise _wrong(text)
        return cls(int(found[1]), int(found[2]))

    def within(self, length: int) -> range:
        """Return its places among so many."""
        return range(length * (self.number - 1) // self.count, length * self.number // self.count)

    def of(self, plans: Mapping[str, Sized]) -> dict[str, range]:
        """Return its places in the plans of several splits, laid end to end; those in which it has some."""
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
    """Return the recipes as shards can carry them out: what is a near-duplicate, only the whole tells."""
    if any(recipe.drop_near_duplicates for recipe in recipes.values()):
        logger.warning(
            "Near-duplicates show only when all dialogues are there: give serving= to the build as well, which asks "
            "for those that take their places."
        )
    return {split: replace(recipe, drop_near_duplicates=False) for split, recipe in recipes.items()}


def _wrong(text: str) -> RecipeError:
    return RecipeError(f"There is no shard {text!r}. Shards are counted from 1: use 1/16 to 16/16 for sixteen.")
