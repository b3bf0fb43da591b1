"""The shape of a report's dialogues as text: lengths, facets, openings, topics, for the terminal and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from consistent_chat.stats import Distribution
from consistent_chat.stats.shape import MT_BENCH_101, POSITIONS, SIDES, ShapeStats
from consistent_chat.stats.summary import PAPER

UNKNOWN = "\N{EN DASH}"
SHOWN = 8
"""Number of openings, topics and values of a facet that are shown."""
FACETS = {"outcome": "outcomes", "mood": "moods", "ending": "endings"}
"""The facets that a report shows, with their names in the plural."""


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


def lengths(shape: ShapeStats, columns: Sequence[Column] = COLUMNS) -> list[Lengths]:
    """Return the table of lengths in words, by side and position, and the figures of others below."""
    rows = []
    for side in SIDES:
        found = {position: shape.length(side, position) for position in POSITIONS}
        rows += [Lengths("", f"{side}, {name}", _values(one, columns)) for name, one in found.items() if one]
        rows.append(Lengths("sum", f"{side}, all", _values(shape.length(side), columns)))
    return [*rows, *_others(columns)]


def _values(found: Distribution, columns: Sequence[Column]) -> list[str]:
    return [f"{column.value(found):,.{column.decimals}f}" for column in columns]


def _others(columns: Sequence[Column]) -> list[Lengths]:
    variation = _span(MT_BENCH_101.variation)
    figures: list[tuple[str, Mapping[str, str]]] = [
        ("the paper, user messages", {"mean": _span(PAPER.query_words)}),
        ("the paper, answers", {"mean": _span(PAPER.response_words)}),
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
    """Return how often topics are used, and how alike the dialogues of one topic are, as a sentence."""
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
