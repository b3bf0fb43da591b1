"""Finds messages of one side that repeat another, word for word or nearly."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

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


def repeats(side: Side, similarity: float, asked: Sequence[str] = ()) -> None:
    """Raise Unusable if two messages are the same, word for word or nearly.

    Nearly means: similar lengths, the same beginning or end, and this share of common words
    (Jaccard). Messages that differ in a number differ: "7 times 8" is not "7 times 9". An answer
    whose new words the user has just said is a revision.
    """
    for i, j in _candidates(side.lower, side.all_lower):
        one, other = sorted((side.lower[i], side.lower[j]), key=len)
        if similarity * len(other) > len(one) or not _is_same(one, other, similarity):
            continue
        if side.role == "user" or not _is_revision(side.lower[i], side.lower[j], asked[j : j + 1]):
            raise side.unusable(j, Reason.REPEATS, f"repeats {side.role}_{i + 1}")


def _is_revision(before: str, after: str, asked: Sequence[str]) -> bool:
    changed = frozenset(_WORD(after)) ^ frozenset(_WORD(before))
    return bool(changed) and any(changed & frozenset(_WORD(said.lower())) for said in asked)


def _candidates(texts: Sequence[str], joined: str) -> Iterator[tuple[int, int]]:
    """Yield the pairs of texts that share their beginning, middle or end: most are told apart by that.

    `joined` has all of them: where each middle comes once in it, no text has that of another one.
    """
    starts, ends = [text[:EDGE] for text in texts], [text[-EDGE:-1] for text in texts]
    middles = [text[len(text) // 2 : len(text) // 2 + EDGE] for text in texts]
    are_apart = len({*starts}) == len(texts) and len({*ends}) == len(texts)
    if are_apart and all(joined.count(middle) == 1 for middle in middles):
        return
    for i, j in combinations(range(len(texts)), 2):
        if middles[i] in texts[j] or (not are_apart and (starts[i] == starts[j] or ends[i] == ends[j])):
            yield i, j


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
