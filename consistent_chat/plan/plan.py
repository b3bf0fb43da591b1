"""The plan: the lazy sequence of all specs of a recipe.

`plan[i]` is computed from (seed, i) alone, in constant time and memory. Specs are laid out so that

- intents take turns, so that any prefix of the plan is balanced and a longer plan begins with the shorter one;
- within an intent, every topic is used once before any is used twice, and categories take turns;
- the facets (persona, manner, flow) of a topic's next use are others, each value as often as any other;
- no combination of topic, flow, persona and manner comes back before all have been used.

It knows nothing of prompts, stores or models.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import Flow, Intent

MAX_SUBSTITUTES = 8
"""How many further specs one place in the plan may try after its first has failed for good."""
MAX_STAND_INS = 24
"""How many more it may try for dialogues that are dropped as near-duplicates. Were every second one, so many would be
dropped in a row once in 30 million places."""
FURTHER = 2**40
"""Below this, `repeat` counts the stand-ins beyond `MAX_SUBSTITUTES`; substitutes do not reach it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Spec:
    """What one dialogue is to be, known before any call.

    `index` is its place in the plan and `substitute` how many specs failed there before it. `repeat` counts how
    often the same combination was drawn before; it is negative for substitutes, so that none ever shares a
    request with a regular spec.
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


class Plan:
    """The specs of a recipe: `len(plan)`, `plan[i]`, iteration, and `plan.spec(i, substitute)`."""

    def __init__(self, recipe: Recipe) -> None:
        taxonomy = recipe.chosen_taxonomy
        facets = tuple(taxonomy.personas), tuple(taxonomy.manners)
        self._decks = tuple(_deck(recipe.seed, intent, *facets) for intent in taxonomy.intents.values())
        self._dialogs_per_intent = recipe.num_dialogs_per_intent

    def __len__(self) -> int:
        return self._dialogs_per_intent * len(self._decks)

    def __iter__(self) -> Iterator[Spec]:
        return (self.spec(index) for index in range(len(self)))

    def __getitem__(self, index: int) -> Spec:
        if not -len(self) <= index < len(self):
            raise IndexError(f"the plan has {len(self)} dialogues; there is none at {index}")
        return self.spec(index % len(self))

    def spec(self, index: int, substitute: int = 0) -> Spec:
        """Return the spec at a place of the plan, or the one that stands in after `substitute` failures there."""
        ordinal, intent = divmod(index, len(self._decks))
        return self._decks[intent].deal(index, ordinal, substitute)

    @property
    def exhausted(self) -> dict[str, int]:
        """Return the intents that have fewer combinations than dialogues asked for, with that number."""
        small = (deck for deck in self._decks if deck.combinations < self._dialogs_per_intent)
        return {deck.intent.key: deck.combinations for deck in small}


class _Deck:
    """All combinations of one intent, in the order in which they are dealt."""

    def __init__(self, seed: int, intent: Intent, personas: Sequence[str], manners: Sequence[tuple[str, str]]) -> None:
        def shuffled(kind: str, items: Iterable[T]) -> list[T]:
            return sorted(items, key=lambda item: _hash(seed, intent.key, kind, item))

        self.intent = intent
        self._topics = spread(seed, intent)
        self._personas = shuffled("persona", personas)
        self._manners = shuffled("manner", manners)
        self._flows = sorted(intent.flows, key=lambda flow: _hash(seed, intent.key, "flow", flow.key))
        self._facets = len(self._personas) * len(self._manners) * len(self._flows)
        # A step that shares no factor with the number of facets visits all of them before any twice.
        self._step = next(n for n in range(len(self._topics), 10**9) if math.gcd(n, self._facets) == 1)
        self.combinations = len(self._topics) * self._facets

    def deal(self, index: int, ordinal: int, substitute: int) -> Spec:
        cycle, position = divmod(ordinal, self.combinations)
        if substitute:
            cycle, position = self._far(ordinal, substitute)
        round_, topic = divmod(position, len(self._topics))
        persona, manner, flow = self._facet((topic + round_ * self._step) % self._facets)
        category, text = self._topics[topic]
        return Spec(index, substitute, cycle, self.intent, category, text, flow, persona, manner)

    def _far(self, ordinal: int, substitute: int) -> tuple[int, int]:
        """Deal substitutes from the far end, where regular specs come last if ever, and stand-ins from the middle."""
        further = substitute - MAX_SUBSTITUTES - 1
        if further < 0:
            cycle, position = divmod(ordinal * MAX_SUBSTITUTES + substitute - 1, self.combinations)
            return -1 - cycle, self.combinations - 1 - position
        cycle, position = divmod(ordinal * MAX_STAND_INS + further, self.combinations)
        return -FURTHER - cycle, (self.combinations // 2 - position) % self.combinations

    def _facet(self, number: int) -> tuple[str, tuple[str, str], Flow]:
        """Return the number-th combination of facets: a walk along diagonals, so that each facet keeps changing."""
        block, p = divmod(number, len(self._personas))
        slab, m = divmod(block, len(self._manners))
        manner = (m + p) % len(self._manners)
        flow = (slab + m + sum(divmod(p, len(self._manners)))) % len(self._flows)
        return self._personas[p], self._manners[manner], self._flows[flow]


_deck = functools.lru_cache(maxsize=32)(_Deck)
"""A build opens its plan several times, of nine intents mostly; to shuffle them takes 15 ms each time."""


def spread(seed: int, intent: Intent) -> Sequence[tuple[str, str]]:
    """Return all (category, topic) pairs of an intent, shuffled so that the categories take turns."""
    ranked = []
    for category, topics in intent.categories:
        shuffled = sorted(topics, key=lambda topic: _hash(seed, intent.key, category, topic))
        ranked += [(rank, _hash(seed, intent.key, rank, category), category, t) for rank, t in enumerate(shuffled)]
    return tuple((category, topic) for *_, category, topic in sorted(ranked))


def _hash(*parts: object) -> bytes:
    """Order by a hash: a shuffle that is the same everywhere, and that an added item does not overturn."""
    return hashlib.sha256(json.dumps(parts).encode("ascii")).digest()
