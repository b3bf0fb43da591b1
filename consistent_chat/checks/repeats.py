"""Messages of one side that say the same again, word for word or nearly so."""

from __future__ import annotations

import re
from itertools import combinations

from consistent_chat.checks.side import Side
from consistent_chat.parse import Reason

LEAST_WORDS = 4
"""A shorter message may come again: "Go on.", "Next one, please.", "Correct!"."""
LEAST_LETTERS = 24
"""The same for writing without spaces, and for one long word."""
LETTERS_A_WORD = 12
"""Where words seem to be longer than this, the writing has no spaces, and three letters stand for a word."""


def repeats(side: Side, similarity: float) -> None:
    """Raise Unusable if two messages say the same, word for word or nearly.

    Nearly is: about as long, some quarter of the one stands in the other, and they share so much of their words, of
    what either has (Jaccard). Messages that differ in a number differ: "7 times 8" is not "7 times 9".
    """
    texts, sizes = side.lower, [len(text) for text in side.lower]
    for i, j in combinations(range(len(texts)), 2):
        is_as_long = similarity * sizes[i] <= sizes[j] and similarity * sizes[j] <= sizes[i]
        if is_as_long and _touch(texts[i], texts[j]) and _is_same(texts[i], texts[j], similarity):
            raise side.unusable(j, Reason.REPEATS, f"repeats {side.role}_{i + 1}")


def _touch(one: str, other: str) -> bool:
    """Tell whether a piece of one text stands in the other: most texts are told apart by that, and quickly."""
    step = -(-len(one) // 4)
    half = 2 * step
    return one[:step] in other or one[step:half] in other or one[half : -step or None] in other or one[-step:] in other


def _is_same(one: str, other: str, similarity: float) -> bool:
    first, second = _units(one), _units(other)
    shared = len(first & second)
    enough = min(len(one.split()), len(other.split())) >= LEAST_WORDS or len(min(one, other, key=len)) >= LEAST_LETTERS
    alike = shared >= similarity * (len(first) + len(second) - shared)
    return enough and alike and set(_NUMBER(one)) == set(_NUMBER(other))


def _units(text: str) -> frozenset[str]:
    """Return what is compared: words, or groups of three letters where there are no spaces between words."""
    words = frozenset(_WORD(text))
    if text.isascii() or len(text) < LETTERS_A_WORD * max(len(words), 1):
        return words
    return frozenset(text[at : at + 3] for at in range(len(text) - 2))


_WORD = re.compile(r"[\w']+").findall
_NUMBER = re.compile(r"\w*\d(?:[\w.,:]*\w)?").findall
