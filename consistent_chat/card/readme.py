"""The whole card. The generated part is between two marker lines; text that users write around it is kept.

The text of the generated part is in templates/card.md.jinja; its values are computed here.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from consistent_chat.card import header
from consistent_chat.card.header import About, Seen
from consistent_chat.prices import Tokens, without_counts
from consistent_chat.recipe import FIELDS, Recipe
from consistent_chat.recipe.description import AT_ONCE
from consistent_chat.recipe.review import Review
from consistent_chat.recipe.seeds import Seeds
from consistent_chat.recipe.taxonomy import Taxonomy
from consistent_chat.stats import PAPER, SAMPLE, DialogueSample
from consistent_chat.stats.charts import plots
from consistent_chat.text import counted
from consistent_chat.text.templates import environment, plain

BEGIN = "<!-- consistent_chat:begin. What follows is made anew each time. Write above or below: that stays. -->"
END = "<!-- consistent_chat:end -->"
_MARKER = re.compile(r"^<!-- consistent_chat:(begin|end)\b[^\n]*-->[ \t]*(?:\r?\n|\Z)", re.MULTILINE)


def files(about: About, seen: Seen, previous: str = "") -> dict[str, str]:
    """Return README.md, as `card` makes it, and its images: texts by their paths."""
    images = plots(seen.statistics, about.titles)
    return {"README.md": card(about, seen, previous), **{f"plots/{name}.svg": svg for name, svg in images.items()}}


def card(about: About, seen: Seen, previous: str = "") -> str:
    """Return the text of README.md. The same build and previous card give the same text; it contains no date.

    Text of the previous card outside the marker lines is kept unchanged. If the previous card has no begin marker that
    is directly followed by an end marker, all of it is kept and the generated part is appended. In the header, the keys
    of `OWNED` are set again, all others stay unchanged, and missing ones are added.

    Raises ConsistentChatError if the header of the previous card is not valid YAML.
    """
    before, text = header.split(previous.removeprefix("\ufeff"))
    head = header.merged(before, header.metadata(about, seen))
    return f"---\n{head}\n---\n{_placed(text, about, seen, header.has_licence(head))}"


def _placed(text: str, about: About, seen: Seen, has_licence: bool) -> str:
    """Return a body with the generated part in place of the previous one, or at the end if there was none."""
    made = f"{BEGIN}\n\n{body(about, seen, has_licence)}\n\n{END}\n"
    place = _place(text)
    if place is not None:
        return f"{text[: place.start]}{made}{text[place.stop :]}"
    if not text.strip():
        text = f"\n# {plain(about.title)}\n"
    gap = "\n" if text.endswith("\n") else "\n\n"
    return f"{text}{gap}{made}"


def _place(text: str) -> slice | None:
    markers = list(_MARKER.finditer(text))
    pairs = ((first, then) for first, then in zip(markers, markers[1:]) if (first[1], then[1]) == ("begin", "end"))
    pair = next(pairs, None)
    return None if pair is None else slice(pair[0].start(), pair[1].end())


TURNS = 8
"""Maximum number of turns shown of a sample."""
LONGEST = 120
"""Maximum number of characters shown of a field's value."""
GIVEN = ("given", "extended")
"""The forms of dialogues with given user messages: all of them, or those at the beginning."""
NO_MODELS = ("demo", "rehearsal")
"""Values of `model` for texts that were not written by a model."""

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
    models = {model or "" for recipe in recipes for model in (recipe.model, recipe.user_writer)}
    forms = {_form(recipe) for recipe in recipes}
    return {
        "form": "mixed" if len(forms) > 1 else "".join(forms),
        "has_given": not forms.isdisjoint(GIVEN),
        "models": models,
        "writers": sorted(models.difference(NO_MODELS)),
        "judges": sorted({model for recipe in recipes for model in recipe.judges}),
        "languages": sorted({name for recipe in recipes for name in recipe.languages}),
        "turns": sorted({turns for recipe in recipes for turns in recipe.turn_weights}),
        "dropping": [split for split, recipe in about.recipes.items() if recipe.drop_near_duplicates],
        "fields": list(_fields(about.recipes)),
    }


def _form(recipe: Recipe) -> str:
    """Return how the messages of a recipe were written: one of `GIVEN`, "at_once", "answers_by_turns" or "by_turns"."""
    seeds = recipe.loaded_seeds
    if seeds is not None and "conversation" in seeds.sources.fields:
        return GIVEN[bool(seeds.extend)]
    if recipe.users != AT_ONCE:
        return "by_turns"
    return AT_ONCE if recipe.answers == AT_ONCE else "answers_by_turns"


def _numbers(about: About, seen: Seen) -> dict[str, Any]:
    tokens = functools.reduce(Tokens.plus, seen.tokens.values(), Tokens())
    groups = seen.statistics.intents.items()
    languages = {name for recipe in about.recipes.values() for name in recipe.languages}
    return {
        "total": seen.statistics.total,
        "groups": [(about.titles.get(key) or key or "unknown", group) for key, group in groups],
        "paper": PAPER if seen.statistics.is_comparable(languages) else None,
        "sample_size": SAMPLE,
        "tokens_in": tokens.input,
        "tokens_out": tokens.output,
        "tokens_cached": tokens.cache_read,
        "tokens_thought": tokens.reasoning,
        "uncounted": without_counts(int(tokens.uncounted)) if tokens.uncounted else "",
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
    if isinstance(value, Review):
        return counted(len(value.marks), "mark")
    if name == "decontaminate":
        return ", ".join(ngrams.name for ngrams in recipe.kept_out)
    if name == "intents":
        return "all" if value is None else ", ".join(value)
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _shown(talk: DialogueSample, titles: Mapping[str, str]) -> _Shown:
    turns = list(zip(talk.user_messages, talk.answers))
    title = titles.get(talk.intent, talk.intent)
    return _Shown(title, talk.category, talk.topic, turns[:TURNS], max(0, len(turns) - TURNS))
