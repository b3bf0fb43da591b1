"""Opens a builder from the arguments of a command: a recipe's path, URL or name, and fields that override it."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from typing import Any

import datasets

from consistent_chat.builder import ConsistentChat
from consistent_chat.drivers import RunStats
from consistent_chat.errors import RecipeError
from consistent_chat.plan.splits import Shard, independent
from consistent_chat.recipe import EXTENSION
from consistent_chat.registration import NAME
from consistent_chat.text.sanitize import without_secrets


def open_builder(recipe: str | Mapping[str, str] | None, **options: Any) -> ConsistentChat:
    """Return the builder for a recipe file (or one per split), a config's name, or the options alone.

    An option that is None counts as omitted. Raises RecipeError for other values of `recipe`, and for errors in the
    recipe.
    """
    given = {name: value for name, value in options.items() if value is not None}
    builder: ConsistentChat = datasets.load_dataset_builder(NAME, **_named(recipe), **given)
    return builder


def _named(recipe: str | Mapping[str, str] | None) -> dict[str, Any]:
    """Return whether a recipe is the name of a config; False for a recipe file."""
    if recipe is None:
        return {}
    if isinstance(recipe, Mapping):
        return {"data_files": {split: _named(path)["data_files"] for split, path in recipe.items()}}
    if recipe in datasets.load_dataset_builder(NAME).builder_configs:
        return {"name": recipe}
    if not without_secrets(recipe).endswith((EXTENSION, ".yaml", ".yml")):
        raise RecipeError(
            f"{without_secrets(recipe)!r} is neither a config (demo, demo_languages, default, an intent) nor a recipe "
            f"file (*{EXTENSION}). Check the name."
        )
    if "://" in recipe:
        return {"data_files": recipe}
    if not os.path.isfile(os.path.expanduser(recipe)):
        raise RecipeError(f"There is no recipe file {recipe}. Check the path.")
    return {"data_files": glob.escape(recipe)}


def warm(recipe: str | None = None, shard: str = "1/1", **options: Any) -> dict[str, RunStats]:
    """Fill the response store with one shard's responses; return the counts by split.

    Args: recipe: path or URL of a recipe file, or the name of a config; None for the options alone. shard: "3/16" is
    the third of sixteen, counted from 1. Together they are the whole plan. options: those of
    `load_dataset("consistent_chat", ...)`. The limits apply to this process.

    Raises:
        RecipeError: there is no such shard, or another option is invalid; no call was made.
        BudgetSpent: `max_calls` or `max_cost` is reached; all answers are kept.
        ConsistentChatError: the store or the serving cannot be used.
    """
    part = Shard.parse(shard)
    builder = open_builder(recipe, **options)
    if part.count > 1:
        builder.recipes = independent(builder.recipes)
    return builder.fill(part.of(builder.plans()))
