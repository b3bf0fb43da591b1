"""The report on the terminal: tables as wide as the terminal, up to 100 columns, or plain text in a pipe or file."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from consistent_chat.reports.summary import MEASURES, Summary, cells, paper_cells, words
from consistent_chat.stats import PAPER
from consistent_chat.stats.shape import COLUMNS, FACETS, SHOWN, SIDES, facet_shares, lengths, topics
from consistent_chat.text import counted
from consistent_chat.text.console import screen, shown

NARROW = 88
"""Below this width in columns, the paper's figures are on a separate line and not in the table."""
NARROWER = 64
"""Below this width in columns, the table has means only."""


def show(summary: Summary) -> None:
    """Print the report."""
    console = screen()
    console.print(shown(summary.title), style="bold")
    console.print(_statistics(summary, console.width))
    console.print(_lengths(summary, console.width))
    for line in _lines(summary, console.width < NARROW):
        console.print(line)


def show_checks(counts: Mapping[tuple[str, str], int]) -> None:
    """Print the number of findings by reason and side."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("reason")
    for side in ("users", "answers"):
        table.add_column(side, justify="right")
    reasons = sorted({reason for reason, _ in counts})
    for reason in sorted(reasons, key=lambda name: -counts.get((name, "users"), 0) - counts.get((name, "answers"), 0)):
        table.add_row(reason, *(f"{counts.get((reason, side), 0):,}" for side in ("users", "answers")))
    screen().print(table if reasons else "No findings.")


def _statistics(summary: Summary, width: int) -> Table:
    measures = [measure for measure in MEASURES if width >= NARROWER or measure.name != "max"]
    table = Table(box=None, pad_edge=False, padding=(0, 2 if width >= NARROW else 1, 0, 0), header_style="dim")
    table.add_column("\n\nintent", overflow="fold", min_width=12)
    for measure in measures:
        lines = [*measure.over.split(), measure.name]
        table.add_column("\n".join([""] * (3 - len(lines)) + lines), justify="right", no_wrap=True)
    for title, group in summary.intents:
        if group.dialogues:
            table.add_row(shown(title), *cells(group, measures))
    table.add_row("all", *cells(summary.total, measures), style="bold")
    if width >= NARROW and summary.is_comparable:
        table.add_row("the paper, by intent", *paper_cells(), style="dim")
    return table


def _lengths(summary: Summary, width: int) -> Table:
    columns = [column for column in COLUMNS if width >= NARROWER or column.vital]
    table = Table(box=None, pad_edge=False, padding=(0, 2 if width >= NARROW else 1, 0, 0), header_style="dim")
    table.add_column("\nwords of", overflow="fold", min_width=12)
    for column in columns:
        table.add_column(f"\n{column.name}", justify="right", no_wrap=True)
    styles = {"sum": "bold", "paper": "dim"}
    for row in lengths(summary.shape, columns, summary.is_comparable):
        table.add_row(row.title, *row.values, style=styles.get(row.kind))
    return table


def _shape(summary: Summary) -> list[tuple[str, str]]:
    """Return the lines about known outcomes, openings and topics."""
    shape = summary.shape
    shares = [(name, facet_shares(shape, facet)[:SHOWN]) for facet, name in FACETS.items()]
    openings = [(f"openings of {side}", shape.common_openings(side, SHOWN)) for side in SIDES]
    return [
        *((name, ", ".join(f"{value} {share:.0%}" for value, _, share in found)) for name, found in shares if found),
        *((name, ", ".join(f'"{text}" {count:,}' for text, count in found)) for name, found in openings if found),
        ("topics", topics(shape)),
    ]


def _alarms(summary: Summary) -> str:
    found = ", ".join(f"{number:,} {words(reason)} ({side})" for reason, side, number in summary.alarms.ranked)
    return f"{summary.alarms}" + (f": {found}" if found else "")


def _lines(summary: Summary, narrow: bool) -> list[Text]:
    total, varied = summary.total, summary.total.diversity
    figures = {name: value for name, value, _ in summary.figures}
    lines = [
        ("variety", f"distinct-1 {varied.distinct_1:.3f}, distinct-2 {varied.distinct_2:.3f}, self-similarity "
         f"{varied.self_similarity:.3f}, on {counted(varied.dialogues, 'dialogue')}"),
        ("duplicates", f"{total.duplicates:,} {summary.repeated}"),
        *_shape(summary),
        ("alarms of checks", _alarms(summary)),
        ("failed draws", _reasons(summary)),
        ("tokens", ", ".join(f"{used.model}: {_tokens(used.cells())}" for used in summary.used) or figures["Tokens"]),
        *([("not counted", summary.uncounted)] if summary.uncounted else []),
        *([("caches", summary.caches)] if summary.caches else []),
        *((words(name), f"{seen.mean:.2f} on average, at least {min(seen)}") for name, seen in summary.scores.items()),
        *(("note", note) for note in summary.notes),
        *([("the paper", _paper(narrow))] if summary.is_comparable else []),
    ]  # fmt: skip
    return [Text.assemble((f"{name}: ", "dim"), shown(said)) for name, said in lines]


def _paper(narrow: bool) -> str:
    said = f"{PAPER.source}, {PAPER.dialogues:,} dialogues"
    names = (f"{measure.over} {measure.name}".strip() for measure in MEASURES)
    ranges = ", ".join(f"{name} {value}" for name, value in zip(names, paper_cells()))
    return f"{said}; by intent: {ranges}" if narrow else said


def _reasons(summary: Summary) -> str:
    reasons = [f"{count:,} {words(reason)}" for reason, count in summary.total.reasons.items()]
    return f"{summary.total.failed.total():,} ({', '.join(reasons)})" if reasons else "none known"


def _tokens(cells: list[str]) -> str:
    tokens_in, tokens_out, cost = cells
    return tokens_in if len({*cells}) == 1 else f"{tokens_in} in, {tokens_out} out, cost {cost}"
