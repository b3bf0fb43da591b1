"""The shape of one dialogue, drawn only from the digest of its combination.

Each facet reads its own slice of the digest, so changed weights of one facet affect no other facet, and other dialogues
of the plan have no effect.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from consistent_chat.recipe import Recipe, shape
from consistent_chat.recipe.shape import Option
from consistent_chat.recipe.taxonomy import Flow, Intent, Tags
from consistent_chat.recipe.taxonomy.types import NO_TAGS, PASTED

SLICES = 8
"""Number of 8-byte slices of the digest before those of the turns.

Each turn has two: for the message and the answer.
"""


TWO_PLACES = 3
"""Minimum turns for an outcome that mentions two messages, neither of which is the last."""

T = TypeVar("T")


class Size(NamedTuple):
    """The length of a message: the kind of size and the approximate number of words."""

    kind: str
    words: int


class Shape(NamedTuple):
    """The shape of a dialogue.

    `early` and `late` are the numbers, from 1, of the messages that the outcome mentions; 0 if none. `numbers` are used
    to draw the sizes, two per turn; `opens` is the minimum size of the first message.
    """

    turns: int
    mood: Option
    outcome: Option
    ending: Option
    answer_length: Option
    message_length: Option
    early: int
    late: int
    numbers: tuple[int, ...]
    opens: str

    @property
    def messages(self) -> tuple[Size, ...]:
        """The sizes of the user messages, one per turn."""
        sizes = [_sizes(self.message_length.sizes)] * self.turns
        if self.opens:
            sizes[0] = _opening(self.opens, sizes[0])
        if self.ending.sizes:
            sizes[-1] = _sizes(self.ending.sizes)
        return _drawn(sizes, self.numbers[::2])

    @property
    def replies(self) -> tuple[Size, ...]:
        """The sizes of the answers, one per turn."""
        sizes = [_sizes(self.answer_length.sizes)] * self.turns
        if self.ending.reply:
            sizes[-1] = _sizes(((self.ending.reply, 1),))
        return _drawn(sizes, self.numbers[1::2])


NOTHING = Option("", 1)
NO_SHAPE = Shape(0, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, 0, 0, (), "")
"""The shape of a dialogue without planned facets."""


MOST_CASES = 4_096
"""Cases of which a plan holds the options that suit them."""


class Shapes:
    """Draws the shapes of a recipe's dialogues."""

    def __init__(self, recipe: Recipe) -> None:
        self._turns = _Weighted(recipe.turn_weights.items())
        self._facets = [_Facet(name, shape.options(name, getattr(recipe, name))) for name in shape.FACETS]
        self._telling = NO_TAGS.union(*(facet.telling for facet in self._facets))
        self._cases: dict[Any, tuple[_Weighted[Option], ...]] = {}
        wished = recipe.answer_length
        self._wished = wished and _Weighted((one, one.weight) for one in shape.options("answer_length", wished))
        self._slices = struct.Struct(f">{SLICES + 2 * recipe.most_turns}Q")

    def given(self, key: bytes, turns: int) -> Shape:
        """Return the shape of a given conversation: only the length of answers is drawn, if the recipe sets one."""
        if not self._wished:
            return NO_SHAPE._replace(turns=turns)
        numbers = struct.unpack(f">{1 + 2 * turns}Q", hashlib.shake_128(key).digest(8 + 16 * turns))
        length = self._wished.pick(numbers[0])
        return NO_SHAPE._replace(turns=turns, answer_length=length, numbers=numbers[1:])

    def draw(self, key: bytes, intent: Intent, flow: Flow, told: Tags) -> Shape:
        """Draw the shape for a combination. `key` identifies it.

        `told` has the marks of its topic, the tags of its persona, its manner and its flow.
        """
        numbers = self._slices.unpack(hashlib.shake_128(key).digest(self._slices.size))
        turns = self._turns.pick(numbers[0])
        suited = self._suited(intent.key, told & self._telling, turns)
        mood, outcome, ending, answer_length, message_length = [
            options.pick(number) for options, number in zip(suited, numbers[1:])
        ]
        early, late = _places(outcome, turns, numbers[SLICES - 1])
        sizing = numbers[SLICES : SLICES + 2 * turns]
        return Shape(turns, mood, outcome, ending, answer_length, message_length, early, late, sizing, flow.opens)

    def _suited(self, *case: Any) -> tuple[_Weighted[Option], ...]:
        """Return the options of each facet for an intent, tags and a number of turns: a few hundred in a recipe."""
        if (suited := self._cases.get(case)) is None:
            if len(self._cases) >= MOST_CASES:
                self._cases = {}
            suited = self._cases[case] = tuple(facet.suited(*case) for facet in self._facets)
        return suited


class _Weighted(Generic[T]):
    """Weighted values, one of which a number below 2**64 selects."""

    def __init__(self, weighted: Iterable[tuple[T, int]]) -> None:
        pairs = tuple(weighted)
        self._values = tuple(value for value, _ in pairs)
        self._sums = tuple(itertools.accumulate(weight for _, weight in pairs))
        self._total = self._sums[-1] if pairs else 0

    def pick(self, number: int) -> T:
        return self._values[bisect_right(self._sums, number * self._total >> 64)]


class _Facet:
    """The options of a facet. The options for an intent, tags and a number of turns are computed once for each case."""

    def __init__(self, name: str, options: Sequence[Option]) -> None:
        self._name, self._options = name, tuple(options)
        self.telling = NO_TAGS.union(*(one.unlike for one in options))
        self._asking = max(one.turns for one in options)
        self._cases: dict[tuple[str, Tags, int], _Weighted[Option]] = {}

    def suited(self, intent: str, told: Tags, turns: int) -> _Weighted[Option]:
        """Return the suitable options by weight.

        Options that the recipe sets take precedence, if there are enough turns.
        """
        case = (intent, told & self.telling, turns if turns < self._asking else self._asking)
        if (fitting := self._cases.get(case)) is None:
            fitting = self._cases[case] = _Weighted((one, one.weight) for one in self._fitting(*case))
        return fitting

    def _fitting(self, intent: str, told: Tags, turns: int) -> list[Option]:
        known = intent in shape.told_intents()
        suited = [one for one in self._options if not (known and one.intents) or intent in one.intents]
        long_enough = [one for one in suited or self._options if one.turns <= turns]
        if not long_enough:
            usual = shape.options(self._name)
            return [one for one in usual if one.turns <= turns and not (one.intents or one.unlike)]
        return [one for one in long_enough if one.unlike.isdisjoint(told)] or long_enough


def _places(outcome: Option, turns: int, number: int) -> tuple[int, int]:
    """Return the two messages that an outcome mentions. The last message is reserved for the ending."""
    if outcome.turns < TWO_PLACES:
        return 0, 0
    late = 2 + (number & 0xFFFFFFFF) % (turns - 2)
    return 1 + (number >> 32) % (late - 1), late


@functools.lru_cache(maxsize=64)
def _sizes(weighted: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int, int], ...]:
    """Return each kind of size as often as its weight says, with its minimum words and the width of its range."""
    ranges = ((kind, *_range(kind), weight) for kind, weight in weighted)
    return tuple((kind, low, high - low + 1) for kind, low, high, weight in ranges for _ in range(weight))


@functools.lru_cache(maxsize=64)
def _opening(least: str, sizes: tuple[tuple[str, int, int], ...]) -> tuple[tuple[str, int, int], ...]:
    """Return the sizes of a first message: only pasted material, or at least the minimum unless a recipe sets words."""
    floor = _sizes(((least, 1),))
    if least == PASTED:
        return floor
    return tuple(one if one[1] >= floor[0][1] or one[0].startswith("=") else floor[0] for one in sizes)


def _drawn(sizes: Sequence[tuple[tuple[str, int, int], ...]], numbers: Sequence[int]) -> tuple[Size, ...]:
    """Draw the kind of size of each message, and how many words within it."""
    return tuple(
        [
            _size((kind, low + ((number & 0xFFFFFFFF) * span >> 32)))
            for of, number in zip(sizes, numbers)
            for kind, low, span in (of[number * len(of) >> 64],)
        ]
    )


_size = functools.partial(tuple.__new__, Size)
"""Makes a `Size` of a pair without a call of its own, of which a plan has a dozen a dialogue."""


def _range(kind: str) -> tuple[int, int]:
    """Return the range of words of a kind; "=40" means a mean of 40."""
    if kind in shape.sizes():
        return shape.sizes()[kind]
    words = int(kind[1:])
    return max(1, words // 3), max(1, 2 * words - words // 3)
