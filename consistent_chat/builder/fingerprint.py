"""The identity of a dataset: if two builds have the same identity and responses, their rows are the same.

It covers the recipe's fields, the contents of taxonomy, shapes and prompts, and the format of the rows. It does not
cover operational options: store, key, address, budget or concurrency.
"""

from __future__ import annotations

import hashlib
from typing import Any

from consistent_chat.dialogue import prompts
from consistent_chat.recipe import Recipe, shape
from consistent_chat.recipe.rules import versions
from consistent_chat.request import canonical_json

DATA_FORMAT = 3
"""Raised when the same recipe and responses would give different rows than before."""

WITHIN = ("taxonomy", "intents", "personas", "manners", "seeds", "review", "decontaminate")
"""Fields that the fingerprint does not cover directly, but through their content: the taxonomy and the sources."""


def fingerprint(recipe: Recipe) -> str:
    """Return 64 hex digits, which change with anything that shapes the data."""
    content: dict[str, Any] = {
        "data_format": DATA_FORMAT,
        "fields": {name: value for name, value in recipe.values().items() if name not in WITHIN},
        "taxonomy": recipe.chosen_taxonomy.plain,
        "prompts": prompts.contents(
            with_source=recipe.loaded_seeds is not None,
            turn_by_turn=recipe.users == "turn_by_turn",
            with_instructions=recipe.instructions is not None,
            with_rubric=recipe.rubric is not None,
            with_pairs=recipe.preferences is not None,
            with_chat_length=recipe.answers == "turn_by_turn" and recipe.answer_length is not None,
            extending=recipe.loaded_seeds is not None and recipe.loaded_seeds.extend > 0,
        ),
        "shape": shape.contents(),
    }
    if recipe.loaded_seeds is not None:
        content["seeds"] = recipe.loaded_seeds.plain
    if recipe.loaded_review is not None:
        content["review"] = recipe.loaded_review.plain
    if recipe.kept_out:
        content["decontaminate"] = [ngrams.plain for ngrams in recipe.kept_out]
    if plugins := versions(recipe.rules):
        content["plugins"] = plugins
    return hashlib.sha256(canonical_json(content)).hexdigest()
