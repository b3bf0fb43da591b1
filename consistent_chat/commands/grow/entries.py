"""New entries of a taxonomy, out of what a model wrote: cleaned, checked like a file's, and compared with the old ones.

A text is from a stranger. What a taxonomy file could not hold, or would hold without use, is left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.safe_yaml import Document
from consistent_chat.recipe.taxonomy import Taxonomy, values
from consistent_chat.recipe.taxonomy.types import MARKS, NO_TAGS, Tags
from consistent_chat.stats.sample import content, words

MAX_ENTRY = 200
"""Longest new entry, in characters. The longest built-in one has about half of them."""
ALIKE = 0.6
"""The share of common words from which on an entry counts as one that is there."""
_ADULT = "adult"
_TAGGED = re.compile(r"(.*\S)\s*\[([^\[\]]*)\]")
_TAGS_ALONE = re.compile(r"\[[^\[\]]*\]")
_FRAME = re.compile(r"^(?:[-*\u2022]\s+|\(?\d{1,3}[.):]\s+)|[.\u3002]$|^[\"'\u201c\u201e\u00ab]|[\"'\u201d\u00bb]$")
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
"""Signs without a shape of their own that some scripts need within words."""


@dataclass(frozen=True)
class Entry:
    """A new entry; `tags` are what it names itself."""

    text: str
    tags: Tags = NO_TAGS

    def __str__(self) -> str:
        return f"{self.text} [{', '.join(sorted(self.tags))}]" if self.tags else self.text


def read_entry(text: str, known: Tags) -> Entry | None:
    """Return the entry in a line of a model, with those of its tags that are known; None where it cannot be one."""
    if any(unicodedata.category(sign) in _UNSEEN and sign not in _JOINERS for sign in text.strip()):
        return None
    found = _TAGGED.fullmatch(text.strip())
    line, tags = (found[1], re.split(r"[,;\s]+", found[2].lower())) if found else (text, [])
    while (shorter := _FRAME.sub("", line.strip()).strip()) != line:
        line = shorter
    if not any(map(str.isalpha, line)) or len(line) > MAX_ENTRY or _TAGS_ALONE.fullmatch(line):
        return None
    try:
        return Entry(values.text(line, Document(None, "the response")), known & frozenset(tags))
    except RecipeError:
        return None


def persona_tags(whole: Taxonomy) -> Tags:
    """Return the tags that personas of a taxonomy have."""
    return NO_TAGS.union(*(persona.tags for persona in whole.personas))


def topic_tags(whole: Taxonomy) -> Tags:
    """Return the marks, and the tags that topics of a taxonomy need, or that personas have if no topic needs any."""
    needs = NO_TAGS.union(*(topic.needs for intent in whole.intents.values() for topic in intent.topics()))
    return (needs - MARKS or persona_tags(whole)) | MARKS


def as_topic(entry: Entry, default: Tags, whole: Taxonomy) -> Entry | None:
    """Return an entry as a topic that fits a persona, or None. Without tags it has the category's, or is for adults."""
    needs = entry.tags or default
    if not needs - MARKS and any(_ADULT in persona.tags for persona in whole.personas):
        needs |= {_ADULT}
    if not any(m.fits(p, needs & MARKS) for p in whole.personas if p.fits(needs) for m in whole.manners):
        return None
    return Entry(entry.text, NO_TAGS if needs == default else needs)


@dataclass
class Known:
    """The entries that are there: by their words. `shown` are the latest texts, for a prompt."""

    texts: list[str]
    _words: list[frozenset[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._words = [_words(text) for text in self.texts]

    def takes(self, text: str) -> bool:
        """Add a text that is unlike all others; return whether it is."""
        found = _words(text)
        if not found or any(_share(found, other) >= ALIKE for other in self._words):
            return False
        self.texts.append(text)
        self._words.append(found)
        return True

    def shown(self, most: int) -> Sequence[str]:
        """Return some of the texts, spread evenly, and the last ones among them."""
        step = max(1, -(-len(self.texts) // most))
        return self.texts[::-1][::step][::-1]


def _words(text: str) -> frozenset[str]:
    return frozenset(filter(None, map(content, words(text))))


def _share(one: frozenset[str], other: frozenset[str]) -> float:
    both = len(one & other)
    return both / ((len(one) + len(other) - both) or 1)


def listed(texts: Iterable[str]) -> str:
    """Return texts as a list for a prompt."""
    return "\n".join(f"- {text}" for text in texts) or "(none)"
