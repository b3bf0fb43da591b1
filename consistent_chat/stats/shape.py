"""The shape of dialogues: lengths by side and position, outcomes and moods, openings, the uses of each topic.

Memory holds counts of a bounded number of values, and the word pairs of a few dialogues for each of a few topics.
The tables are text for the terminal and the page of a report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from consistent_chat.stats.sample import DialogueSample, content, words
from consistent_chat.stats.summary import PAPER, Distribution, similarity, together, word_pairs

SIDES = ("user messages", "answers")
POSITIONS = ("first", "middle", "last")
"""The position of a message. The only message of a dialogue counts as the first."""
OPENING = 3
"""Words of an opening."""
OPENINGS = 20_000
"""Number of openings that are counted at a time."""
TOPICS = 1_000
"""Number of topics, the first ones, whose dialogues are compared with each other."""
TOPIC_SAMPLE = 5
"""Number of dialogues of a topic, the first ones, that are compared with each other."""


class NaturalFigures(NamedTuple):
    """The lengths in a dataset of natural dialogues: the median of user messages, and both sides' variation."""

    source: str
    dialogues: int
    median_query_words: int
    variation: tuple[float, float]


MT_BENCH_101 = NaturalFigures("MT-Bench-101, arXiv 2402.14762", 1_388, 11, (0.7, 0.8))
"""Counted over the published dialogues, in words between white space."""


class Frequent(Counter[str]):
    """A counter of frequent values in bounded memory (Misra and Gries 1982).

    Of n values, a count is too low by at most n / `OPENINGS`, and exact if there were at most `OPENINGS` values.
    """

    def take(self, value: str) -> None:
        """Count a value. Where there are too many, all counts are lowered by one, and those of 0 removed."""
        self[value] += 1
        if len(self) > OPENINGS:
            for known in [*self]:
                self[known] -= 1
                if not self[known]:
                    del self[known]


@dataclass
class ShapeStats:
    """The shape of all dialogues. `facets` counts the values of each facet in the provenance."""

    lengths: dict[tuple[str, str], Distribution] = field(default_factory=dict)
    facets: dict[str, Frequent] = field(default_factory=dict)
    openings: dict[str, Frequent] = field(default_factory=lambda: {side: Frequent() for side in SIDES})
    messages: Counter[str] = field(default_factory=Counter)
    topics: Frequent = field(default_factory=Frequent)
    _by_topic: dict[str, list[frozenset[tuple[str, str]]]] = field(default_factory=dict, repr=False)

    def add(self, talk: DialogueSample) -> None:
        """Add a dialogue."""
        for side, texts in zip(SIDES, (talk.user_messages, talk.answers)):
            self.messages[side] += len(texts)
            for place, text in enumerate(texts):
                found = words(text)
                position = _position(place, len(texts))
                self.lengths.setdefault((side, position), Distribution())[len(found)] += 1
                self.openings[side].take(" ".join(filter(None, map(content, found[:OPENING]))))
        for facet, value in talk.facets.items():
            self.facets.setdefault(facet, Frequent()).take(value)
        if talk.topic:
            self._add_topic(talk)

    def _add_topic(self, talk: DialogueSample) -> None:
        self.topics.take(talk.topic)
        if talk.topic in self._by_topic or len(self._by_topic) < TOPICS:
            sample = self._by_topic.setdefault(talk.topic, [])
            if len(sample) < TOPIC_SAMPLE:
                sample.append(frozenset(word_pairs((*talk.user_messages, *talk.answers))))

    def length(self, side: str, position: str = "") -> Distribution:
        """Return the words of a side's messages at a position, or of all of them."""
        positions = (position,) if position else POSITIONS
        return together(self.lengths.get((side, each), Distribution()) for each in positions)

    def common_openings(self, side: str, most: int) -> list[tuple[str, int]]:
        """Return the most frequent openings that occur more than once, the most frequent first."""
        return _ranked(((name, count) for name, count in self.openings[side].items() if name and count > 1), most)

    def common_topics(self, most: int) -> list[tuple[str, int]]:
        """Return the most used topics that are used more than once, the most used first."""
        return _ranked(((name, count) for name, count in self.topics.items() if count > 1), most)

    @property
    def uses(self) -> Distribution:
        """The number of dialogues per topic."""
        return Distribution(self.topics.values())

    @property
    def similar_topics(self) -> list[tuple[str, float]]:
        """The self-similarity of each compared topic with several dialogues, the most similar one first."""
        found = ((topic, similarity(sample)) for topic, sample in self._by_topic.items() if len(sample) > 1)
        return sorted(found, key=lambda one: (-one[1], one[0]))


def _position(place: int, count: int) -> str:
    if place == 0:
        return POSITIONS[0]
    return POSITIONS[2] if place == count - 1 else POSITIONS[1]


def _ranked(counts: Iterable[tuple[str, int]], most: int) -> list[tuple[str, int]]:
    ranked: Sequence[tuple[str, int]] = sorted(counts, key=lambda one: (-one[1], one[0]))
    return [*ranked[:most]]


UNKNOWN = "\N{EN DASH}"
SHOWN = 8
"""Number of openings, topics and values of a facet that are shown."""
FACETS = {"outcome": "outcomes", "mood": "moods", "ending": "endings"}
"""The facets that a report shows, with their plural names."""


class Column(NamedTuple):
    """A column of the table of lengths. Those that are `vital` are shown on narrow terminals, too."""

    name: str
    value: Callable[[Distribution], float]
    decimals: int = 0
    vital: bool = False


COLUMNS = (
    Column("mean", lambda found: found.mean, 1, True),
    Column("5 %", lambda found: found.quantile(0.05)),
    Column("25 %", lambda found: found.quantile(0.25)),
    Column("median", lambda found: found.quantile(0.5), 0, True),
    Column("75 %", lambda found: found.quantile(0.75)),
    Column("95 %", lambda found: found.quantile(0.95)),
    Column("variation", lambda found: found.variation, 2, True),
)


class Lengths(NamedTuple):
    """A row of the table of lengths: its kind ("", "sum" or "paper"), its title, and the values of the columns."""

    kind: str
    title: str
    values: list[str]


def lengths(shape: ShapeStats, columns: Sequence[Column] = COLUMNS, with_paper: bool = True) -> list[Lengths]:
    """Return the table of lengths in words, by side and position, and the figures of others below."""
    rows = []
    for side in SIDES:
        found = {position: shape.length(side, position) for position in POSITIONS}
        rows += [Lengths("", f"{side}, {name}", _values(one, columns)) for name, one in found.items() if one]
        rows.append(Lengths("sum", f"{side}, all", _values(shape.length(side), columns)))
    return [*rows, *_others(columns, with_paper)]


def _values(found: Distribution, columns: Sequence[Column]) -> list[str]:
    return [f"{column.value(found):,.{column.decimals}f}" for column in columns]


def _others(columns: Sequence[Column], with_paper: bool) -> list[Lengths]:
    variation = _span(MT_BENCH_101.variation)
    paper: list[tuple[str, Mapping[str, str]]] = [
        ("the paper, user messages", {"mean": _span(PAPER.query_words)}),
        ("the paper, answers", {"mean": _span(PAPER.response_words)}),
    ]
    figures: list[tuple[str, Mapping[str, str]]] = [
        *(paper if with_paper else ()),
        ("MT-Bench-101, user messages", {"median": str(MT_BENCH_101.median_query_words), "variation": variation}),
        ("MT-Bench-101, answers", {"variation": variation}),
    ]
    return [
        Lengths("paper", title, [known.get(column.name, UNKNOWN) for column in columns]) for title, known in figures
    ]


def _span(ends: tuple[float, float]) -> str:
    return "\N{EN DASH}".join(f"{end:,.1f}" for end in ends)


def facet_shares(shape: ShapeStats, facet: str) -> list[tuple[str, int, float]]:
    """Return the values of a facet as (name, dialogues, share of all that have one), the most frequent first."""
    counts = shape.facets.get(facet, Counter[str]())
    total = counts.total()
    ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return [(name.replace("_", " "), count, count / total) for name, count in ranked]


def topics(shape: ShapeStats) -> str:
    """Return a sentence about how often topics are used and how similar the dialogues of one topic are."""
    uses, similar = shape.uses, shape.similar_topics
    if not uses:
        return "not known"
    said = f"{uses.total():,}, each used {_times(uses.smallest, uses.largest)}"
    if similar:
        mean = sum(value for _, value in similar) / len(similar)
        said += f"; self-similarity of dialogues about one topic {mean:.3f}, at most {similar[0][1]:.3f}"
    return said


def _times(fewest: int, most: int) -> str:
    if fewest == most:
        return "once" if most == 1 else f"{most:,} times"
    return f"{fewest:,} to {most:,} times"
