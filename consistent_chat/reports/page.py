"""The report as one self-contained HTML file. It opens offline; its content security policy forbids requests."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import re
import tempfile
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Any, NamedTuple

from markupsafe import Markup

from consistent_chat.errors import RecipeError
from consistent_chat.output import Output
from consistent_chat.output.places import StandardOutput
from consistent_chat.recipe.review import Review
from consistent_chat.reports.payload import Payload
from consistent_chat.reports.summary import MEASURES, NOT_KNOWN, Summary, cells, paper_cells, words
from consistent_chat.stats import PAPER, SAMPLE, DialogueStats
from consistent_chat.stats.charts import plots
from consistent_chat.stats.shape import COLUMNS, FACETS, MT_BENCH_101, SHOWN, SIDES, facet_shares, lengths, topics
from consistent_chat.text.templates import environment
from consistent_chat.version import __version__

SUFFIXES = (".html", ".htm")

_TEMPLATES = environment("consistent_chat.reports")


@contextlib.contextmanager
def writing(place: Output, summary: Summary, review: Review | None = None) -> Iterator[Payload]:
    """Collect entries for a page, and write the page to `place` at the end, with the marks of an earlier review.

    Raises RecipeError if it cannot be written.
    """
    if place.suffix not in SUFFIXES and not isinstance(place, StandardOutput):  # the name may be the dataset's
        raise RecipeError(f"--html {place.name} must end in {' or '.join(SUFFIXES)}.")
    place.check()
    with tempfile.TemporaryFile() as spool:
        payload = Payload(summary, spool, review)
        yield payload
        with place.write() as file:
            for text in _page(summary, payload):
                file.write(text.encode("utf-8"))


def _page(summary: Summary, payload: Payload) -> Iterator[str]:
    """Yield the page in pieces, so that memory never holds all of its dialogues."""
    style, script, values = _file("page.css"), _file("marks.js") + _file("page.js"), sections(summary)
    models = [used.model for used in summary.used]
    return _TEMPLATES.get_template("page.html.jinja").generate(
        **values,
        payload=payload,
        writers=[model for model in models if model not in summary.judges],
        scorers=[model for model in models if model in summary.judges],
        style=Markup(style),  # noqa: S704 - the package's own file
        script=Markup(script),  # noqa: S704 - the package's own file
        style_digests=[_digest(sheet) for sheet in [style, *_styles(values["plots"].values())]],
        script_digest=_digest(script),
        version=__version__,
    )


def _styles(plots: Iterable[str]) -> list[str]:
    """Return the style sheets in SVG plots, as a browser reads them."""
    found = (text for plot in plots for text in re.findall(r"<style>(.*?)</style>", plot, re.DOTALL))
    return [html.unescape(text) for text in dict.fromkeys(found)]


def _digest(text: str) -> str:
    """Return the SHA-256 of a style sheet or script in base64, for the content security policy."""
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _file(name: str) -> str:
    return resources.files("consistent_chat.reports").joinpath(name).read_text("utf-8")


class _Row(NamedTuple):
    """A row of a table: its CSS class, the text of its first column, and the other columns."""

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
