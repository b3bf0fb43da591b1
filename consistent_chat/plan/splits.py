"""Divides a recipe into one for each of its splits, so that no topic is in two of them.

The recipe of a split is a recipe like any other: its taxonomy has the topics that are the split's own. Which those are
depends on the seed, the taxonomy and the names of the splits, and on no number of dialogues, so that a split that grows
changes neither another split nor its own beginning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from consistent_chat.errors import RecipeError
from consistent_chat.plan.plan import spread
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import Intent, Taxonomy

MAIN = "train"
"""The split that has most of the topics; where no split has this name, the first one has."""
SHARE = 10
"""Each other split has one topic of an intent in so many, and one at the least."""


def recipes(recipe: Recipe) -> dict[str, Recipe]:
    """Return the recipe of each split: `train` alone where the recipe names no splits.

    Raises RecipeError for an intent that has no topic for one of them.
    """
    if recipe.splits is None:
        return {MAIN: recipe}
    owners, number = _owners(recipe, tuple(recipe.splits)), len(recipe.splits)
    parts = {split: _of_split(split, number, recipe.chosen_taxonomy, owners) for split in recipe.splits}
    return {
        split: replace(recipe, splits=None, num_dialogs_per_intent=count, taxonomy=parts[split])
        for split, count in recipe.splits.items()
    }


def _owners(recipe: Recipe, splits: Sequence[str]) -> dict[str, str]:
    """Return the split that each topic belongs to. A topic that several intents have is dealt with the first of them.

    Topics are dealt from the far end of the order in which a plan without splits uses them: the main split begins as
    that plan does, so that its responses are found again.
    """
    main = MAIN if MAIN in splits else splits[0]
    others = [split for split in splits if split != main]
    owners: dict[str, str] = {}
    for intent in recipe.chosen_taxonomy.intents.values():
        topics = dict.fromkeys(_folded(topic) for _, topic in reversed(spread(recipe.seed, intent)))
        most = max(1, len(topics) // max(SHARE, len(splits)))
        has = Counter(owners[topic] for topic in topics if topic in owners)
        for topic in topics:
            if topic not in owners:
                owners[topic] = next((split for split in others if has[split] < most), main)
                has[owners[topic]] += 1
    return owners


def _of_split(split: str, splits: int, whole: Taxonomy, owners: dict[str, str]) -> Taxonomy:
    return replace(whole, intents={key: _of_intent(i, split, splits, owners) for key, i in whole.intents.items()})


def _of_intent(intent: Intent, split: str, splits: int, owners: dict[str, str]) -> Intent:
    own = ((name, tuple(t for t in topics if owners[_folded(t)] == split)) for name, topics in intent.categories)
    categories = tuple((name, topics) for name, topics in own if topics)
    if not categories:
        count = sum(len(topics) for _, topics in intent.categories)
        raise RecipeError(
            f"The intent {intent.key!r} has {count} topics for {splits} splits, and none is left for {split!r}: no "
            "topic is in two splits. Give it more topics in a taxonomy, or use fewer splits."
        )
    return replace(intent, categories=categories)


def _folded(topic: str) -> str:
    return topic.casefold()
