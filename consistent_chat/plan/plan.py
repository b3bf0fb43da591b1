"""The plan: the lazy sequence of all specs of a recipe.

`plan[i]` is computed from (seed, i) alone, in constant time and memory. Specs are laid out so that

- intents take turns, so that any prefix of the plan is balanced and a longer plan begins with the shorter one;
- within an intent, every topic is used once before any is used twice, and categories take turns;
- a topic meets only personas, manners and flows that fit it, and others at each use;
- no combination of topic, flow, persona and manner comes back before all of the topic's have been used;
- of what is drawn for a topic, nothing hangs on the other topics: an added one asks for that one alone;
- a share of each intent's dialogues, exact to within one, is about sensitive topics.

It knows nothing of prompts, stores or models.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from consistent_chat.plan.shape import Shape, Shapes
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import Flow, Intent, Manner, Persona, Tags, Topic
from consistent_chat.recipe.taxonomy.types import SENSITIVE

MAX_SUBSTITUTES = 8
"""Maximum number of substitutes for one index of the plan, after its first spec has failed finally."""
MAX_STAND_INS = 24
"""Maximum number of further substitutes for dialogues that are dropped as near-duplicates. If half of all dialogues are
dropped, one index in 30 million would reach it."""
FURTHER = 2**40
"""Substitutes beyond `MAX_SUBSTITUTES` have a `repeat` below this number, which other substitutes do not reach."""

PARTS = 10_000
"""Parts of the whole in which `sensitive_share` is counted."""

T = TypeVar("T")


@dataclass(frozen=True)
class Spec:
    """The specification of one dialogue, known before any call.

    `index` is its index in the plan, and `substitute` the number of specs that failed at this index before. `repeat`
    counts how often the same combination was drawn before; it is negative for substitutes, so that no substitute
    shares a request with a regular spec.
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


class Plan:
    """The specs of a recipe, as a sequence. `plan.spec(i, substitute)` returns the substitutes."""

    def __init__(self, recipe: Recipe) -> None:
        taxonomy = recipe.chosen_taxonomy
        people, shapes = _people(recipe.seed, taxonomy.personas, taxonomy.manners), Shapes(recipe)
        self._decks = tuple(_Deck(recipe, intent, people, shapes) for intent in taxonomy.intents.values())
        self._dialogs_per_intent = recipe.num_dialogs_per_intent

    def __len__(self) -> int:
        return self._dialogs_per_intent * len(self._decks)

    def __iter__(self) -> Iterator[Spec]:
        return (self.spec(index) for index in range(len(self)))

    def __getitem__(self, index: int) -> Spec:
        if not -len(self) <= index < len(self):
            raise IndexError(f"the plan has {len(self)} dialogues; there is no index {index}")
        return self.spec(index % len(self))

    def spec(self, index: int, substitute: int = 0) -> Spec:
        """Return the spec at an index, or its substitute after that many failures."""
        ordinal, intent = divmod(index, len(self._decks))
        return self._decks[intent].deal(index, ordinal, substitute)

    @property
    def exhausted(self) -> dict[str, int]:
        """Return the intents in which a combination comes back, with the number of dialogues until the first does."""
        until = ((deck.intent.key, deck.until_first_repeat(self._dialogs_per_intent)) for deck in self._decks)
        return {key: number for key, number in until if number < self._dialogs_per_intent}


class _Card(NamedTuple):
    """A topic in its category, the flows that suit it, and its own digest."""

    category: str
    topic: Topic
    flows: tuple[Flow, ...]
    digest: bytes

    @property
    def offset(self) -> int:
        """The facet number at which the topic begins."""
        return int.from_bytes(self.digest[16:24], "big")


class _People:
    """Who could bring up a topic, and how they write: the fitting pairs of each class of needs, in a seed's order."""

    def __init__(self, seed: int, personas: Sequence[Persona], manners: Sequence[Manner]) -> None:
        self._personas = _shuffled(personas, lambda persona: _hash(seed, "persona", persona.text))
        self._manners = _shuffled(manners, lambda manner: _hash(seed, "manner", manner.name))
        self._pairs: dict[Tags, array[int]] = {}

    def pairs(self, topic: Topic) -> array[int]:
        """Return the pairs for a topic, as numbers: a walk along diagonals, so that both parts keep changing."""
        if topic.needs not in self._pairs:
            self._pairs[topic.needs] = array("L", self._fitting(topic))
        return self._pairs[topic.needs]

    def pair(self, number: int) -> tuple[Persona, Manner]:
        """Return the persona and the manner that a number stands for."""
        persona, manner = divmod(number, len(self._manners))
        return self._personas[persona], self._manners[manner]

    def _fitting(self, topic: Topic) -> Iterator[int]:
        count = len(self._manners)
        personas = [(place, one.tags) for place, one in enumerate(self._personas) if one.fits(topic.needs)]
        writes = {
            persona.tags: [manner.fits(persona, topic.marks) for manner in self._manners] for persona in self._personas
        }
        for step, (nth, (persona, tags)) in itertools.product(range(count), enumerate(personas)):
            manner = (nth + step) % count
            if writes[tags][manner]:
                yield persona * count + manner


@functools.lru_cache(maxsize=8)  # a build opens its plan several times
def _people(seed: int, personas: tuple[Persona, ...], manners: tuple[Manner, ...]) -> _People:
    return _People(seed, personas, manners)


class _Deck:
    """All combinations of one intent, in the order in which they are dealt.

    Ordinary and sensitive topics are two piles. Of the first n dialogues, `sensitive_share` of n are of the second,
    to within one.
    """

    def __init__(self, recipe: Recipe, intent: Intent, people: _People, shapes: Shapes) -> None:
        self.intent, self._seed, self._people, self._shapes = intent, recipe.seed, people, shapes
        cards = _cards(recipe.seed, intent)
        piles = [[card for card in cards if (SENSITIVE in card.topic.needs) is marked] for marked in (False, True)]
        self._piles = tuple(piles)
        share = round(recipe.sensitive_share * PARTS) if piles[1] else 0
        self._share = share if piles[0] else PARTS
        self._phase = int.from_bytes(_hash(recipe.seed, intent.key, "sensitive")[:8], "big") % PARTS

    def deal(self, index: int, ordinal: int, substitute: int) -> Spec:
        """Return the spec of a place: the n-th use of a topic is its own n-th combination, counted from its digest."""
        place, pile = self._place(ordinal)
        if not substitute:
            n, number = divmod(place, len(pile))
            return self._spec(index, substitute, pile[number], n, 0)
        further = substitute - MAX_SUBSTITUTES - 1
        if further < 0:  # from the far end, where regular specs come last if ever
            n, number = divmod(place * MAX_SUBSTITUTES + substitute - 1, len(pile))
            return self._spec(index, substitute, pile[-1 - number], -1 - n, 0)
        n, number = divmod(place * MAX_STAND_INS + further, len(pile))
        return self._spec(index, substitute, pile[-1 - number], -1 - n, FURTHER)

    def until_first_repeat(self, most: int) -> int:
        """Return how many dialogues can be dealt before a combination comes back, or `most` where none does."""
        first = most
        for marked, pile in enumerate(self._piles):
            if pile:
                last = min(self._combinations(card) * len(pile) + number for number, card in enumerate(pile))
                first = bisect.bisect_right(range(first), last, key=lambda n: self._dealt(n + 1)[marked])
        return first

    def _dealt(self, ordinal: int) -> tuple[int, int]:
        """Return how many ordinary and sensitive topics come before a place of the intent: whole numbers, exactly."""
        sensitive = (ordinal * self._share + self._phase) // PARTS
        return ordinal - sensitive, sensitive

    def _place(self, ordinal: int) -> tuple[int, list[_Card]]:
        """Return the pile of an intent's n-th dialogue, and the place in it."""
        before, after = self._dealt(ordinal), self._dealt(ordinal + 1)
        marked = after[1] > before[1]
        return before[marked], self._piles[marked]

    def _combinations(self, card: _Card) -> int:
        return len(self._people.pairs(card.topic)) * len(card.flows)

    def _spec(self, index: int, substitute: int, card: _Card, use: int, further: int) -> Spec:
        """Return the spec of a topic's n-th use, which is negative for substitutes."""
        pairs = self._people.pairs(card.topic)
        cycle, _ = divmod(use, size := len(pairs) * len(card.flows))
        start = card.offset + (size // 2 if further else 0)
        block, pair = divmod((start + use) % size, len(pairs))
        flow = card.flows[(block + pair) % len(card.flows)]
        persona, manner = self._people.pair(pairs[pair])
        told = persona.tags.union(card.topic.marks, (manner.name, flow.key))
        repeat = cycle - further
        key = b"\0".join((card.digest, f"{flow.key}\0{persona.text}\0{manner.name}\0{repeat}".encode()))
        shape = self._shapes.draw(key, self.intent, flow, told)
        of = (self.intent, card.category, card.topic.text, flow, persona.text, manner[:2], shape)
        return Spec(index, substitute, repeat, *of, SENSITIVE in card.topic.needs)


def spread(seed: int, intent: Intent) -> Sequence[tuple[str, Topic]]:
    """Return all (category, topic) pairs of an intent, shuffled so that the categories take turns."""
    return [(card.category, card.topic) for card in _cards(seed, intent)]


@functools.lru_cache(maxsize=32)  # a build opens its plan several times, of nine intents mostly
def _cards(seed: int, intent: Intent) -> tuple[_Card, ...]:
    """Return the topics of an intent in the order in which they are dealt."""
    ranked: list[tuple[int, bytes, _Card]] = []
    for category in intent.categories:
        flows = category.flows or intent.flows
        flows = tuple(_shuffled(flows, lambda flow: _hash(seed, intent.key, "flow", flow.key)))
        digests = ((_hash(seed, intent.key, category.name, topic.text), topic) for topic in category.topics)
        cards = sorted((_Card(category.name, topic, flows, digest) for digest, topic in digests), key=_digest)
        ranked += [(rank, card.digest[8:], card) for rank, card in enumerate(cards)]
    return tuple(card for *_, card in sorted(ranked, key=lambda one: one[:2]))


def _digest(card: _Card) -> bytes:
    return card.digest


def _shuffled(items: Iterable[T], key: Callable[[T], bytes]) -> list[T]:
    return sorted(items, key=key)


def _hash(seed: int, *parts: str) -> bytes:
    """Sort by a hash: a shuffle that is the same on every machine and stays in order when an item is added."""
    return hashlib.sha256("\0".join((str(seed), *parts)).encode("utf-8")).digest()
