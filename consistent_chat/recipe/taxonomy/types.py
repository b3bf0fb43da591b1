"""What a taxonomy is made of, and what fits together: topics and personas, manners and personas.

A topic *needs* tags, a persona *has* tags. A topic fits a persona that has all these tags. There are three more rules:

- a persona without tags, or with the tag `anyone`, fits every topic, because it says nothing about age, work or family;
- an adult also has the tag `teen`, which as a need means "thirteen or older";
- `sensitive`, `grave` and `play` are marks of the topic, which personas do not need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, NamedTuple

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.fields import suggestion, type_error

Tags = frozenset[str]

ANYONE = "anyone"
SENSITIVE = "sensitive"
MARKS = frozenset({SENSITIVE, "grave", "play"})
"""Needs that are marks of a topic: must be declined or handled with care, is sad, is for fun."""
MINORS = frozenset({"child", "teen"})
IMPLIED = {"adult": "teen"}
"""The tag that another tag of a persona implies."""
PASTED = "pasted"
OPENINGS = ("short", "medium", "long", PASTED)
"""The least size of the first message of a flow, or "pasted" for pasted material."""
NO_TAGS: Tags = frozenset()


class Topic(NamedTuple):
    """One concrete subject, and the tags of the people who could bring it up."""

    text: str
    needs: Tags = NO_TAGS

    @property
    def marks(self) -> Tags:
        """The marks of the topic, which hold for every persona."""
        return self.needs & MARKS


class Persona(NamedTuple):
    """Who the user is: a description and tags."""

    text: str
    tags: Tags = NO_TAGS

    def fits(self, needs: Tags) -> bool:
        """Return whether this person could bring up a topic with these needs."""
        return self._is_anyone or needs - MARKS <= self.tags | {IMPLIED[tag] for tag in self.tags & IMPLIED.keys()}

    @property
    def _is_anyone(self) -> bool:
        return not self.tags or ANYONE in self.tags


class Manner(NamedTuple):
    """How the user writes.

    `needs` are required tags of the persona, `unlike` conflicting tags of the persona or topic.
    """

    name: str
    description: str
    needs: Tags = NO_TAGS
    unlike: Tags = NO_TAGS

    def fits(self, persona: Persona, marks: Tags) -> bool:
        """Return whether this person would write like this about a topic with these marks."""
        return persona.fits(self.needs) and self.unlike.isdisjoint(persona.tags | marks)


@dataclass(frozen=True)
class Flow:
    """An information flow: the ordered steps that the user takes, and in one sentence what the assistant does.

    `opens` is the least size of the first message, or "pasted" if it contains material that the user has pasted.
    """

    key: str
    title: str
    steps: tuple[str, ...]
    opens: str = ""
    answers: str = ""


class Category(NamedTuple):
    """A scenario within an intent: its topics, and the flows that suit them; if it has none, the intent's flows do."""

    name: str
    topics: tuple[Topic, ...]
    flows: tuple[Flow, ...] = ()


@dataclass(frozen=True)
class Intent:
    """One kind of human conversation, its flows and its categories."""

    key: str
    title: str
    purpose: str
    flows: tuple[Flow, ...]
    categories: tuple[Category, ...] = field(repr=False)

    def topics(self) -> Iterator[Topic]:
        """Return all topics in written order."""
        return (topic for category in self.categories for topic in category.topics)

    def all_flows(self) -> Iterator[Flow]:
        """Return all flows of the intent and its categories, each once."""
        every = (self.flows, *(category.flows for category in self.categories))
        return iter({flow.key: flow for flows in every for flow in flows}.values())


@dataclass(frozen=True)
class Taxonomy:
    """All intents by key, the personas and the manners."""

    intents: Mapping[str, Intent]
    personas: tuple[Persona, ...]
    manners: tuple[Manner, ...]

    def only(self, keys: Iterable[str]) -> Taxonomy:
        """Return the taxonomy with only these intents, in its own order."""
        wanted = set(keys)
        return Taxonomy({k: i for k, i in self.intents.items() if k in wanted}, self.personas, self.manners)

    def keys_of(self, given: Any) -> tuple[str, ...] | None:
        """Return the keys of intents that are given by key or title; None means all. Raises RecipeError."""
        if given is None:
            return None
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, (list, tuple)) or not names:
            raise type_error("intents", given, "a list of intents, or None for all")
        keys = {_fold(name): key for key, intent in self.intents.items() for name in (key, intent.title)}
        for name in names:
            if _fold(name) not in keys:
                raise RecipeError(f"there is no intent {name!r}.{suggestion(name, tuple(self.intents))}")
        chosen = {keys[_fold(name)] for name in names}
        return tuple(key for key in self.intents if key in chosen)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only the fields: what is computed from them is computed again when needed."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The taxonomy as plain ordered data, for the recipe's fingerprint."""
        every = (flow for intent in self.intents.values() for flow in intent.all_flows())
        flows = {flow.key: [flow.key, flow.title, flow.steps, flow.opens, flow.answers] for flow in every}
        return {
            "intents": [
                [i.key, i.title, i.purpose, [f.key for f in i.flows], [_plain(category) for category in i.categories]]
                for i in self.intents.values()
            ],
            "flows": [flows[key] for key in sorted(flows)],
            "personas": [[persona.text, sorted(persona.tags)] for persona in self.personas],
            "manners": [[m.name, m.description, sorted(m.needs), sorted(m.unlike)] for m in self.manners],
        }


def _fold(name: object) -> str:
    return str(name).strip().lower().replace(" ", "_").replace("-", "_")


def _plain(category: Category) -> list[Any]:
    flows = [flow.key for flow in category.flows]
    return [category.name, flows, [[topic.text, sorted(topic.needs)] for topic in category.topics]]
