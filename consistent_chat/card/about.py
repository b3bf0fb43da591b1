"""What a card is made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consistent_chat.dialogue.at_once import Dialogue
from consistent_chat.prices import Tokens, price_of
from consistent_chat.recipe import Recipe
from consistent_chat.stats import DialogueSample, Distribution, Statistics

SAMPLES = 3
"""Dialogues that a card shows: the first ones of as many intents."""


@dataclass(frozen=True)
class About:
    """What is published and where.

    Args:
        name: what `load_dataset` and `consistent-chat verify` take: "user/repo", "buckets/user/name/path".
        url: the same as an address for fsspec: "hf://datasets/user/repo".
        title: what the dataset is called until somebody gives it another name.
        recipes: the recipe of each split.
        files: the recipe file of each split, as a path from `url`.
        configs: what the header says under `configs`: {"config_name", "data_files", ...}, the default one first.
            One whose files are an empty list is none any more.
        licence: its identifier on the Hub, where one is given.
    """

    name: str
    url: str
    title: str
    recipes: Mapping[str, Recipe]
    files: Mapping[str, str]
    configs: Sequence[Mapping[str, Any]] = ()
    licence: str | None = None

    @property
    def titles(self) -> dict[str, str]:
        """The titles of intents, by their keys."""
        taxonomies = [recipe.full_taxonomy for recipe in self.recipes.values()]
        return {key: intent.title for taxonomy in taxonomies for key, intent in taxonomy.intents.items()}


class Seen:
    """The dialogues of a dataset, as a card tells of them; `see` is to be called with each, in order.

    `rows` are by split, `tokens` by split and whether they are a judge's. Tokens are what all recorded
    responses are billed for.
    """

    def __init__(self) -> None:
        self.statistics = Statistics()
        self.samples: list[DialogueSample] = []
        self.rows: dict[str, int] = defaultdict(int)
        self.scores: dict[str, Distribution] = {}
        self.tokens: dict[tuple[str, bool], Tokens] = defaultdict(Tokens)

    def see(self, split: str, dialogue: Dialogue) -> None:
        """Take a dialogue of a split."""
        talk = DialogueSample.of(dialogue)
        if len(self.samples) < SAMPLES and talk.intent not in self.statistics.intents:
            self.samples.append(talk)
        self.statistics.add(talk)
        self.rows[split] += 1
        for name, score in dialogue.scores.items():
            self.scores.setdefault(name, Distribution())[score] += 1
        for is_judge, tokens in zip((False, True), dialogue.billed):
            if any(tokens):
                self.tokens[split, is_judge] = self.tokens[split, is_judge].plus(tokens)

    def cost(self, recipes: Mapping[str, Recipe]) -> float | None:
        """Return what the tokens cost in US dollars, or None where a model's price is not known."""
        total = 0.0
        for (split, is_judge), tokens in self.tokens.items():
            price = price_of((recipes[split].judge_model if is_judge else recipes[split].model) or "")
            if price is None:
                return None
            total += price.of(tokens)
        return total
