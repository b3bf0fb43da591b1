"""The tables of a card: the recipe's fields, and the paper's table on this data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from consistent_chat.card.html import code, line, table
from consistent_chat.recipe import FIELDS, Recipe
from consistent_chat.recipe.taxonomy import Taxonomy
from consistent_chat.stats import PAPER, DialogueStats, Distribution, Statistics

LONGEST = 120
"""Characters of a field's value that are shown; the recipe has them all."""
HEAD = ("Intent", "Dialogues", "Utterances per dialogue", "Words per query", "Words per response")


def fields(recipes: Mapping[str, Recipe]) -> str:
    """Return what shapes the data: a row for each field, a column for each split."""
    values = {name: [_value(name, recipe) for recipe in recipes.values()] for name in FIELDS}
    rows = [[code(name), *map(code, cells)] for name, cells in values.items() if any(cells)]
    return table(["Field", *map(code, recipes)], rows, align="left")


def _value(name: str, recipe: Recipe) -> str:
    value: Any = recipe.chosen_taxonomy if name == "taxonomy" else getattr(recipe, name)
    if isinstance(value, Taxonomy):
        topics = [topics for intent in value.intents.values() for _, topics in intent.categories]
        return f"{len(value.intents)} intents, {len(topics):,} categories, {sum(map(len, topics)):,} topics"
    if name == "intents":
        return "all" if value is None else ", ".join(value)
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def numbers(statistics: Statistics, titles: Mapping[str, str]) -> str:
    """Return the paper's table on this data, and the paper's own numbers."""
    rows = [_numbers(line(titles.get(key) or key or "unknown"), group) for key, group in statistics.intents.items()]
    paper = [_published(name, end) for end, name in enumerate(("lowest", "highest"))]
    return table(HEAD, [*rows, _numbers("<b>All</b>", statistics.total), *paper])


def _numbers(name: str, group: DialogueStats) -> list[str]:
    measured = (group.utterances, group.query_words, group.response_words)
    return [name, f"{group.dialogues:,}", *map(_spread, measured)]


def _spread(values: Distribution) -> str:
    return f"{values.mean:.1f} / {values.largest:,}"


def _published(name: str, end: int) -> list[str]:
    return [
        f"<i>The paper, {name} of its intents</i>",
        f"{PAPER.dialogues_per_intent[end]:,}",
        f"{PAPER.utterances[end]}",
        f"{PAPER.query_words[end]} / {PAPER.most_query_words[end]}",
        f"{PAPER.response_words[end]} / {PAPER.most_response_words[end]}",
    ]
