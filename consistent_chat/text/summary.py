"""How summaries look where they are evaluated: one line in a console, HTML in a notebook."""

from __future__ import annotations

import html

from consistent_chat.text.sanitize import visible


class Summarized:
    """A mixin for summaries, whose text is that of `str`. Dataclasses need `repr=False` for it."""

    def __repr__(self) -> str:
        first, *more = visible(str(self)).split("\n")
        return f"<{type(self).__name__}: {first}{' ...' if more else ''}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows, by IPython's convention."""
        return f"<pre>{html.escape(visible(str(self)))}</pre>"
