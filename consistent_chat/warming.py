"""Fills a response store and writes no dataset: what `consistent-chat warm` does."""

from __future__ import annotations

from typing import Any

from consistent_chat.drive import Tally
from consistent_chat.opening import open_builder
from consistent_chat.shards import Shard, independent


def warm(recipe: str | None = None, shard: str = "1/1", **options: Any) -> dict[str, Tally]:
    """Fill the response store with one shard's responses; return what that took, by split.

    Args:
        recipe: path or URL of a recipe file, or the name of a config; None for the options alone.
        shard: "3/16" is the third of sixteen, counted from 1. Together they are the whole plan.
        options: all that `load_dataset("consistent_chat", ...)` takes. The limits are this process's own.

    Raises:
        RecipeError: there is no such shard, or something else is wrong; nothing was called.
        BudgetSpent: `max_calls` or `max_cost` is reached; all answers are kept.
        ConsistentChatError: the store or the serving cannot be used.
    """
    part = Shard.parse(shard)
    builder = open_builder(recipe, **options)
    if part.count > 1:
        builder.recipes = independent(builder.recipes)
    return builder.fill(part.of(builder.plans()))
