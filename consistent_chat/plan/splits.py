"""Divides a recipe into one for each split, without shared topics or sources, and a plan into shards.

The recipe of a split is an ordinary recipe whose taxonomy has only the topics of this split. These topics depend on the
seed, the taxonomy and the names of the splits, but not on the numbers of dialogues. So a split can grow without a
change to other splits or to its own first rows. With seeds, the sources are divided instead: the digest of a source
determines its split, and the numbers of the splits are shares.

Shards are parts of a plan for processes that do not communicate. A shard depends on the plan alone.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, deque
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace

from consistent_chat.errors import RecipeError
from consistent_chat.plan.plan import spread
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import Category, Intent, Taxonomy, Topic
from consistent_chat.recipe.taxonomy.types import SENSITIVE

MAIN = "train"
"""The split that gets most of the topics. If no split has this name, the first split gets them."""
SHARE = 10
"""Each other split gets one of this many topics of an intent, and at least one topic."""


def recipes(recipe: Recipe) -> dict[str, Recipe]:
    """Return the recipe of each split; only that of `train` if the recipe has no splits.

    Raises RecipeError if there are too few topics or sources for all splits.
    """
    if recipe.splits is None:
        return {MAIN: recipe}
    if recipe.loaded_seeds is not None:
        shares = recipe.loaded_seeds.parts(recipe.splits)
        return {split: replace(recipe, splits=None, seeds=part) for split, part in shares.items()}
    owners = _owners(recipe, tuple(recipe.splits))
    parts = _taxonomies(tuple(recipe.splits), recipe.chosen_taxonomy, owners)
    return {
        split: replace(recipe, splits=None, num_dialogs_per_intent=count, taxonomy=parts[split])
        for split, count in recipe.splits.items()
    }


def _owners(recipe: Recipe, splits: Sequence[str]) -> dict[str, str]:
    """Return the split of each topic. A topic of several intents is assigned with the first of them.

    Splits other than the main one take topics from the end of the order in which a plan without splits uses topics. So
    the main split starts like that plan, and finds its responses in the store.
    """
    main = MAIN if MAIN in splits else splits[0]
    others = [split for split in splits if split != main]
    owners: dict[str, str] = {}
    for intent in recipe.chosen_taxonomy.intents.values():
        ordinary, sensitive = _topics(recipe.seed, intent)
        share = max(SHARE, len(splits))
        for topics, least in ((ordinary, 1), (sensitive, 0 if ordinary else 1)):
            _deal(topics, max(least, len(topics) // share), main, others, owners)
    return owners


def _topics(seed: int, intent: Intent) -> tuple[list[str], list[str]]:
    """Return the ordinary and the sensitive topics of an intent, each once, starting at the end of their order."""
    ordinary, sensitive = dict[str, None](), dict[str, None]()
    for _, topic in reversed(spread(seed, intent)):
        (sensitive if SENSITIVE in topic.needs else ordinary).setdefault(_folded(topic.text))
    return list(ordinary), list(sensitive)


def _deal(topics: Sequence[str], most: int, main: str, others: Sequence[str], owners: dict[str, str]) -> None:
    """Deal up to `most` topics to each of the other splits in turn, and the rest to the main split."""
    has = Counter(owners[topic] for topic in topics if topic in owners)
    room = deque(split for split in others if has[split] < most)
    for topic in topics:
        if topic not in owners:
            owners[topic] = split = room[0] if room else main
            has[split] += 1
            if room and has[split] >= most:
                room.popleft()


def _taxonomies(splits: Sequence[str], whole: Taxonomy, owners: dict[str, str]) -> dict[str, Taxonomy]:
    """Return the taxonomy of each split, in one pass over the topics."""
    parts = {key: _of_intent(intent, splits, owners) for key, intent in whole.intents.items()}
    return {split: replace(whole, intents={key: part[split] for key, part in parts.items()}) for split in splits}


def _of_intent(intent: Intent, splits: Sequence[str], owners: dict[str, str]) -> dict[str, Intent]:
    own: dict[str, dict[str, list[Topic]]] = {split: {} for split in splits}
    for category in intent.categories:
        for topic in category.topics:
            own[owners[_folded(topic.text)]].setdefault(category.name, []).append(topic)
    for split, categories in own.items():
        if not categories:
            count = sum(1 for _ in intent.topics())
            raise RecipeError(
                f"The intent {intent.key!r} has {count} topics for {len(splits)} splits, and no topic is left for "
                f"{split!r}: splits share no topics. Give the intent more topics in a taxonomy, or use fewer splits."
            )
    return {
        split: replace(
            intent,
            categories=tuple(
                _with(category, own[split]) for category in intent.categories if category.name in own[split]
            ),
        )
        for split in splits
    }


def _with(category: Category, topics: dict[str, list[Topic]]) -> Category:
    return category._replace(topics=tuple(topics[category.name]))


def _folded(topic: str) -> str:
    return topic.casefold()


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
        """Return its range in each split, as if the plans of the splits were one.

        Splits without an index are left out.
        """
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
    """Return the recipes without removal of near-duplicates, which needs all dialogues."""
    if any(recipe.drop_near_duplicates for recipe in recipes.values()):
        logger.warning(
            "A shard cannot find near-duplicates, because that needs all dialogues. Pass serving= to the build as "
            "well, so that it can request substitutes."
        )
    return {split: replace(recipe, drop_near_duplicates=False) for split, recipe in recipes.items()}


def _wrong(text: str) -> RecipeError:
    return RecipeError(f"There is no shard {text!r}. Shards are numbered from 1: use 1/16 to 16/16 for sixteen.")
