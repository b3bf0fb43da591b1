"""The check for a message that repeats a piece of itself."""

from __future__ import annotations

import re
from collections import Counter

from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.parse import Reason

PROBE = 10
"""Length in characters of the piece that is searched for in the rest of a message."""
LEAST_LOOP = 30
"""A shorter message, in characters, may repeat: "no no no no"."""
LOOPED = 0.4
"""The minimum share of a message that repeats."""


def loops(side: Side) -> None:
    """Raise Unusable if a large part of a message is one piece repeated."""
    copies, asked = side.limits["loops"], side.asked
    for number, text in enumerate(side.messages):
        length = len(text)
        if length < LEAST_LOOP:
            continue
        size = PROBE if text.isascii() else PROBE // 2
        tail, middle = text[-size - 4 : -4], text[length // 2 : length // 2 + size]
        if text.count(tail) >= copies or text.count(middle) >= copies:
            said = side.prose(number)
            is_asked = side.role == "assistant" and _TIMES(asked[number].lower()) if number < len(asked) else None
            if not is_asked and any(_is_loop(said, probe.lower(), copies) for probe in (tail, middle)):
                raise side.unusable(number, Reason.LOOPS, f"repeats itself: {text[-40:]!r}")


def _is_loop(text: str, probe: str, copies: int) -> bool:
    """Tell whether the pieces between the positions of a probe are equal, except for numbers, in much of a text."""
    pieces = text.split(probe)
    inner = Counter(_DIGITS.sub("", piece) for piece in pieces[1:-1])
    if not inner:
        return False
    piece, count = inner.most_common(1)[0]
    unit = probe + piece
    has_letters = any(character.isalpha() for character in unit)
    return has_letters and count + 1 >= copies and (count + 1) * len(unit) >= LOOPED * len(text)


_TIMES = re.compile(
    r"\d ?(?:times|mal|veces|fois|volte|vezes|раз|遍|次|回)|\b(?:repeat|times|refrain|chorus|song|chant)\b"
).search


_DIGITS = re.compile(r"\d+")
