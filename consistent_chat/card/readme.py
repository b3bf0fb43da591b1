"""The whole card. The generated part is between two marker lines; text that users write around it is kept."""

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
    """Return README.md, as `card` makes it, and its images: texts by their paths."""
    images = plots(seen.statistics, about.titles)
    return {"README.md": card(about, seen, previous), **{f"plots/{name}.svg": svg for name, svg in images.items()}}


def card(about: About, seen: Seen, previous: str = "") -> str:
    """Return the text of README.md. The same build and previous card give the same text; it contains no date.

    Text of the previous card outside the marker lines is kept unchanged. If the previous card has no begin marker that
    is directly followed by an end marker, all of it is kept and the generated part is appended. In the header, the keys
    of `OWNED` are set again, all others stay unchanged, and missing ones are added.

    Raises ConsistentChatError if the header of the previous card is not valid YAML.
    """
    before, text = header.split(previous.removeprefix("\ufeff"))
    head = header.merged(before, header.metadata(about, seen))
    return f"---\n{head}\n---\n{_placed(text, about, seen, header.has_licence(head))}"


def _placed(text: str, about: About, seen: Seen, has_licence: bool) -> str:
    """Return a body with the generated part in place of the previous one, or at the end if there was none."""
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
