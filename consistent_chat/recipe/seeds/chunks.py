"""Divides a text into chunks: a pure function of the text and two numbers."""

from __future__ import annotations

import re
from typing import NamedTuple

_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORDS = re.compile(f"[{_CJK}]|[^\\s{_CJK}]{{1,50}}")
"""A word: a character of a script without spaces, or up to 50 characters without white space."""


class Chunk(NamedTuple):
    """How a text is divided: into chunks of so many words, each beginning with the last words of the one before."""

    words: int
    overlap: int = 0


def chunks(text: str, size: Chunk) -> list[str]:
    """Return the chunks of a text, in order, as they stand in it. No chunk lies within another."""
    spans = [found.span() for found in _WORDS.finditer(text)]
    found = []
    for first in range(0, len(spans), size.words - size.overlap):
        part = spans[first : first + size.words]
        found.append(text[part[0][0] : part[-1][1]])
        if first + size.words >= len(spans):
            break
    return found
