"""Hashed n-grams of texts that dialogues must not contain, such as a benchmark's questions.

A file has the name of the texts, the number of words in a run, and the hash of each run:

    {"consistent_chat_ngrams": 1, "name": "mt-bench", "words": 13}
    00a4f1c2e29f0b31
    ...

Hashes cannot be read as text, so that a benchmark can be kept out of a dataset without being in it. Words are compared
without capitals and punctuation; in scripts without spaces each character is a word. A text with fewer words is hashed
as a whole, if it has at least `LEAST_WORDS`. The file may be a stranger's: it is plain data, checked here.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from consistent_chat.duplicates import words_of
from consistent_chat.errors import RecipeError
from consistent_chat.recipe.fields import line, whole

FORMAT = 1
WORDS = 13
"""Number of words in a run. GPT-3's authors used 13 (arXiv 2005.14165, appendix C)."""
MIN_WORDS, MAX_WORDS = 5, 50
LEAST_WORDS = 4
"""Minimum words of a text that is hashed as a whole; shorter texts are common ("Tell me more")."""
MAX_NGRAMS = 1_000_000
"""Maximum number of hashes in a file. This many take 70 MB of memory in a build."""
MAX_BYTES = 17 * MAX_NGRAMS + 1000
MAX_FILES = 20
_HASHES = re.compile("(?:[0-9a-f]{16}\n)*")


@dataclass(frozen=True)
class Ngrams:
    """The sorted 8-byte hashes of all runs of `words` words in the texts called `name`."""

    name: str
    words: int
    hashes: bytes

    def __repr__(self) -> str:
        return f"Ngrams({self.name!r}, {self.words}, {len(self):,} hashes)"

    def __len__(self) -> int:
        return len(self.hashes) // 8

    @classmethod
    def of(cls, texts: Iterable[str], name: str, words: int = WORDS) -> Ngrams:
        """Return the hashed n-grams of texts. Raises RecipeError if there are none or too many."""
        words, name = whole(MIN_WORDS, MAX_WORDS)("words", words), line(100)("name", name)
        found = set[bytes]()
        for text in texts:
            found.update(digest for _, digest in _runs(words_of(text), words))
            if len(found) > MAX_NGRAMS:
                raise RecipeError(f"There are more than {MAX_NGRAMS:,} n-grams. Divide the texts into several files.")
        if not found:
            raise RecipeError(f"There are no n-grams: no text has {LEAST_WORDS} words or more.")
        return cls(name, words, b"".join(sorted(found)))

    @property
    def text(self) -> str:
        """The content of a file, which `load` reads back."""
        head = json.dumps({"consistent_chat_ngrams": FORMAT, "name": self.name, "words": self.words})
        return "\n".join([head, *(self.hashes[at : at + 8].hex() for at in range(0, len(self.hashes), 8)), ""])

    @cached_property
    def plain(self) -> dict[str, Any]:
        """Their identity, as plain data."""
        return {"name": self.name, "words": self.words, "sha256": hashlib.sha256(self.hashes).hexdigest()}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only the fields."""
        return {name: vars(self)[name] for name in ("name", "words", "hashes")}

    @cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(struct.unpack(f">{len(self)}Q", self.hashes))

    def first(self, text: str) -> str:
        """Return the first run of words in a text that is among these, or ""."""
        runs = _runs(words_of(text), self.words)
        return next((" ".join(run) for run, digest in runs if int.from_bytes(digest, "big") in self._known), "")


def load(content: str, origin: str) -> Ngrams:
    """Return the n-grams in a file. Raises RecipeError, which names the file."""
    head, _, hashes = content.replace("\r\n", "\n").partition("\n")
    try:
        given = json.loads(head)
        if not isinstance(given, dict) or given.pop("consistent_chat_ngrams", None) != FORMAT:
            raise ValueError
        name, words = given.pop("name"), given.pop("words")
    except (ValueError, KeyError, RecursionError):
        raise RecipeError(f"{origin} is not a file of n-grams. Make one with `consistent-chat ngrams`.") from None
    if len(content.encode("utf-8")) > MAX_BYTES or not hashes or not _HASHES.fullmatch(hashes):
        raise RecipeError(f"{origin} must have 1 to {MAX_NGRAMS:,} hashes below its first line, 16 hex digits a line.")
    digests = sorted({bytes.fromhex(one) for one in hashes.split()})
    try:
        return Ngrams(line(100)("name", name), whole(MIN_WORDS, MAX_WORDS)("words", words), b"".join(digests))
    except RecipeError as error:
        raise RecipeError(f"{origin}: {error}") from None


def _runs(words: Sequence[str], length: int) -> Iterator[tuple[Sequence[str], bytes]]:
    """Yield the runs of `length` words with their hashes, or all words if there are fewer."""
    if len(words) < length:
        if len(words) >= LEAST_WORDS:
            yield words, _hash(words, b"whole")
        return
    for start in range(len(words) - length + 1):
        run = words[start : start + length]
        yield run, _hash(run)


def _hash(words: Sequence[str], kind: bytes = b"") -> bytes:
    text = " ".join(words).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(text, digest_size=8, person=kind).digest()
