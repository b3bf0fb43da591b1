"""The values for templates/sections.html.jinja: the figures, tables and plots above the dialogues of the page."""

from __future__ import annotations

from typing import Any, NamedTuple

from markupsafe import Markup

from consistent_chat.reports.summary import (
    COLUMNS,
    FACETS,
    MEASURES,
    NOT_KNOWN,
    SHOWN,
    Summary,
    cells,
    facet_shares,
    lengths,
    paper_cells,
    topics,
    words,
)
from consistent_chat.stats import PAPER, SAMPLE, DialogueStats
from consistent_chat.stats.charts import plots
from consistent_chat.stats.shape import MT_BENCH_101, SIDES


class _Row(NamedTuple):
    """A row of a table: its class in the style sheet, the text of its first column, and the others."""

    kind: str
    title: str
    values: list[str]


def sections(summary: Summary) -> dict[str, Any]:
    """Return the values of all sections."""
    over = [measure.over for measure in MEASURES]
    return {
        "summary": summary,
        "not_known": NOT_KNOWN,
        "paper": PAPER,
        "sample_size": SAMPLE,
        "over": [(name.capitalize(), over.count(name)) for name in dict.fromkeys(over)],
        "measures": [measure.name.capitalize() for measure in MEASURES],
        "scores": _scores(summary),
        "statistics": _statistics(summary),
        "variety": _variety(summary),
        "natural": MT_BENCH_101,
        "length_columns": [column.name.capitalize() for column in COLUMNS],
        "lengths": lengths(summary.shape, with_paper=summary.is_comparable),
        "facets": _facets(summary),
        "openings": _openings(summary),
        "topics": topics(summary.shape),
        "common_topics": [_Row("", topic, [f"{uses:,}"]) for topic, uses in summary.shape.common_topics(SHOWN)],
        "similar_topics": [_Row("", topic, [f"{value:.3f}"]) for topic, value in summary.shape.similar_topics[:SHOWN]],
        "alarms": [_Row("", words(reason), [side, f"{number:,}"]) for reason, side, number in summary.alarms.ranked],
        "draws": _draws(summary),
        "used": [_Row("", used.model, used.cells()) for used in summary.used],
        "plots": _plots(summary),
    }


def _scores(summary: Summary) -> list[_Row]:
    return [
        _Row("", words(name), [f"{found.total():,}", f"{found.mean:.2f}", f"{found.smallest:,}", f"{found.largest:,}"])
        for name, found in summary.scores.items()
    ]


def _statistics(summary: Summary) -> list[_Row]:
    rows = [_Row("", title, cells(group)) for title, group in summary.intents if group.dialogues]
    paper = [_Row("paper", "The paper, by intent", paper_cells())] if summary.is_comparable else []
    return [*rows, _Row("sum", "All", cells(summary.total)), *paper]


def _variety(summary: Summary) -> list[_Row]:
    rows = [_Row("", title, _varied(group)) for title, group in summary.intents if group.dialogues]
    return [*rows, _Row("sum", "All", _varied(summary.total))]


def _varied(group: DialogueStats) -> list[str]:
    varied = group.diversity
    shares = [f"{share:.3f}" for share in (varied.distinct_1, varied.distinct_2, varied.self_similarity)]
    return [f"{varied.dialogues:,}", *shares, f"{group.duplicates:,}", f"{len(group.categories):,}"]


def _facets(summary: Summary) -> list[_Row]:
    return [
        _Row("", value, [facet, f"{count:,}", f"{share:.0%}"])
        for facet in FACETS
        for value, count, share in facet_shares(summary.shape, facet)[: 2 * SHOWN]
    ]


def _openings(summary: Summary) -> list[_Row]:
    shape = summary.shape
    return [
        _Row("", f"{text} ...", [side, f"{count:,}", f"{count / shape.messages[side]:.1%}"])
        for side in SIDES
        for text, count in shape.common_openings(side, SHOWN)
    ]


def _draws(summary: Summary) -> list[_Row]:
    """Return the failed draws by reason, the most frequent first."""
    failed = summary.total.failed
    return [
        _Row("", words(failure.reason), [failure.stage, f"{number:,}", f"{number / failed.total():.0%}"])
        for failure, number in sorted(failed.items(), key=lambda item: (-item[1], item[0]))
    ]


def _plots(summary: Summary) -> dict[str, Markup]:
    """Return the plots as SVG, by their names."""
    drawn = plots(summary.statistics, summary.titles)
    if not summary.has_tokens:
        del drawn["tokens"]
    return {name: Markup(plot) for name, plot in drawn.items()}  # noqa: S704 - made by an XML writer
