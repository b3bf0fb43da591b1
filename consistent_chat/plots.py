"""The plots of a dataset's statistics as SVG text: words by turn, intents by category, tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from consistent_chat.statistics import Distribution, Group, Statistics
from consistent_chat.svg import LEFT, RIGHT, TOP, WIDTH, Scale, Sheet, text_width, ticks

ACROSS = WIDTH - LEFT - RIGHT
BINS = 36
BOTTOM = 306
BAR, ROW = 17, 52
"""Heights of an intent's bar and of its row."""
MOST, PARTS = 30, 60
"""Intents that have a bar, and parts of a bar; what is more is said, not drawn."""


def plots(statistics: Statistics, titles: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the SVG text of each plot by its file's stem: "turns", "categories", "tokens".

    `titles` names intents by their keys.
    """
    total = statistics.total
    return {
        "turns": turns(total),
        "categories": categories(statistics.intents, titles or {}),
        "tokens": tokens(total),
    }


def turns(group: Group) -> str:
    """Plot the words of user messages and of answers by turn: the mean, and between which four in five are."""
    series = (("user", "user messages", group.queries), ("assistant", "answers", group.answers))
    means = f"{group.query_words.mean:.1f} in user messages and {group.response_words.mean:.1f} in answers"
    note = f"On average {means}; four in five are within the shaded bands"
    sheet = Sheet("turns", 360, "Words by turn", note)
    y = sheet.vertical(max((turn.quantile(0.9) for *_, each in series for turn in each), default=0), BOTTOM)
    count = max(len(group.queries), len(group.answers), 1)
    xs = [LEFT + ACROSS * (turn + 0.5) / count for turn in range(count)]
    for kind, _, each in series:
        _line(sheet, kind, xs, each, y)
    for turn in range(0, count, math.ceil(count / 25)):
        sheet.text(xs[turn], 326, str(turn + 1), "note", "middle")
    sheet.text(LEFT + ACROSS / 2, 346, "turn", "note", "middle")
    sheet.legend(*((kind, name) for kind, name, _ in series))
    return sheet.svg()


def categories(intents: Mapping[str, Group], titles: Mapping[str, str]) -> str:
    """Plot the dialogues of each intent, divided by category, the most frequent first and named as far as they fit."""
    groups = dict(list(intents.items())[:MOST])
    names = [titles.get(key) or key or "unknown" for key in groups]
    most = max((group.dialogues for group in groups.values()), default=0)
    many = sum(len(group.categories) for group in intents.values())
    of = "each intent" if groups == intents else f"the first {MOST} of {len(intents):,} intents"
    note = f"Dialogues of {of}; the parts of a bar are its categories, {many:,} in all"
    sheet = Sheet("categories", TOP + ROW * len(groups) + 8, "Intents by category", note)
    left = 34 + min(190, max((text_width(name) for name in names), default=0))
    right = WIDTH - 24 - text_width(f"{most:,}")
    for row, (name, group) in enumerate(zip(names, groups.values())):
        y = TOP + ROW * row
        counts = sorted(group.categories.items(), key=lambda item: (-item[1], item[0]))
        sheet.text(left - 12, y + 13, name, "", "end", width=200)
        end = _bar(sheet, counts, left, y, (right - left) / (most or 1))
        sheet.text(end + 7, y + 13, f"{group.dialogues:,}", "note")
        sheet.text(left, y + 32, _named(counts, WIDTH - 20 - left), "note", width=WIDTH - 20 - left)
    return sheet.svg()


def tokens(group: Group) -> str:
    """Plot how many dialogues took how many tokens, in and out."""
    known = group.input_tokens.sum + group.output_tokens.sum
    note = "The provider gave no counts of tokens"
    if known:
        means = f"{group.input_tokens.mean:,.0f} in and {group.output_tokens.mean:,.0f} out"
        note = f"How many dialogues took how many; on average {means}, unusable responses included"
    sheet = Sheet("tokens", 360 if known else 84, "Tokens of a dialogue", note)
    if known:
        _histograms(sheet, (("user", group.input_tokens), ("assistant", group.output_tokens)))
        sheet.legend(("user", "tokens in"), ("assistant", "tokens out"))
    return sheet.svg()


def _line(sheet: Sheet, kind: str, xs: Sequence[float], each: Sequence[Distribution], y: Scale) -> None:
    points = list(zip(xs, each))
    if len(points) == 1:  # a line of one point has no length
        points = [(xs[0] + shift, each[0]) for shift in (-16, 16)]
    upper = [(x, y(turn.quantile(0.9))) for x, turn in points]
    lower = [(x, y(turn.quantile(0.1))) for x, turn in points]
    if points:
        sheet.shape("polygon", f"{kind} band", points=" ".join(f"{x:.1f},{v:.1f}" for x, v in upper + lower[::-1]))
        sheet.shape("path", kind, d="M" + " L".join(f"{x:.1f} {y(turn.mean):.1f}" for x, turn in points))
    for number, (x, turn) in enumerate(zip(xs, each), 1):
        hint = f"turn {number}: {turn.mean:.1f} words on average, at most {turn.largest:,}"
        sheet.shape("circle", kind, hint, cx=x, cy=y(turn.mean), r=4 if len(each) <= 40 else 2)


def _bar(sheet: Sheet, counts: Sequence[tuple[str, int]], left: float, y: float, scale: float) -> float:
    """Draw a bar of parts from `left`; return where it ends."""
    x = left
    rest = [(f"{len(counts) - PARTS:,} more", sum(count for _, count in counts[PARTS:]))] if counts[PARTS:] else []
    for number, (name, count) in enumerate([*counts[:PARTS], *rest]):
        kind = "user alternate" if number % 2 else "user"
        width = max(count * scale - 1, count * scale / 2)
        sheet.shape("rect", kind, f"{name}: {count:,}", x=x, y=y, width=width, height=BAR)
        x += count * scale
    return x


def _named(counts: Sequence[tuple[str, int]], width: float) -> str:
    """Name as many categories as there is room for, the first always, and say how many more there are."""
    line = ""
    for number, (name, count) in enumerate(counts):
        longer = f"{line}{', ' if number else ''}{name or 'unknown'} ({count:,})"
        rest = f" and {len(counts) - number:,} more"
        if number and text_width(longer + rest) > width:
            return line + rest
        line = longer
    return line


def _histograms(sheet: Sheet, series: Sequence[tuple[str, Distribution]]) -> None:
    """Draw distributions over each other, on one scale that ends where one value in a hundred is above."""
    across = ticks(max(values.quantile(0.99) for _, values in series))
    width = across[-1] / BINS
    heights = [Counter({0: 0}) for _ in series]
    for bins, (_, values) in zip(heights, series):
        for value, count in values.items():
            bins[min(int(value / width), BINS - 1)] += count
    y = sheet.vertical(max(max(bins.values()) for bins in heights), BOTTOM)
    for bins, (kind, _) in zip(heights, series):
        for number, count in sorted(bins.items()):
            _column(sheet, kind, number, count, width, y)
    for _, values in series:
        x = LEFT + ACROSS * min(values.mean / across[-1], 1)
        sheet.shape("line", "mean", f"mean {values.mean:,.0f}", x1=x, x2=x, y1=TOP, y2=BOTTOM)
    for value in across:
        sheet.text(LEFT + ACROSS * value / across[-1], 326, f"{value:,}", "note", "middle")
    sheet.text(LEFT + ACROSS / 2, 346, "tokens", "note", "middle")


def _column(sheet: Sheet, kind: str, number: int, count: int, width: float, y: Scale) -> None:
    start, top = LEFT + ACROSS * number / BINS, y(count)
    last = " and more" if number == BINS - 1 else f" to {width * (number + 1):,.0f}"
    hint = f"{count:,} dialogues with {width * number:,.0f}{last} tokens"
    if count:
        sheet.shape("rect", f"{kind} column", hint, x=start + 1, y=top, width=ACROSS / BINS - 2, height=BOTTOM - top)
