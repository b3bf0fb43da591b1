"""What the shape of a conversation is drawn from: moods, outcomes, endings, lengths. The data is taxonomy/shape.yaml.

A recipe may set the weights of each of these facets. The plan draws the values for each dialogue.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import yaml

from consistent_chat.recipe.taxonomy.types import NO_TAGS, Tags

FACETS = {
    "mood": "moods",
    "outcome": "outcomes",
    "ending": "endings",
    "answer_length": "answer_lengths",
    "message_length": "message_lengths",
}
"""The recipe fields, and the sections of the data with their values."""
IN_WORDS = ("answer_length", "message_length")
"""Facets whose value can also be a mean number of words."""
WEIGHT = 10**6
"""The whole number for a weight of 1: weights are compared as whole numbers, which are the same on every machine."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Option:
    """One value of a facet.

    `description` and `answers` are its texts in the prompts of the user messages and of the answers. `unlike` names the
    tags and manners that it does not suit, `intents` the intents that it suits (empty: all), `turns` is the minimum
    number of turns that it needs. `sizes` are the sizes of messages with their weights, and `reply` is the size of the
    answer to the last message.
    """

    name: str
    weight: int
    description: str = ""
    answers: str = ""
    unlike: Tags = NO_TAGS
    intents: Tags = NO_TAGS
    turns: int = 1
    sizes: tuple[tuple[str, int], ...] = ()
    reply: str = ""


def options(facet: str, given: Any = None) -> tuple[Option, ...]:
    """Return the options of a facet, with its own weights or those that a recipe sets (a name, words, or weights)."""
    known = _known()[facet]
    if given is None:
        return tuple(known.values())
    if isinstance(given, int):
        return (_of_words(given),)
    weights: Mapping[str, float] = {given: 1.0} if isinstance(given, str) else given
    parts = ((name, round(weight * WEIGHT)) for name, weight in weights.items())
    return tuple(replace(known[name], weight=weight) for name, weight in parts if weight)


def names(facet: str) -> tuple[str, ...]:
    """Return the values of a facet."""
    return tuple(_known()[facet])


@functools.lru_cache(maxsize=1)
def sizes() -> dict[str, tuple[int, int]]:
    """Return the sizes of messages, each with its range of words."""
    return {name: (low, high) for name, (low, high) in _data()["sizes"].items()}


@functools.lru_cache(maxsize=1)
def told_intents() -> Tags:
    """Return all intents to which some value is limited. The data does not say what suits other intents."""
    return NO_TAGS.union(*(option.intents for facet in _known().values() for option in facet.values()))


@functools.lru_cache(maxsize=1)
def contents() -> str:
    """Return the unchanged data, for the recipe's fingerprint."""
    return resources.files("consistent_chat.recipe.taxonomy").joinpath("shape.yaml").read_text("utf-8")


def _of_words(words: int) -> Option:
    """Return the value for a mean number of words: half of the messages are shorter, and half are longer."""
    return Option(f"{words} words", 1, f"about {words} words on average, some much shorter", sizes=((f"={words}", 1),))


@functools.lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.load(contents(), Loader=_Loader)  # noqa: S506  # a safe loader
    return data


@functools.lru_cache(maxsize=1)
def _known() -> dict[str, dict[str, Option]]:
    return {
        facet: {name: _option(name, value) for name, value in _data()[section].items()}
        for facet, section in FACETS.items()
    }


def _option(name: str, value: Mapping[str, Any]) -> Option:
    sets = {key: frozenset(value[key]) for key in ("unlike", "intents") if key in value}
    return Option(name, **{**value, **sets, "sizes": tuple(value.get("sizes", {}).items())})
