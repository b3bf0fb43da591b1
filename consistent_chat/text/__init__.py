"""Text for people. Here: numbers of things, and how summaries look where they are evaluated.

console.py    what the package prints
languages.py  languages and writing systems
sanitize.py   text that is safe to show: no misleading characters, no secrets
templates.py  templates, in which every value is escaped
"""

from __future__ import annotations

import html

from consistent_chat.text.sanitize import sanitize


def counted(number: int, noun: str) -> str:
    """Return "1 row", "2,000 rows", "3 categories": a number of things by their English name, which is regular."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"
    return f"{number:,} {plural}"


class Summarized:
    """A mixin for summaries, whose text is that of `str`. Dataclasses need `repr=False` for it."""

    def __repr__(self) -> str:
        first, *more = sanitize(str(self)).split("\n")
        return f"<{type(self).__name__}: {first}{' ...' if more else ''}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows, by IPython's convention."""
        return f"<pre>{html.escape(sanitize(str(self)))}</pre>"
