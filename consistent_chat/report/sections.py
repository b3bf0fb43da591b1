"""The parts of the page that stand above the dialogues, as HTML: numbers, tables, plots. All text is escaped here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from consistent_chat.report.summary import MEASURES, NOT_KNOWN, Summary, cells, paper_cells, words
from consistent_chat.stats import PAPER, SAMPLE, DialogueStats
from consistent_chat.stats.charts import plots
from consistent_chat.text.sanitize import visible

PARTS = {"overview": "Overview", "statistics": "Statistics", "variety": "Variety", "draws": "Failed draws"}


def contents() -> str:
    """Return the links to the parts of the page."""
    parts = {**PARTS, "dialogues": "Dialogues"}
    return "".join(f'<li><a href="#{key}">{title}</a></li>' for key, title in parts.items())


def sections(summary: Summary) -> str:
    """Return all parts."""
    made = {"overview": _overview, "statistics": _statistics, "variety": _variety, "draws": _draws}
    return "\n".join(
        f'<section id="{key}" aria-labelledby="{key}-title"><div class="wide">'
        f'<h2 id="{key}-title">{title}</h2>{made[key](summary)}</div></section>'
        for key, title in PARTS.items()
    )


def _overview(summary: Summary) -> str:
    unknown = ' class="unknown"'
    figures = "".join(
        f"<div><dt>{_text(name)}</dt><dd{unknown if value == NOT_KNOWN else ''}>{_text(value)}</dd>"
        f"{f'<dd class=more>{_text(more)}</dd>' if more else ''}</div>"
        for name, value, more in summary.figures
    )
    notes = "".join(f'<p class="note">{_text(note)}</p>' for note in summary.notes)
    return f'<dl class="figures">{figures}</dl>{notes}{_scores(summary)}'


def _scores(summary: Summary) -> str:
    head = _head("Score", "Dialogues", "Mean", "Lowest", "Highest")
    rows = [
        ("", words(name), [f"{scores.total():,}", f"{scores.mean:.2f}", f"{min(scores):,}", f"{scores.largest:,}"])
        for name, scores in summary.scores.items()
    ]
    return _table("Scores", head, rows) if rows else ""


def _statistics(summary: Summary) -> str:
    note = (
        f"Beside the dataset of the paper ({escape(PAPER.source)}; {PAPER.dialogues:,} dialogues). A query is a user "
        "message, a response an answer, an utterance either; a word is what white space sets apart."
    )
    over = "".join(_over(name) for name in dict.fromkeys(measure.over for measure in MEASURES))
    names = "".join(f'<th scope="col">{measure.name.capitalize()}</th>' for measure in MEASURES)
    head = f'<tr><th scope="col" rowspan="2">Intent</th>{over}</tr><tr>{names}</tr>'
    rows = [("", title, cells(group)) for title, group in summary.intents if group.dialogues]
    rows += [("sum", "All", cells(summary.total)), ("paper", "The paper, by intent", paper_cells())]
    drawn = plots(summary.statistics, summary.titles)
    if not summary.has_tokens:
        del drawn["tokens"]
    return f'<p class="note">{note}</p>{_table("Statistics by intent", head, rows)}{_plots(drawn)}'


def _over(name: str) -> str:
    columns = sum(measure.over == name for measure in MEASURES)
    return (
        f'<th scope="colgroup" colspan="{columns}">{name.capitalize()}</th>'
        if name
        else f'<td colspan="{columns}"></td>'
    )


def _variety(summary: Summary) -> str:
    note = (
        "distinct-n is the share of words (n=1) and of pairs of neighbouring words (n=2) that are different; "
        "self-similarity the mean overlap of the word pairs of two dialogues (Jaccard). Both are measured on a sample "
        f"of at most {SAMPLE} dialogues, since they depend on how much is looked at. A duplicate has the very messages "
        "of an earlier dialogue."
    )
    head = _head("Intent", "Looked at", "distinct-1", "distinct-2", "Self-similarity", "Duplicates", "Categories")
    rows = [("", title, _varied(group)) for title, group in summary.intents if group.dialogues]
    rows.append(("sum", "All", _varied(summary.total)))
    return f'<p class="note">{note}</p>{_table("Variety by intent", head, rows)}'


def _varied(group: DialogueStats) -> list[str]:
    varied = group.diversity
    shares = [f"{share:.3f}" for share in (varied.distinct_1, varied.distinct_2, varied.self_similarity)]
    return [f"{varied.dialogues:,}", *shares, f"{group.duplicates:,}", f"{len(group.categories):,}"]


def _draws(summary: Summary) -> str:
    total = summary.total
    known = "A failed draw is an answer that was of no use and was asked for again. It was paid for, and is kept."
    if not total.failed:
        return f'<p class="note">{known} None is known of here.</p>{_used(summary)}'
    count = total.failed.total()
    head = _head("Reason", "Stage", "Draws", "Share")
    rows = [
        ("", words(failure.reason), [failure.stage, f"{number:,}", f"{number / count:.0%}"])
        for failure, number in sorted(total.failed.items(), key=lambda item: (-item[1], item[0]))
    ]
    return f'<p class="note">{known}</p>{_table("Failed draws by reason", head, rows)}{_used(summary)}'


def _used(summary: Summary) -> str:
    head = (
        "<tr>"
        + "".join(f'<th scope="col">{name}</th>' for name in ("Model", "Tokens in", "Tokens out", "Cost"))
        + "</tr>"
    )
    rows = [("", used.model, used.cells()) for used in summary.used]
    return _table("Tokens and cost by model", head, rows) if rows else ""


def _head(*names: str) -> str:
    return "<tr>" + "".join(f'<th scope="col">{name}</th>' for name in names) + "</tr>"


def _table(name: str, head: str, rows: Iterable[tuple[str, str, Sequence[str]]]) -> str:
    body = "".join(
        f'<tr class="{kind}"><th scope="row" dir="auto">{_text(title)}</th>'
        f"{''.join(f'<td>{_text(value)}</td>' for value in values)}</tr>"
        for kind, title, values in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table>'
        f"<thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _plots(drawn: dict[str, str]) -> str:
    figures = (f'<figure tabindex="0" role="group" aria-label="{name}">{svg}</figure>' for name, svg in drawn.items())
    return f'<div class="plots">{"".join(figures)}</div>'


def _text(text: str) -> str:
    return escape(visible(text))


def styles(html: str) -> list[str]:
    """Return the style sheets within some parts, which the page's policy must name."""
    return [_unescaped(text) for text in dict.fromkeys(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))]


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
