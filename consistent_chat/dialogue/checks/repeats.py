"""Finds messages that repeat another message of the same side (word for word or nearly) or a piece of themselves."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from consistent_chat.dialogue.checks.side import APART, Side
from consistent_chat.dialogue.parse import Reason

LEAST_WORDS = 4
"""Minimum words: a shorter message may be repeated ("Go on.", "Next one, please.", "Correct!")."""
SHORTEST = 2 * LEAST_WORDS - 1
"""Characters of LEAST_WORDS words, each of one letter."""
LEAST_LETTERS = 24
"""The same for scripts without spaces, and for one long word."""
EDGE = 12
"""Number of characters at the beginning and the end that are compared."""
LETTERS_A_WORD = 12
"""If words are longer than this on average, the script has no spaces, and three letters count as a word."""
MOST_KNOWN = 64
"""Number of texts whose words and numbers are kept, for comparisons with further texts of the same side."""


def repeats(side: Side) -> None:
    """Raise Unusable if two messages are the same, word for word or nearly.

    "Nearly" means: similar lengths, the same beginning or end, and this share of common words (Jaccard). Messages with
    different numbers are different: "7 times 8" is not "7 times 9". An answer whose new words come from the user's last
    message is a revision, not a repetition.
    """
    similarity, texts = side.limits["repeats"], side.lower
    if not _share_a_piece(texts, side.all_lower) or len({*map(_digits, texts)}) == len(texts):
        return
    for i, j in _candidates(texts, similarity):
        if not _are_alike(texts[i], texts[j], similarity):
            continue
        if side.role == "user" or not _is_revision(texts[i], texts[j], side.asked[j : j + 1]):
            raise side.unusable(j, Reason.REPEATS, f"repeats {side.role}_{i + 1}")


def _is_revision(before: str, after: str, asked: Sequence[str]) -> bool:
    changed = frozenset(_WORD(after)) ^ frozenset(_WORD(before))
    return bool(changed) and any(changed & frozenset(_WORD(said.lower())) for said in asked)


def _share_a_piece(texts: Sequence[str], joined: str) -> bool:
    """Return whether two texts share their beginning or end, or the middle of one occurs in a later one.

    `joined` has all of them with APART. Most sides share nothing, and this takes less time than comparing pairs.
    """
    if len({*map(_BEGINNING, texts), *map(_ENDING, texts)}) < 2 * len(texts):
        return True
    end = 0
    for text in texts:
        length = len(text)
        end += length + len(APART)
        if length >= SHORTEST and joined.find(text[length // 2 : length // 2 + EDGE], end) >= 0:
            return True
    return False


def _candidates(texts: Sequence[str], similarity: float) -> list[tuple[int, int]]:
    """Return the pairs of texts with similar lengths that share their beginning, middle or end, in order.

    Messages of fewer than SHORTEST characters may be repeated.
    """
    lengths, found = [*map(len, texts)], []
    by_length = sorted([at for at, length in enumerate(lengths) if length >= SHORTEST], key=lengths.__getitem__)
    for place, one in enumerate(by_length, 1):
        length = lengths[one]
        for other in by_length[place:]:
            if similarity * lengths[other] > length:
                break
            i, j = (one, other) if one < other else (other, one)
            before, after, middle = texts[i], texts[j], lengths[i] // 2
            if (
                before[middle : middle + EDGE] in after
                or before[:EDGE] == after[:EDGE]
                or before[-EDGE:-1] == after[-EDGE:-1]
            ):
                found.append((i, j))
    return sorted(found)


def _are_alike(one: str, other: str, similarity: float) -> bool:
    if _digits(one) != _digits(other) or _numbers(one) != _numbers(other):  # most that differ do so in their digits
        return False
    units, others = _units(one), _units(other)
    shared = len(units & others)
    return shared >= similarity * (len(units) + len(others) - shared) and _are_long(one, other)


def _are_long(one: str, other: str) -> bool:
    return min(len(one), len(other)) >= LEAST_LETTERS or min(len(one.split()), len(other.split())) >= LEAST_WORDS


@functools.lru_cache(maxsize=MOST_KNOWN)
def _digits(text: str) -> frozenset[bytes]:
    """Return the runs of ASCII digits in a text: parts of its numbers, which are found in a tenth of the time."""
    return frozenset(text.encode("utf-8", "replace").translate(_ONLY_DIGITS).split())


@functools.lru_cache(maxsize=MOST_KNOWN)
def _numbers(text: str) -> frozenset[str]:
    return frozenset() if text.isascii() and not _digits(text) else frozenset(_NUMBER(text))


@functools.lru_cache(maxsize=MOST_KNOWN)
def _units(text: str) -> frozenset[str]:
    """Return the units of comparison: words, or groups of three letters in scripts without spaces."""
    words = frozenset(_WORD(text))
    if text.isascii() or len(text) < LETTERS_A_WORD * max(len(words), 1):
        return words
    return frozenset(text[at : at + 3] for at in range(len(text) - 2))


_BEGINNING, _ENDING = itemgetter(slice(EDGE)), itemgetter(slice(-EDGE, -1))
_WORD = re.compile(r"[\w']+").findall
_NUMBER = re.compile(r"(?<!\w)\w*\d(?:[\w.,:]*\w)?").findall
_ONLY_DIGITS = bytes(code if chr(code) in "0123456789" else ord(" ") for code in range(256))


PROBE = 10
"""Length in characters of the piece that is searched for in the rest of a message."""
LEAST_LOOP = 30
"""Minimum words: a shorter message may repeat itself ("no no no no")."""
LOOPED = 0.4
"""Minimum share of a message that repeats."""


def loops(side: Side) -> None:
    """Raise Unusable if a large part of a message is the same piece of text repeated."""
    copies, asked, is_ascii = side.limits["loops"], side.asked, side.is_ascii
    least = max(LEAST_LOOP, copies * PROBE) if is_ascii else LEAST_LOOP
    for number, text in enumerate(side.messages):
        length = len(text)
        if length < least:
            continue
        size, half = PROBE if is_ascii or text.isascii() else PROBE // 2, length // 2
        tail, middle = text[-size - 4 : -4], text[half : half + size]
        if text.count(tail) >= copies or text.count(middle) >= copies:
            said = side.prose(number)
            is_asked = side.role == "assistant" and _TIMES(asked[number].lower()) if number < len(asked) else None
            if not is_asked and any(_is_loop(said, probe.lower(), copies) for probe in (tail, middle)):
                raise side.unusable(number, Reason.LOOPS, f"repeats itself: {text[-40:]!r}")


def _is_loop(text: str, probe: str, copies: int) -> bool:
    """Return whether the pieces between copies of a probe are equal, except for numbers, in a large part of a text."""
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
