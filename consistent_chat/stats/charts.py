"""Charts of a dataset's statistics as SVG: words by turn, intents by category, tokens.

They are written without a plotting library, so that the same dataset gives the same bytes on every machine.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from consistent_chat.stats import DialogueStats, Distribution, Statistics
from consistent_chat.text.sanitize import sanitize

WIDTH, LEFT, RIGHT, TOP = 760, 58, 28, 84
"""Width of a chart, and the margins around the plotted area, in pixels."""

STYLE = """
.cc-plot { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Helvetica, Arial, sans-serif;
  font-size: 13px; max-width: 100%; height: auto; --surface: var(--plot-surface, #ffffff);
  --ink: var(--plot-ink, #1f2328); --muted: var(--plot-muted, #59636e); --grid: var(--plot-grid, #e4e8ec);
  --user: var(--plot-user, #1f6fd0); --assistant: var(--plot-assistant, #c8511b); }
@media (prefers-color-scheme: dark) { .cc-plot { --surface: var(--plot-surface, #151b23);
  --ink: var(--plot-ink, #f0f6fc); --muted: var(--plot-muted, #a2abb5); --grid: var(--plot-grid, #2f3742);
  --user: var(--plot-user, #62a8ff); --assistant: var(--plot-assistant, #f5935c); } }
.cc-plot .surface { fill: var(--surface); } .cc-plot text { fill: var(--ink); }
.cc-plot .title { font-size: 16px; font-weight: 600; } .cc-plot .note { fill: var(--muted); font-size: 12px; }
.cc-plot .grid { stroke: var(--grid); } .cc-plot .mean { stroke: var(--ink); stroke-dasharray: 4 3; }
.cc-plot .user { fill: var(--user); } .cc-plot .assistant { fill: var(--assistant); }
.cc-plot path { stroke-width: 2.5; stroke-linejoin: round; } .cc-plot .band { opacity: 0.16; }
.cc-plot path.user { fill: none; stroke: var(--user); }
.cc-plot path.assistant { fill: none; stroke: var(--assistant); }
.cc-plot .alternate { opacity: 0.66; } .cc-plot .column { opacity: 0.8; }
"""
"""A page that embeds a chart can set the colours: `--plot-surface`, `--plot-ink` and so on."""

Scale = Callable[[float], float]


class Sheet:
    """A chart with a title. `height` is in pixels; `name` makes the ids in the SVG unique within a page."""

    def __init__(self, name: str, height: int, title: str, note: str) -> None:
        self._root = Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "class": "cc-plot",
                "viewBox": f"0 0 {WIDTH} {height}",
                "width": str(WIDTH),
                "height": str(height),
                "role": "img",
                "aria-labelledby": f"{name}-title {name}-desc",
            },
        )
        SubElement(self._root, "title", {"id": f"{name}-title"}).text = title
        SubElement(self._root, "desc", {"id": f"{name}-desc"}).text = sanitize(note)
        SubElement(self._root, "style").text = STYLE
        self.shape("rect", "surface", x=0, y=0, width=WIDTH, height=height, rx=8)
        self.text(20, 32, title, "title")
        self.text(20, 54, note, "note", width=WIDTH - 40)

    def svg(self) -> str:
        """Return the SVG."""
        return ElementTree.tostring(self._root, encoding="unicode") + "\n"

    def shape(self, tag: str, kind: str, hint: str = "", /, **attributes: object) -> None:
        """Draw a shape of a CSS class. The hint is its tooltip."""
        values = {
            name: f"{value:.5g}" if isinstance(value, float) else str(value) for name, value in attributes.items()
        }
        element = SubElement(self._root, tag, {"class": kind, **values})
        if hint:
            SubElement(element, "title").text = sanitize(hint)

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start", width: float = 0) -> None:
        """Write one line of text. Text wider than `width` is cut and ends in an ellipsis."""
        line = " ".join(sanitize(text).split())
        attributes = {"class": kind} if kind else {}
        place = {"x": _short(x), "y": _short(y), "text-anchor": anchor}
        SubElement(self._root, "text", {**attributes, **place}).text = fitted(line, width) if width else line

    def vertical(self, largest: float, bottom: float) -> Scale:
        """Draw a grid from 0 to at least `largest`; return the function from a value to its y coordinate."""
        values = ticks(largest)
        height = bottom - TOP

        def scale(value: float) -> float:
            return bottom - height * value / values[-1]

        for value in values:
            self.shape("line", "grid", x1=LEFT, x2=WIDTH - RIGHT, y1=scale(value), y2=scale(value))
            self.text(LEFT - 8, scale(value) + 4, f"{value:,}", "note", "end")
        return scale

    def legend(self, *entries: tuple[str, str]) -> None:
        """Draw the legend of the CSS classes at the top right."""
        x = float(WIDTH - RIGHT)
        for kind, name in reversed(entries):
            self.text(x, 32, name, "", "end")
            x -= text_width(name) + 20
            self.shape("rect", kind, x=x, y=22, width=11, height=11, rx=2)
            x -= 16


def ticks(largest: float) -> list[int]:
    """Return about five round whole numbers, from 0 up to the first one that is at least `largest`."""
    rough = max(largest / 4, 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough)
    return [step * number for number in range(max(1, math.ceil(largest / step)) + 1)]


def text_width(text: str) -> float:
    """Return an upper estimate of the width of a line of text, in pixels."""
    return sum(_character_width(character) for character in text)


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _character_width(character: str) -> float:
    if unicodedata.combining(character):
        return 0
    if unicodedata.east_asian_width(character) in "WF":
        return 13.0
    return 9.5 if character.isupper() or character in "mwMW@%" else 5.0 if character in "ijltf ,.()'" else 7.2


def fitted(line: str, width: float) -> str:
    """Return a line that fits, cut with an ellipsis if it is too long; empty if almost nothing would fit."""
    if text_width(line) <= width:
        return line
    room = width - text_width("…")
    for end, character in enumerate(line):
        room -= _character_width(character)
        if room < 0:
            return f"{line[:end].rstrip()}…" if end > 3 else ""
    return line


ACROSS = WIDTH - LEFT - RIGHT
BINS = 36
BOTTOM = 306
BAR, ROW = 17, 52
"""Heights of an intent's bar and of its row, in pixels."""
MOST, PARTS = 30, 60
"""Maximum number of bars, and of parts of a bar. The number of those left out is stated in the chart."""


def plots(statistics: Statistics, titles: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the charts as SVG, by the stem of their file names: "turns", "categories", "tokens".

    `titles` are the titles of the intents by their keys.
    """
    total = statistics.total
    return {
        "turns": turns(total),
        "categories": categories(statistics.intents, titles or {}),
        "tokens": tokens(total),
    }


def turns(group: DialogueStats) -> str:
    """Plot the number of words of user messages and answers by turn: the mean, and the range of the middle 80 %."""
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


def categories(intents: Mapping[str, DialogueStats], titles: Mapping[str, str]) -> str:
    """Plot the number of dialogues of each intent, divided by category. Names are shown if they fit."""
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


def tokens(group: DialogueStats) -> str:
    """Plot histograms of the input and output tokens of a dialogue."""
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
    """Draw a bar of several parts that starts at x = `left`; return the x at which it ends."""
    x = left
    rest = [(f"{len(counts) - PARTS:,} more", sum(count for _, count in counts[PARTS:]))] if counts[PARTS:] else []
    for number, (name, count) in enumerate([*counts[:PARTS], *rest]):
        kind = "user alternate" if number % 2 else "user"
        width = max(count * scale - 1, count * scale / 2)
        sheet.shape("rect", kind, f"{name}: {count:,}", x=x, y=y, width=width, height=BAR)
        x += count * scale
    return x


def _named(counts: Sequence[tuple[str, int]], width: float) -> str:
    """Return the first category, the others that fit, and the number of the rest."""
    line = ""
    for number, (name, count) in enumerate(counts):
        longer = f"{line}{', ' if number else ''}{name or 'unknown'} ({count:,})"
        rest = f" and {len(counts) - number:,} more"
        if number and text_width(longer + rest) > width:
            return line + rest
        line = longer
    return line


def _histograms(sheet: Sheet, series: Sequence[tuple[str, Distribution]]) -> None:
    """Draw histograms over each other. The x axis ends at the 99th percentile."""
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
