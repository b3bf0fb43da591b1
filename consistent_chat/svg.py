"""A sheet to plot on: SVG text without script, font or link, readable in light and dark, as an image and inline."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from consistent_chat.visible import visible

WIDTH, LEFT, RIGHT, TOP = 760, 58, 28, 84
"""Pixels of a sheet, and of the space around what is plotted."""

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
"""A page that shows a plot inline sets `--plot-surface`, `--plot-ink` and the others to colours of its own."""

Scale = Callable[[float], float]


class Sheet:
    """A titled sheet of a given height in pixels; `name` makes its ids unique in a page."""

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
        SubElement(self._root, "desc", {"id": f"{name}-desc"}).text = visible(note)
        SubElement(self._root, "style").text = STYLE
        self.shape("rect", "surface", x=0, y=0, width=WIDTH, height=height, rx=8)
        self.text(20, 32, title, "title")
        self.text(20, 54, note, "note", width=WIDTH - 40)

    def svg(self) -> str:
        """Return the whole as text."""
        return ElementTree.tostring(self._root, encoding="unicode") + "\n"

    def shape(self, tag: str, kind: str, hint: str = "", /, **attributes: object) -> None:
        """Draw a shape of a class; the hint is shown where a mouse rests on it."""
        values = {
            name: f"{value:.5g}" if isinstance(value, float) else str(value) for name, value in attributes.items()
        }
        element = SubElement(self._root, tag, {"class": kind, **values})
        if hint:
            SubElement(element, "title").text = visible(hint)

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start", width: float = 0) -> None:
        """Write one line; one that would be wider than `width` is cut, and ends in an ellipsis."""
        line = " ".join(visible(text).split())
        attributes = {"class": kind} if kind else {}
        place = {"x": _short(x), "y": _short(y), "text-anchor": anchor}
        SubElement(self._root, "text", {**attributes, **place}).text = fitted(line, width) if width else line

    def vertical(self, largest: float, bottom: float) -> Scale:
        """Draw lines for round values from 0 to at least `largest`; return what gives a value's height on the sheet."""
        values = ticks(largest)
        height = bottom - TOP

        def scale(value: float) -> float:
            return bottom - height * value / values[-1]

        for value in values:
            self.shape("line", "grid", x1=LEFT, x2=WIDTH - RIGHT, y1=scale(value), y2=scale(value))
            self.text(LEFT - 8, scale(value) + 4, f"{value:,}", "note", "end")
        return scale

    def legend(self, *entries: tuple[str, str]) -> None:
        """Say at the top right what the classes of shapes stand for."""
        x = float(WIDTH - RIGHT)
        for kind, name in reversed(entries):
            self.text(x, 32, name, "", "end")
            x -= text_width(name) + 20
            self.shape("rect", kind, x=x, y=22, width=11, height=11, rx=2)
            x -= 16


def ticks(largest: float) -> list[int]:
    """Return about five round whole numbers, from 0 to the first that is not below `largest`."""
    rough = max(largest / 4, 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough)
    return [step * number for number in range(max(1, math.ceil(largest / step)) + 1)]


def text_width(text: str) -> float:
    """Return about how many pixels a line takes, rather too many than too few."""
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
    """Return a line, or as much of its beginning as there is room for, with an ellipsis; nothing of very little."""
    if text_width(line) <= width:
        return line
    room = width - text_width("…")
    for end, character in enumerate(line):
        room -= _character_width(character)
        if room < 0:
            return f"{line[:end].rstrip()}…" if end > 3 else ""
    return line
