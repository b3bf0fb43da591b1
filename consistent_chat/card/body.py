"""The body of a card, below its header: computes the values for templates/card.md.jinja, which has the text."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from consistent_chat.card.about import About, Seen
from consistent_chat.prices import Tokens
from consistent_chat.recipe import FIELDS, Recipe
from consistent_chat.recipe.seeds import Seeds
from consistent_chat.recipe.taxonomy import Taxonomy
from consistent_chat.stats import PAPER, SAMPLE, DialogueSample
from consistent_chat.text.templates import environment

TURNS = 8
"""Maximum number of turns shown of a sample."""
LONGEST = 120
"""Maximum number of characters shown of a field's value."""
NO_MODELS = ("demo", "rehearsal")
"""Values of `model` for texts that no model wrote."""

_TEMPLATES = environment("consistent_chat.card")


class _Shown(NamedTuple):
    """A sample dialogue: its first turns, and how many `more` there are."""

    title: str
    category: str
    topic: str
    turns: Sequence[tuple[str, str]]
    more: int


def body(about: About, seen: Seen, has_licence: bool) -> str:
    """Return the body of a card, without trailing line breaks. The same arguments give the same text."""
    values = {"about": about, "seen": seen, "has_licence": has_licence}
    made = {**_recipes(about), **_numbers(about, seen), **_files(about)}
    return _TEMPLATES.get_template("card.md.jinja").render(**values, **made).rstrip("\n")


def _recipes(about: About) -> dict[str, Any]:
    recipes = about.recipes.values()
    models = {recipe.model or "" for recipe in recipes}
    return {
        "models": models,
        "writers": sorted(models.difference(NO_MODELS)),
        "judges": sorted({recipe.judge_model for recipe in recipes if recipe.judge_model is not None}),
        "languages": sorted({recipe.language for recipe in recipes}),
        "turns": sorted({turns for recipe in recipes for turns in recipe.turn_weights}),
        "dropping": [split for split, recipe in about.recipes.items() if recipe.drop_near_duplicates],
        "fields": list(_fields(about.recipes)),
    }


def _numbers(about: About, seen: Seen) -> dict[str, Any]:
    tokens = functools.reduce(Tokens.plus, seen.tokens.values(), Tokens())
    groups = seen.statistics.intents.items()
    return {
        "total": seen.statistics.total,
        "groups": [(about.titles.get(key) or key or "unknown", group) for key, group in groups],
        "paper": PAPER,
        "sample_size": SAMPLE,
        "tokens_in": tokens.input,
        "tokens_out": tokens.output,
        "tokens_cached": tokens.cache_read,
        "tokens_thought": tokens.reasoning,
        "cost": seen.cost(about.recipes),
        "samples": [_shown(talk, about.titles) for talk in seen.samples],
    }


def _files(about: About) -> dict[str, Any]:
    urls = {split: f"{about.url}/{file}" for split, file in about.files.items()}
    return {
        "configs": [config["config_name"] for config in about.configs[1:] if config.get("data_files") != []],
        "files": list(dict.fromkeys(about.files.values())),
        "urls": urls,
        "builds": [(url, f"{split}.parquet") for split, url in urls.items()],
    }


def _fields(recipes: Mapping[str, Recipe]) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each field that is set in any split, with its value in each split."""
    used = {name for recipe in recipes.values() for name in recipe.values()}
    for name in (name for name in FIELDS if name in used):
        values = [_value(name, recipe) for recipe in recipes.values()]
        if any(values):
            yield name, values


def _value(name: str, recipe: Recipe) -> str:
    value: Any = recipe.chosen_taxonomy if name == "taxonomy" else getattr(recipe, name)
    if isinstance(value, Taxonomy):
        topics = [category.topics for intent in value.intents.values() for category in intent.categories]
        return f"{len(value.intents)} intents, {len(topics):,} categories, {sum(map(len, topics)):,} topics"
    if isinstance(value, Seeds):
        return f"{len(value.sources):,} sources, {value.dialogs_per_seed} dialogues each; {value.sources.digest}"
    if name == "intents":
        return "all" if value is None else ", ".join(value)
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _shown(talk: DialogueSample, titles: Mapping[str, str]) -> _Shown:
    turns = list(zip(talk.user_messages, talk.answers))
    title = titles.get(talk.intent, talk.intent)
    return _Shown(title, talk.category, talk.topic, turns[:TURNS], max(0, len(turns) - TURNS))
