"""The whole card: what is made stands between two markers, and what somebody has written around them stays."""

from __future__ import annotations

import re

from consistent_chat.card import header
from consistent_chat.card.about import About, Seen
from consistent_chat.card.body import body
from consistent_chat.stats.charts import plots
from consistent_chat.text.markup import plain

BEGIN = "<!-- consistent_chat:begin. What follows is made anew each time. Write above or below: that stays. -->"
END = "<!-- consistent_chat:end -->"
_MARKER = re.compile(r"^<!-- consistent_chat:(begin|end)\b[^\n]*-->[ \t]*(?:\r?\n|\Z)", re.MULTILINE)


def files(about: About, seen: Seen, previous: str = "") -> dict[str, str]:
    """Return the text of README.md, as `card` does, and of the images in it, by their paths."""
    images = plots(seen.statistics, about.titles)
    return {"README.md": card(about, seen, previous), **{f"plots/{name}.svg": svg for name, svg in images.items()}}


def card(about: About, seen: Seen, previous: str = "") -> str:
    """Return the text of README.md. The same build and previous card give the same text; it holds no date.

    Of the previous card, everything outside of the marker lines is kept to the letter. Where no begin has an end as
    the next marker, all of it is somebody's own text: it stays first, and what is made here follows. In its header,
    the keys of `OWNED` are set anew, all others stay as they are, and what is not there is added.

    Raises ConsistentChatError where that header is not valid YAML.
    """
    before, text = header.split(previous.removeprefix("\ufeff"))
    head = header.merged(before, header.metadata(about, seen))
    return f"---\n{head}\n---\n{_placed(text, about, seen, header.has_licence(head))}"


def _placed(text: str, about: About, seen: Seen, has_licence: bool) -> str:
    """Put what is made into a body: in place of what was made before, or else at its end."""
    made = f"{BEGIN}\n\n{body(about, seen, has_licence)}\n\n{END}\n"
    place = _place(text)
    if place is not None:
        return f"{text[: place.start]}{made}{text[place.stop :]}"
    if not text.strip():
        text = f"\n# {plain(about.title)}\n"
    gap = "\n" if text.endswith("\n") else "\n\n"
    return f"{text}{gap}{made}"


def _place(text: str) -> slice | None:
    markers = list(_MARKER.finditer(text))
    pairs = ((first, then) for first, then in zip(markers, markers[1:]) if (first[1], then[1]) == ("begin", "end"))
    pair = next(pairs, None)
    return None if pair is None else slice(pair[0].start(), pair[1].end())
