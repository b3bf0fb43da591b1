"""The input of a card: what is published, and its dialogues."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consistent_chat.dialogue.work import Dialogue
from consistent_chat.prices import Tokens, price_of
from consistent_chat.recipe import Recipe
from consistent_chat.stats import DialogueSample, Distribution, Statistics

SAMPLES = 3
"""Number of dialogues shown in a card: the first of each of as many intents."""


@dataclass(frozen=True)
class About:
    """What is published and where.

    Args:
        name: the name for `load_dataset` and `consistent-chat verify`: "user/repo", "buckets/user/name/path".
        url: the same place as a URL for fsspec: "hf://datasets/user/repo".
        title: the title of a new card; a title in the previous card is kept.
        recipes: the recipe of each split.
        files: the recipe file of each split, as a path from `url`.
        configs: the entries under `configs` in the header: {"config_name", "data_files", ...}, the default one first.
            An entry with an empty list of files removes that config.
        licence: the licence as the Hub names it, or None.
        withheld: the columns of the seeds that are not published, without which the rows cannot be rebuilt.
    """

    name: str
    url: str
    title: str
    recipes: Mapping[str, Recipe]
    files: Mapping[str, str]
    configs: Sequence[Mapping[str, Any]] = ()
    licence: str | None = None
    withheld: Sequence[str] = ()

    @property
    def titles(self) -> dict[str, str]:
        """The titles of all intents by their keys."""
        taxonomies = [recipe.full_taxonomy for recipe in self.recipes.values()]
        return {key: intent.title for taxonomy in taxonomies for key, intent in taxonomy.intents.items()}


MODEL = "model:"


class Seen:
    """The figures of a dataset's dialogues for its card; call `see` with each dialogue, in order.

    `rows` are by split, `tokens` by split and by the recipe's field that names their model, or by the model
    of one of several judges and of the other answers of pairs ("model:NAME"). Tokens are those billed for all recorded
    responses. `edited` counts the dialogues that a review has edited.
    """

    def __init__(self) -> None:
        self.statistics = Statistics()
        self.samples: list[DialogueSample] = []
        self.rows: dict[str, int] = defaultdict(int)
        self.edited = 0
        self.scores: dict[str, Distribution] = {}
        self.tokens: dict[tuple[str, str], Tokens] = defaultdict(Tokens)

    def see(self, split: str, dialogue: Dialogue) -> None:
        """Add a dialogue of a split."""
        talk = DialogueSample.of(dialogue)
        if len(self.samples) < SAMPLES and talk.intent not in self.statistics.intents:
            self.samples.append(talk)
        self.statistics.add(talk)
        self.rows[split] += 1
        self.edited += bool(dialogue.edited)
        for name, score in dialogue.scores.items():
            self.scores.setdefault(name, Distribution())[score] += 1
        for field, tokens in _billed(dialogue):
            if any(tokens):
                self.tokens[split, field] = self.tokens[split, field].plus(tokens)

    def cost(self, recipes: Mapping[str, Recipe]) -> float | None:
        """Return the cost of the tokens in US dollars, or None if the price of a model is unknown."""
        total = 0.0
        for (split, field), tokens in self.tokens.items():
            _, is_named, model = field.partition(MODEL)
            price = price_of(model if is_named else getattr(recipes[split], field) or "")
            if price is None:
                return None
            total += price.of(tokens)
        return total


def _billed(dialogue: Dialogue) -> list[tuple[str, Tokens]]:
    """Return what is billed of a dialogue by the field that names the model, or by the model if no field names it."""
    written, judged = dialogue.billed
    judges, others = (
        [(f"{MODEL}{model}", tokens) for model, tokens in named]
        for named in (dialogue.billed_judges, dialogue.billed_alternatives)
    )
    return [("model", written), *(judges or [("judge_model", judged)]), *others, ("user_model", dialogue.billed_users)]
