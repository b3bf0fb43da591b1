"""The plan: the lazy sequence of all specs of a recipe.

`plan[i]` is computed from (seed, i) alone, in constant time and memory. Specs are arranged so that

- intents take turns, so that any prefix of the plan is balanced and a longer plan begins with the shorter one;
- within an intent, every topic is used once before any is used twice, and categories take turns;
- a topic meets only personas, manners and flows that fit it, and others at each use;
- no combination of topic, flow, persona and manner is repeated before all combinations of the topic were used;
- what is drawn for a topic does not depend on other topics, so an added topic needs responses only for itself;
- a share of each intent's dialogues, exact to within one, is about sensitive topics.

The plan knows nothing about prompts, stores or models.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from consistent_chat.plan.cards import (
    FURTHER,
    MAX_STAND_INS,
    MAX_SUBSTITUTES,
    Card,
    Pairs,
    People,
    Spec,
    combination,
    drawn,
    hashed,
    people_of,
    shuffled,
)
from consistent_chat.plan.shape import Shapes
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.seeds import Seeds, Source
from consistent_chat.recipe.taxonomy import Flow, Intent, Manner, Persona, Topic
from consistent_chat.recipe.taxonomy.types import SENSITIVE

CYCLE = 1_000
"""Number of dialogues after which the order of weighted languages repeats."""
PARTS = 10_000
"""`sensitive_share` is rounded to this fraction of the whole."""


class Plan:
    """The specs of a recipe, as a sequence. `plan.spec(i, substitute)` returns the substitutes."""

    def __init__(self, recipe: Recipe) -> None:
        taxonomy = recipe.chosen_taxonomy
        people, shapes = people_of(recipe.seed, taxonomy.personas, taxonomy.manners), Shapes(recipe)
        seeds = recipe.loaded_seeds
        self._attributes, self._seed = recipe.attributes, recipe.seed
        self._decks: _Decks = (
            _TopicDecks(recipe, people, shapes) if seeds is None else SourceDecks(recipe, seeds, people, shapes)
        )

        self._languages = _turns(recipe.language)

    def __len__(self) -> int:
        return len(self._decks)

    def __iter__(self) -> Iterator[Spec]:
        return (self.spec(index) for index in range(len(self)))

    def __getitem__(self, index: int) -> Spec:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: the plan has {len(self)} dialogues")
        return self.spec(index % len(self))

    def spec(self, index: int, substitute: int = 0) -> Spec:
        """Return the spec at an index, or its n-th substitute, which has the same language."""
        spec = self._decks.deal(index, substitute)
        if len(self._languages) > 1:
            place = sum(divmod(index, self._decks.width))  # so that languages alternate within an intent or a source
            spec = replace(spec, language=self._languages[place % len(self._languages)])
        return spec if self._attributes is None else drawn(spec, self._attributes, self._seed)

    @property
    def exhausted(self) -> dict[str, int]:
        """Return the intents in which combinations repeat, with the number of dialogues before the first repeat."""
        return self._decks.exhausted


class _Decks(Protocol):
    """What a plan is dealt from: the topics, or the user's sources."""

    def __len__(self) -> int: ...

    @property
    def width(self) -> int:
        """The number of intents or sources, which alternate."""

    def deal(self, index: int, substitute: int) -> Spec:
        """Return the spec at an index, or its n-th substitute."""

    @property
    def exhausted(self) -> dict[str, int]:
        """Return the intents in which a combination comes back, with the number of dialogues until the first does."""


class _TopicDecks:
    """The decks of all intents, which alternate."""

    def __init__(self, recipe: Recipe, people: People, shapes: Shapes) -> None:
        intents = recipe.chosen_taxonomy.intents.values()
        self._decks = tuple(_Deck(recipe, intent, people, shapes) for intent in intents)
        self._dialogs_per_intent = recipe.num_dialogs_per_intent

    def __len__(self) -> int:
        return self._dialogs_per_intent * len(self._decks)

    @property
    def width(self) -> int:
        return len(self._decks)

    def deal(self, index: int, substitute: int) -> Spec:
        ordinal, intent = divmod(index, len(self._decks))
        return self._decks[intent].deal(index, ordinal, substitute)

    @property
    def exhausted(self) -> dict[str, int]:
        until = ((deck.intent.key, deck.until_first_repeat(self._dialogs_per_intent)) for deck in self._decks)
        return {key: number for key, number in until if number < self._dialogs_per_intent}


class _Deck:
    """All combinations of one intent, in the order in which they are dealt.

    Ordinary and sensitive topics are two piles. Of the first n dialogues, `sensitive_share` of n, to within one, are
    about sensitive topics.
    """

    def __init__(self, recipe: Recipe, intent: Intent, people: People, shapes: Shapes) -> None:
        self.intent, self._seed, self._people, self._shapes = intent, recipe.seed, people, shapes
        cards = _cards(recipe.seed, intent)
        piles = [[card for card in cards if (SENSITIVE in card.topic.needs) is marked] for marked in (False, True)]
        self._piles = tuple(piles)
        share = round(recipe.sensitive_share * PARTS) if piles[1] else 0
        self._share = share if piles[0] else PARTS
        self._phase = int.from_bytes(hashed(recipe.seed, intent.key, "sensitive")[:8], "big") % PARTS

    def deal(self, index: int, ordinal: int, substitute: int) -> Spec:
        """Return the spec of a position: the n-th use of a topic is its n-th combination, starting at its digest."""
        place, pile = self._place(ordinal)
        if not substitute:
            n, number = divmod(place, len(pile))
            return self._spec(index, substitute, pile[number], n, 0)
        further = substitute - MAX_SUBSTITUTES - 1
        if further < 0:  # from the far end, which regular specs reach last
            n, number = divmod(place * MAX_SUBSTITUTES + substitute - 1, len(pile))
            return self._spec(index, substitute, pile[-1 - number], -1 - n, 0)
        n, number = divmod(place * MAX_STAND_INS + further, len(pile))
        return self._spec(index, substitute, pile[-1 - number], -1 - n, FURTHER)

    def until_first_repeat(self, most: int) -> int:
        """Return how many dialogues can be dealt before a combination repeats, or `most` if none does."""
        first = most
        for marked, pile in enumerate(self._piles):
            if len(pile) < self._dealt(most)[marked]:  # otherwise no topic comes twice
                last = min(self._combinations(card) * len(pile) + number for number, card in enumerate(pile))
                first = bisect.bisect_right(range(first), last, key=lambda n: self._dealt(n + 1)[marked])
        return first

    def _dealt(self, ordinal: int) -> tuple[int, int]:
        """Return how many ordinary and sensitive topics precede a position of the intent, in exact whole numbers."""
        sensitive = (ordinal * self._share + self._phase) // PARTS
        return ordinal - sensitive, sensitive

    def _place(self, ordinal: int) -> tuple[int, list[Card]]:
        """Return the pile of an intent's n-th dialogue, and the position in it."""
        marks = ordinal * self._share + self._phase
        sensitive = marks // PARTS
        if (marks + self._share) // PARTS > sensitive:
            return sensitive, self._piles[1]
        return ordinal - sensitive, self._piles[0]

    def _combinations(self, card: Card) -> int:
        return len(self._people.pairs(card.topic)) * len(card.flows)

    def _spec(self, index: int, substitute: int, card: Card, use: int, further: int) -> Spec:
        """Return the spec of a topic's n-th use, which is negative for substitutes."""
        drawn = combination(self._people, self._shapes, self.intent, card, use, further)
        of = (self.intent, card.category, card.topic.text, drawn.flow, drawn.persona, drawn.manner, drawn.shape)
        return Spec(index, substitute, drawn.repeat, *of, SENSITIVE in card.topic.needs)


def _turns(language: Any) -> tuple[str, ...]:
    """Return the languages in an order in which each has its share of every prefix, to within one."""
    if isinstance(language, str):
        return (language,)
    if not isinstance(language, Mapping):
        return tuple(language)
    total, dealt, turns = sum(language.values()), dict.fromkeys(language, 0), list[str]()
    while len(turns) < CYCLE:
        due = max(language, key=lambda name: language[name] / total * (len(turns) + 1) - dealt[name])
        dealt[due] += 1
        turns.append(due)
    return tuple(turns)


def spread(seed: int, intent: Intent) -> Sequence[tuple[str, Topic]]:
    """Return all (category, topic) pairs of an intent, shuffled so that the categories alternate."""
    return [(card.category, card.topic) for card in _cards(seed, intent)]


@functools.lru_cache(maxsize=32)  # a build opens its plan several times, usually with nine intents
def _cards(seed: int, intent: Intent) -> tuple[Card, ...]:
    """Return the topics of an intent in the order in which they are dealt."""
    ranked: list[tuple[int, bytes, Card]] = []
    for category in intent.categories:
        flows = category.flows or intent.flows
        flows = tuple(shuffled(flows, lambda flow: hashed(seed, intent.key, "flow", flow.key)))
        digests = ((hashed(seed, intent.key, category.name, topic.text), topic) for topic in category.topics)
        cards = sorted((Card(category.name, topic, flows, digest) for digest, topic in digests), key=_digest)
        ranked += [(rank, card.digest[8:], card) for rank, card in enumerate(cards)]
    return tuple(card for *_, card in sorted(ranked, key=lambda one: one[:2]))


def _digest(card: Card) -> bytes:
    return card.digest


NO_FLOW = Flow("", "", ())
GIVEN = Intent("given", "Given conversation", "", (NO_FLOW,), ())
"""The intent of given conversations, because their real intent is unknown."""


class SourceDecks:
    """All dialogues of all sources, in the order of their digests."""

    def __init__(self, recipe: Recipe, seeds: Seeds, people: People, shapes: Shapes) -> None:
        self._sources, self._uses, self._extend = seeds.sources, seeds.dialogs_per_seed, seeds.extend
        self._seed, self._people, self._shapes = recipe.seed, people, shapes
        self._intents = tuple(recipe.chosen_taxonomy.intents.values())
        self._flows = {intent.key: _flows(recipe.seed, intent) for intent in self._intents}

    def __len__(self) -> int:
        return len(self._sources) * self._uses

    @property
    def width(self) -> int:
        """The number of sources, which alternate."""
        return len(self._sources)

    @property
    def exhausted(self) -> dict[str, int]:
        """Always empty, because the combinations of a source do not belong to an intent."""
        return {}

    def deal(self, index: int, substitute: int) -> Spec:
        """Return the spec at an index.

        Its substitutes have the same source and the combinations that are drawn last.
        """
        nth, place = divmod(index, len(self._sources))
        further = substitute - MAX_SUBSTITUTES - 1
        if not substitute:
            use, stand_in = nth, 0
        elif further < 0:
            use, stand_in = -(nth * MAX_SUBSTITUTES + substitute), 0
        else:
            use, stand_in = -1 - (nth * MAX_STAND_INS + further), FURTHER
        return self._spec(index, substitute, self._sources[place], use, stand_in)

    def _spec(self, index: int, substitute: int, source: Source, use: int, further: int) -> Spec:
        """Return the spec of a source's n-th use.

        Its intents alternate; the first one depends on the source's digest.
        """
        digest = hashed(self._seed, "source", source.digest)
        turn, nth = divmod(use, len(self._intents))
        if source.conversation:
            return self._given(index, substitute, source, digest, use - further)
        intent = self._intents[(int.from_bytes(digest[:4], "big") + nth) % len(self._intents)]
        card = Card(source.category or intent.title, Topic(source.title), self._flows[intent.key], digest)
        people: Pairs = _OnePerson(source.persona, self._people.manners) if source.persona else self._people
        drawn = combination(people, self._shapes, intent, card, turn, further)
        of = (intent, card.category, card.topic.text, drawn.flow, drawn.persona, drawn.manner, drawn.shape)
        return Spec(index, substitute, drawn.repeat, *of, source=source)

    def _given(self, index: int, substitute: int, source: Source, digest: bytes, repeat: int) -> Spec:
        """Return the spec of a given conversation, for which only the length of the answers is drawn."""
        key = b"\0".join((digest, str(repeat).encode()))
        shape = self._shapes.given(key, len(source.user_messages) + self._extend)
        category = source.category or GIVEN.title
        return Spec(
            index, substitute, repeat, GIVEN, category, source.title, NO_FLOW, "", ("", ""), shape, source=source
        )


def _flows(seed: int, intent: Intent) -> tuple[Flow, ...]:
    return tuple(shuffled(intent.flows, lambda flow: hashed(seed, intent.key, "flow", flow.key)))


class _OnePerson:
    """The persona that a source defines, with every manner, because nothing is known about which manners fit it."""

    def __init__(self, persona: str, manners: Sequence[Manner]) -> None:
        self._persona, self._manners = Persona(persona), manners

    def pairs(self, topic: Topic) -> Sequence[int]:
        """Return the number of each manner."""
        return range(len(self._manners))

    def pair(self, number: int) -> tuple[Persona, Manner]:
        """Return the persona and the manner with a number."""
        return self._persona, self._manners[number]
