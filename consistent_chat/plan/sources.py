"""The specs of a recipe with seeds: every source is used once before any is used twice.

What is drawn for a source's k-th dialogue follows from the source's own digest. So a row that is added, removed or
moved changes no other dialogue.
"""

from __future__ import annotations

from collections.abc import Sequence

from consistent_chat.plan.cards import (
    FURTHER,
    MAX_STAND_INS,
    MAX_SUBSTITUTES,
    Card,
    Pairs,
    People,
    Spec,
    combination,
    hashed,
    shuffled,
)
from consistent_chat.plan.shape import Shapes
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.seeds import Seeds, Source
from consistent_chat.recipe.taxonomy import Flow, Intent, Manner, Persona, Topic

NO_FLOW = Flow("", "", ())
GIVEN = Intent("given", "Given conversation", "", (NO_FLOW,), ())
"""The intent of given conversations, whose own is not known."""


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
        """The number of sources, which take turns."""
        return len(self._sources)

    @property
    def exhausted(self) -> dict[str, int]:
        """Nothing: that the combinations of one source run out is no matter of an intent's."""
        return {}

    def deal(self, index: int, substitute: int) -> Spec:
        """Return the spec at an index. Substitutes are the same source with what its regular uses draw last."""
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
        """Return the spec of a source's n-th use: its intents take turns, beginning with one that its digest names."""
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
        """Return the spec of a given conversation, of which nothing is drawn but the length of its answers."""
        key = b"\0".join((digest, str(repeat).encode()))
        shape = self._shapes.given(key, len(source.user_messages) + self._extend)
        category = source.category or GIVEN.title
        return Spec(
            index, substitute, repeat, GIVEN, category, source.title, NO_FLOW, "", ("", ""), shape, source=source
        )


def _flows(seed: int, intent: Intent) -> tuple[Flow, ...]:
    return tuple(shuffled(intent.flows, lambda flow: hashed(seed, intent.key, "flow", flow.key)))


class _OnePerson:
    """The persona that a source names, with every manner: its text says nothing of what fits."""

    def __init__(self, persona: str, manners: Sequence[Manner]) -> None:
        self._persona, self._manners = Persona(persona), manners

    def pairs(self, topic: Topic) -> Sequence[int]:
        """Return the number of each manner."""
        return range(len(self._manners))

    def pair(self, number: int) -> tuple[Persona, Manner]:
        """Return the persona, and the manner of a number."""
        return self._persona, self._manners[number]
