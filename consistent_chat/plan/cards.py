"""Combinations: what is drawn for the n-th use of a topic or a source. They depend only on its digest."""

from __future__ import annotations

import functools
import hashlib
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeVar

from consistent_chat.plan.shape import Shape, Shapes
from consistent_chat.recipe import template
from consistent_chat.recipe.attributes import NAMES, Attributes, Case
from consistent_chat.recipe.seeds import Source
from consistent_chat.recipe.shape import WEIGHT
from consistent_chat.recipe.taxonomy import Flow, Intent, Manner, Persona, Tags, Topic

MAX_SUBSTITUTES = 8
"""Maximum number of substitutes for one index of the plan, after its first spec has failed permanently."""
MAX_STAND_INS = 24
"""Maximum number of further substitutes for dialogues that are dropped as near-duplicates. If half of all dialogues are
dropped, one index in 30 million would reach it."""
FURTHER = 2**40
"""Substitutes beyond `MAX_SUBSTITUTES` have a `repeat` below this number, which other substitutes do not reach."""


T = TypeVar("T")


@dataclass(frozen=True, init=False)
class Spec:
    """The specification of one dialogue, known before any call.

    `index` is its index in the plan, and `substitute` the number of specs that failed at this index before. `repeat`
    counts how often the same combination was drawn before; it is negative for substitutes, so that no substitute shares
    a request with a regular spec. `source` is what the dialogue is about, if the recipe has seeds. `attributes` has the
    values of the recipe's attributes by name. `language` is empty unless the recipe has several.
    """

    index: int
    substitute: int
    repeat: int
    intent: Intent
    category: str
    topic: str
    flow: Flow
    persona: str
    manner: tuple[str, str]
    shape: Shape
    sensitive: bool = False
    source: Source | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    language: str = ""

    def __init__(
        self,
        index: int,
        substitute: int,
        repeat: int,
        intent: Intent,
        category: str,
        topic: str,
        flow: Flow,
        persona: str,
        manner: tuple[str, str],
        shape: Shape,
        sensitive: bool = False,
        source: Source | None = None,
        attributes: tuple[tuple[str, str], ...] = (),
        language: str = "",
    ) -> None:
        fields = locals()  # all at once, which takes a fifth of the time that a frozen dataclass takes
        del fields["self"]
        object.__setattr__(self, "__dict__", fields)

    @property
    def title(self) -> str:
        """The name of the dialogue in messages, with its source if it has one."""
        of = "" if self.source is None else f" (source {self.source.digest[:12]}, {self.source.title!r})"
        return f"Dialogue {self.index}{of}"

    @property
    def given_messages(self) -> tuple[str, ...]:
        """The user messages of a given conversation, which are kept; empty if a model writes all of them."""
        return () if self.source is None else self.source.user_messages

    @property
    def given_answers(self) -> tuple[str, ...]:
        """The answers of a given conversation that is continued; empty if a model writes all answers."""
        return () if self.source is None else self.source.given_answers

    @property
    def added_turns(self) -> int:
        """The number of user messages that a model writes."""
        return self.shape.turns - len(self.given_messages)

    def given_text(self, system_prompt: str | None) -> str:
        """Return everything that the assistant must keep to, if the dialogue has a source with a text; else ""."""
        if self.source is None or not self.source.source:
            return ""
        before = (*self.given_messages, *self.given_answers) if self.given_answers else ()
        return "\n".join((self.source.source, self.source.topic, self.system_prompt(system_prompt) or "", *before))

    def system_prompt(self, otherwise: str | None) -> str | None:
        """Return the rendered system prompt of the dialogue's source, or else `otherwise`, the recipe's."""
        own = self.source.system_prompt if self.source is not None else ""
        return own or (self._rendered("system_prompt", otherwise) if otherwise else None) or None

    def instructions(self, given: Mapping[str, str] | None, side: str) -> str:
        """Return the recipe's instructions for a side, "users" or "answers", rendered; empty if there are none."""
        text = (given or {}).get(side)
        return self._rendered(f"instructions.{side}", text) if text else ""

    def _rendered(self, place: str, text: str) -> str:
        return template.render(place, text, self.names) if template.is_template(text) else text

    @property
    def names(self) -> dict[str, str]:
        """The values of the names that templates can use: facets, columns of the source, attributes."""
        facets = (self.intent.title, self.category, self.topic, self.persona, self.manner[0])
        columns = () if self.source is None else (("source", self.source.source), *self.source.columns)
        return {**dict(zip(NAMES, facets)), **dict(columns), **dict(self.attributes)}


class Card(NamedTuple):
    """A topic in its category, the flows that suit it, and its digest."""

    category: str
    topic: Topic
    flows: tuple[Flow, ...]
    digest: bytes

    @property
    def offset(self) -> int:
        """The number of the combination with which the topic starts."""
        return int.from_bytes(self.digest[16:24], "big")


class Pairs(Protocol):
    """The pairs of a persona and a manner, by number."""

    def pairs(self, topic: Topic) -> Sequence[int]:
        """Return the numbers of the pairs that fit a topic."""

    def pair(self, number: int) -> tuple[Persona, Manner]:
        """Return the pair with a number."""


class Combination(NamedTuple):
    """What is drawn for one use. `repeat` counts how often it was drawn before, and is negative for substitutes."""

    repeat: int
    flow: Flow
    persona: str
    manner: tuple[str, str]
    shape: Shape


def combination(people: Pairs, shapes: Shapes, intent: Intent, card: Card, use: int, further: int) -> Combination:
    """Return the combination of a card's n-th use, which is negative for substitutes."""
    pairs = people.pairs(card.topic)
    cycle, _ = divmod(use, size := len(pairs) * len(card.flows))
    start = card.offset + (size // 2 if further else 0)
    block, pair = divmod((start + use) % size, len(pairs))
    flow = card.flows[(block + pair) % len(card.flows)]
    persona, manner = people.pair(pairs[pair])
    told = persona.tags.union(card.topic.marks, (manner.name, flow.key))
    repeat = cycle - further
    key = b"\0".join((card.digest, f"{flow.key}\0{persona.text}\0{manner.name}\0{repeat}".encode()))
    return Combination(repeat, flow, persona.text, manner[:2], shapes.draw(key, intent, flow, told))


class People:
    """Who could bring up a topic, and how they write: the pairs for each class of topics, shuffled by the seed."""

    def __init__(self, seed: int, personas: Sequence[Persona], manners: Sequence[Manner]) -> None:
        self._personas = shuffled(personas, lambda persona: hashed(seed, "persona", persona.text))
        self.manners = shuffled(manners, lambda manner: hashed(seed, "manner", manner.name))
        self._pairs: dict[Tags, array[int]] = {}

    def pairs(self, topic: Topic) -> array[int]:
        """Return the numbers of the pairs for a topic, in the order of diagonals, so that both parts keep changing."""
        if topic.needs not in self._pairs:
            self._pairs[topic.needs] = array("L", self._fitting(topic))
        return self._pairs[topic.needs]

    def pair(self, number: int) -> tuple[Persona, Manner]:
        """Return the persona and the manner of a number."""
        persona, manner = divmod(number, len(self.manners))
        return self._personas[persona], self.manners[manner]

    def _fitting(self, topic: Topic) -> Iterator[int]:
        count = len(self.manners)
        personas = [(place, one.tags) for place, one in enumerate(self._personas) if one.fits(topic.needs)]
        kinds = {persona.tags: persona for persona in self._personas}  # what fits depends on the tags alone
        writes = {
            tags: [manner.fits(persona, topic.marks) for manner in self.manners] for tags, persona in kinds.items()
        }
        for step, (nth, (persona, tags)) in itertools.product(range(count), enumerate(personas)):
            manner = (nth + step) % count
            if writes[tags][manner]:
                yield persona * count + manner


@functools.lru_cache(maxsize=8)  # a build opens its plan several times
def people_of(seed: int, personas: tuple[Persona, ...], manners: tuple[Manner, ...]) -> People:
    """Return the possible pairs of these personas and manners."""
    return People(seed, personas, manners)


def shuffled(items: Iterable[T], key: Callable[[T], bytes]) -> list[T]:
    """Return items sorted by their digests."""
    return sorted(items, key=key)


def hashed(seed: int, *parts: str) -> bytes:
    """Return a sort key that shuffles by hash: the same on every machine, and stable when an item is added."""
    return hashlib.sha256("\0".join((str(seed), *parts)).encode("utf-8")).digest()


def drawn(spec: Spec, attributes: Attributes, seed: int) -> Spec:
    """Return a spec with its attributes. A condition can use the attributes that were drawn before it."""
    own = "" if spec.source is None else spec.source.digest
    parts = (own, spec.intent.key, spec.category, spec.topic, spec.flow.key, spec.persona, spec.manner[0])
    told, found = {**spec.names}, dict[str, str]()
    for name, cases in attributes.items():
        case = next((case for case in cases if _holds(case, told, spec.intent.key)), None)
        number = int.from_bytes(hashed(seed, "attribute", name, *parts, str(spec.repeat))[:8], "big")
        told[name] = found[name] = "" if case is None else _value(case["values"], number)
    return replace(spec, attributes=tuple(found.items()))


def _holds(case: Case, told: Mapping[str, str], intent: str) -> bool:
    """Return whether a case's condition holds. An intent may be named by its title or its key."""
    return all(
        told[name] in texts or (name == "intent" and intent in texts) for name, texts in case.get("when", {}).items()
    )


def _value(weights: Mapping[str, float], number: int) -> str:
    """Return the value that a 64-bit number selects. Weights are whole numbers, the same on every machine."""
    parts = [(text, round(weight * WEIGHT)) for text, weight in weights.items()]
    place = number * sum(weight for _, weight in parts) >> 64
    for text, weight in parts:
        if place < weight:
            return text
        place -= weight
    raise AssertionError("unreachable: the place is below the sum")
