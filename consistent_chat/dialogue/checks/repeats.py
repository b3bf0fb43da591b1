"""Finds messages of one side that repeat another, word for word or nearly."""

from __future__ import annotations

import re
from collections.abc import Sequence

from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.parse import Reason

LEAST_WORDS = 4
"""A shorter message may be repeated: "Go on.", "Next one, please.", "Correct!"."""
LEAST_LETTERS = 24
"""The same for writing without spaces, and for one long word."""
EDGE = 12
"""Characters of beginnings and ends that are compared."""
LETTERS_A_WORD = 12
"""If words appear longer than this, the writing has no spaces, and three letters count as a word."""


def repeats(side: Side) -> None:
    """Raise Unusable if two messages are the same, word for word or nearly.

    Nearly means: similar lengths, the same beginning or end, and this share of common words
    (Jaccard). Messages that differ in a number differ: "7 times 8" is not "7 times 9". An answer
    whose new words the user has just said is a revision.
    """
    similarity = side.limits["repeats"]
    for i, j in _candidates(side.lower, similarity):
        one, other = sorted((side.lower[i], side.lower[j]), key=len)
        if not _is_same(one, other, similarity):
            continue
        if side.role == "user" or not _is_revision(side.lower[i], side.lower[j], side.asked[j : j + 1]):
            raise side.unusable(j, Reason.REPEATS, f"repeats {side.role}_{i + 1}")


def _is_revision(before: str, after: str, asked: Sequence[str]) -> bool:
    changed = frozenset(_WORD(after)) ^ frozenset(_WORD(before))
    return bool(changed) and any(changed & frozenset(_WORD(said.lower())) for said in asked)


def _candidates(texts: Sequence[str], similarity: float) -> list[tuple[int, int]]:
    """Return the pairs of texts of similar lengths that share their beginning, middle or end, in order."""
    lengths = [*map(len, texts)]
    by_length = sorted(range(len(texts)), key=lengths.__getitem__)
    found = []
    for place, i in enumerate(by_length, 1):
        length = lengths[i]
        for j in by_length[place:]:
            if similarity * lengths[j] > length:
                break
            if _have_common_part(texts[min(i, j)], texts[max(i, j)]):
                found.append((min(i, j), max(i, j)))
    return sorted(found)


def _have_common_part(one: str, other: str) -> bool:
    middle = len(one) // 2
    return one[middle : middle + EDGE] in other or one[:EDGE] == other[:EDGE] or one[-EDGE:-1] == other[-EDGE:-1]


def _is_same(one: str, other: str, similarity: float) -> bool:
    first, second = _units(one), _units(other)
    shared = len(first & second)
    enough = min(len(one.split()), len(other.split())) >= LEAST_WORDS or len(min(one, other, key=len)) >= LEAST_LETTERS
    alike = shared >= similarity * (len(first) + len(second) - shared)
    return enough and alike and set(_NUMBER(one)) == set(_NUMBER(other))


def _units(text: str) -> frozenset[str]:
    """Return the units of comparison: words, or groups of three letters in writing without spaces."""
    words = frozenset(_WORD(text))
    if text.isascii() or len(text) < LETTERS_A_WORD * max(len(words), 1):
        return words
    return frozenset(text[at : at + 3] for at in range(len(text) - 2))


_WORD = re.compile(r"[\w']+").findall
_NUMBER = re.compile(r"\w*\d(?:[\w.,:]*\w)?").findall
