"""Text of models and strangers in a card: as HTML blocks, in which nothing is Markdown and no text is markup.

An HTML block ends at the first blank line (CommonMark 0.31, 4.6), so what is returned here has none, and no line breaks
of a text are left in it. Every `<` of a text is escaped, so that none can begin an element, an image or a comment.
"""

from __future__ import annotations

import html
import re
import string
from collections.abc import Iterable, Sequence

from consistent_chat.text.sanitize import visible

_MARKUP = frozenset(string.punctuation) - set("-,'")

LONGEST = 2_000
"""Characters of a message that are shown."""


def line(text: str) -> str:
    """Return a text as one line of HTML."""
    return html.escape(" ".join(visible(text).split()))


def plain(text: str) -> str:
    """Return a text as one line of Markdown in which no sign is markup."""
    signs = " ".join(visible(text).split())
    return "".join(f"&#{ord(sign)};" if sign in _MARKUP else sign for sign in signs)


def message(text: str) -> str:
    """Return a text with its line breaks, as one line of HTML; a long one is cut."""
    shown = visible(text).strip()
    cut = f"{shown[:LONGEST].rstrip()}…" if len(shown) > LONGEST else shown
    paragraphs = re.split(r"\n\s*\n", html.escape(cut))
    return "<br><br>".join("<br>".join(part.split("\n")) for part in paragraphs)


def code(text: str) -> str:
    """Return a text as one line of code."""
    return f"<code>{line(text)}</code>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "right") -> str:
    """Return a table of cells of HTML; `align` is for all columns but the first."""
    lines = [_row("th", head, align), "</thead>", "<tbody>", *(_row("td", row, align) for row in rows)]
    return "\n".join(["<table>", "<thead>", *lines, "</tbody>", "</table>"])


def _row(tag: str, cells: Sequence[str], align: str) -> str:
    first, *rest = cells
    others = "".join(f'<{tag} align="{align}">{cell}</{tag}>' for cell in rest)
    return f'<tr><{tag} align="left">{first}</{tag}>{others}</tr>'


def fence(language: str, lines: Iterable[str]) -> str:
    """Return lines as a block of code that none of them can end."""
    content = [" ".join(visible(line).split("\n")) for line in lines]
    longest = max((len(run) for line in content for run in re.findall("`+", line)), default=0)
    ticks = "`" * max(3, longest + 1)
    return "\n".join([f"{ticks}{language}", *content, ticks])
