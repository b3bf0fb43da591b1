"""Names of several words in a text: runs of capitalized words within a sentence, in scripts that have capitals.

Single words are no names here: at the beginning of a sentence, in headings and as labels any word has a capital. So is
every noun in German, of which runs of words show nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set

from consistent_chat.text.languages import code

WITHOUT = ("de", "lb")
"""Languages that write all nouns with a capital."""
STEM = 5
"""Letters of a word that count: endings differ with the case of a noun."""

_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['\u2019-](?=[^\W\d_]))*")
_LABEL = re.compile(r"^[ \t]*(?:#+ .*|\|.*|[^.!?\n]{0,60}:[ \t]*$)", re.MULTILINE)
"""Headings, tables, and lines that end with a colon: each of their words may have a capital."""
_QUOTED = re.compile(
    r"\*\*[^*\n]{0,200}\*\*|\"[^\"\n]{0,200}\"|\u201c[^\u201d\n]{0,200}\u201d|\u00ab[^\u00bb\n]{0,200}\u00bb"
)
"""Bold and quoted text: titles and labels."""
_SENTENCE = re.compile(r"[^.!?:;,\u2026\n()\[\]|\u2013\u2014*_/]+")


def names(text: str, language: str) -> Iterator[str]:
    """Yield each name of a text in a language, without code; none in a language where nouns have capitals."""
    if code(language) in WITHOUT:
        return
    for sentence in _SENTENCE.finditer(_QUOTED.sub("\n", _LABEL.sub("\n", text))):
        yield from _runs(sentence[0])


def stems(text: str) -> Set[str]:
    """Return the beginnings of all words of a text."""
    return {_stem(word) for word in _WORD.findall(text)}


def is_known(name: str, known: Set[str]) -> bool:
    """Tell whether a word of a name is among stems that are known."""
    return any(_stem(word) in known for word in _WORD.findall(name))


def _runs(sentence: str) -> Iterator[str]:
    """Yield what stands from the first to the last of two or more capitalized words in a row."""
    start, end, count = 0, -1, 0
    for place, word in enumerate(_WORD.finditer(sentence)):
        if place and _is_capitalized(word[0]):
            if count and sentence[end : word.start()] == " ":
                count += 1
            else:
                if count > 1:
                    yield sentence[start:end]
                start, count = word.start(), 1
            end = word.end()
        else:
            if count > 1:
                yield sentence[start:end]
            count = 0
    if count > 1:
        yield sentence[start:end]


def _is_capitalized(word: str) -> bool:
    return len(word) > 1 and word[0].isupper() and word[1:].islower()


def _stem(word: str) -> str:
    return word.casefold()[:STEM]
