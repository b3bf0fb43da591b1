"""Finds near-duplicates: texts that are almost the same.

They are found by MinHash and confirmed by the exact similarity. The similarity of two texts is the Jaccard similarity
of their shingles: of the runs of three words that occur in either text, the share that occur in both. In scripts
without spaces each character counts as a word. Capitals, punctuation and white space do not matter. Runs have three
words, not five as is usual for web pages (FineWeb, RefinedWeb), because the user messages of a dialogue have only 100
to 200 words: one changed word changes three of a hundred runs. 0.7 is the threshold of The Stack (arXiv 2211.15533) and
within the customary range of 0.7 to 0.8.

The result is the same on every machine: the hash functions come from a fixed seed, and candidates are confirmed. The
module needs `datasketch`, from the extra `quality`, which is imported when it is first used.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from consistent_chat.errors import ConsistentChatError
from consistent_chat.text.languages import SPACELESS

THRESHOLD = 0.7
"""The default similarity from which two texts are near-duplicates."""
LEAST = 0.1
"""The lowest threshold for which the index is reliable."""
WORDS = 3
"""Number of words in a shingle."""
FUNCTIONS = 128
"""Number of hash functions of a MinHash."""
OVERLOOKED = 0.001
"""Maximum probability of missing a pair at exactly the threshold; more similar pairs are missed less often."""

# Listed here, so that it does not depend on Python's version of Unicode: ASCII, Latin-1, Greek, Hebrew, Arabic, Indic,
# general punctuation with its symbols, and that of East Asia.
_PUNCTUATION = (
    "\\s\0-/:-@\\[-`{-\xa9\xab-\xb1\xb4\xb6-\xb9\xbb\xbf\u037e\u0387\u05be\u05c0\u05c3\u060c\u061b\u061f\u066a-\u066d"
)
_PUNCTUATION += "\u06d4\u0964\u0965\u2000-\u206f\u2190-\u2bff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3030\u303d\u30fb"
_PUNCTUATION += "\ufe00-\ufe6f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
_WORD = re.compile(f"[{SPACELESS}]|[^{SPACELESS}{_PUNCTUATION}]+")


class Match(NamedTuple):
    """A text that nearly duplicates an earlier one: the numbers of both, and their similarity from 0 to 1."""

    number: int
    earlier: int
    similarity: float


@dataclass(frozen=True)
class NearDuplicates:
    """The near-duplicates among `texts` texts, in order.

    Each nearly duplicates an earlier text that is not one itself.
    """

    texts: int
    matches: tuple[Match, ...]

    @property
    def rate(self) -> float:
        """The share of texts that would be dropped, from 0 to 1."""
        return len(self.matches) / self.texts if self.texts else 0.0

    @property
    def clusters(self) -> dict[int, list[int]]:
        """The numbers of each text's near-duplicates, for texts that have any."""
        found = defaultdict(list)
        for match in self.matches:
            found[match.earlier].append(match.number)
        return dict(sorted(found.items()))


def near_duplicates(texts: Iterable[str], threshold: float = THRESHOLD) -> NearDuplicates:
    """Compare each text with earlier ones that are not near-duplicates themselves.

    So the matches are exactly the texts that `drop_near_duplicates` would drop. About ten kilobytes are held in memory
    for a text of some hundred words. Raises ConsistentChatError if `datasketch` is not installed.
    """
    kept, matches, number = KeptTexts(threshold), [], -1
    for number, text in enumerate(texts):
        sketch = sketched(text)
        found = kept.like(number, sketch)
        if found is None:
            kept.add(number, sketch)
        else:
            matches.append(found)
    return NearDuplicates(number + 1, tuple(matches))


def dialogue_text(user_messages: Sequence[str]) -> str:
    """Return the part of a dialogue that is compared: its user messages.

    Two dialogues with the same user messages are the same example, however their answers are worded, and answers share
    openings, warnings and headings without content.
    """
    return "\n".join(user_messages)


def words_of(text: str) -> list[str]:
    """Return the words of a text without capitals and punctuation; in scripts without spaces, its characters."""
    return _WORD.findall(text.casefold())


def check() -> None:
    """Raise ConsistentChatError if `datasketch` is not installed."""
    if importlib.util.find_spec("datasketch") is None:
        raise ConsistentChatError(
            "Finding near-duplicates needs the package datasketch, which is not installed. "
            'Run pip install "datasketch>=2.0".'
        )


class Sketch(NamedTuple):
    """A text for comparison: the exact, sorted 64-bit hashes of its shingles, and their MinHash."""

    shingles: Any
    minhash: Any


def sketched(text: str) -> Sketch:
    """Return the sketch of a text."""
    import numpy

    words = words_of(text)
    runs = {" ".join(words[start : start + WORDS]) for start in range(max(1, len(words) - WORDS + 1))}
    digests = b"".join(hashlib.blake2b(run.encode("utf-8", "backslashreplace"), digest_size=8).digest() for run in runs)
    shingles = numpy.sort(numpy.frombuffer(digests, "<u8"))
    minhash = _blank().copy()
    minhash.update_batch((shingles & 0xFFFFFFFF).tolist())
    return Sketch(shingles, minhash)


class KeptTexts:
    """An index of numbered texts that finds the first one similar to another."""

    def __init__(self, threshold: float) -> None:
        check()
        from datasketch import MinHashLSH

        self._threshold = threshold
        self._index = MinHashLSH(num_perm=FUNCTIONS, params=_bands(threshold))
        self._shingles: dict[int, Any] = {}

    def add(self, number: int, sketch: Sketch) -> None:
        """Add a text."""
        self._index.insert(number, sketch.minhash, check_duplication=False)
        self._shingles[number] = sketch.shingles

    def like(self, number: int, sketch: Sketch) -> Match | None:
        """Return the first text that the text with this number nearly duplicates, or None."""
        for earlier in sorted(self._index.query(sketch.minhash)):
            similarity = _jaccard(self._shingles[earlier], sketch.shingles)
            if similarity >= self._threshold:
                return Match(number, earlier, similarity)
        return None


def _jaccard(one: Any, other: Any) -> float:
    import numpy

    both = len(numpy.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both)


def _bands(threshold: float) -> tuple[int, int]:
    """Return the number of bands and of rows per band: the most rows, for the fewest candidates, then the fewest bands.

    A pair of similarity s is overlooked with probability (1 - s^rows)^bands (Leskovec, Rajaraman, Ullman, Mining of
    Massive Datasets, 3.4.2).
    """

    def overlooked(bands: int, rows: int) -> float:
        return (1 - threshold**rows) ** bands

    rows = max(r for r in range(1, FUNCTIONS // 2 + 1) if overlooked(FUNCTIONS // r, r) <= OVERLOOKED)
    return next(bands for bands in range(2, FUNCTIONS + 1) if overlooked(bands, rows) <= OVERLOOKED), rows


@functools.lru_cache(maxsize=1)
def _blank() -> Any:
    from datasketch import MinHash

    return MinHash(num_perm=FUNCTIONS, seed=1, scheme="affine32", hashfunc=int)
