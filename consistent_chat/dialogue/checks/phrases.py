"""The phrases of `phrases.yaml` and `voices.yaml`, as regexes that are compiled once for each language."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any, NamedTuple

from consistent_chat.dialogue.checks.side import Side
from consistent_chat.recipe import safe_yaml
from consistent_chat.text.languages import code

AROUND = 60
"""Characters before and after a hint that its patterns see: they are short, and a whole text takes long."""

Pairs = tuple[tuple[str, re.Pattern[str]], ...]
PAIRS = ("as_assistant", "labels", "mentions", "boilerplate", "reasoning", "flips")
"""Fields that are a hint and a regex each; the others are regexes."""


class Phrases(NamedTuple):
    """All phrases of English and of one more language; what they mean stands in the file."""

    as_assistant: Pairs
    labels: Pairs
    mentions: Pairs
    openings: re.Pattern[str]
    closings: re.Pattern[str]
    advice: re.Pattern[str]
    first_person: re.Pattern[str]
    begins: re.Pattern[str]
    courtesies: re.Pattern[str]
    exams: re.Pattern[str]
    boilerplate: Pairs
    reasoning: Pairs
    flips: Pairs
    refusals: re.Pattern[str]


@functools.lru_cache(maxsize=64)
def phrases(language: str) -> Phrases:
    """Return the phrases for a recipe's language: those of English where the file has none."""
    entries = [_file()[known] for known in dict.fromkeys(("en", code(language))) if known in _file()]
    values: dict[str, Any] = {}
    for name in Phrases._fields:
        found = [part for entry in entries for part in _listed(entry.get(name, []))]
        values[name] = _pairs(found) if name in PAIRS else re.compile("|".join(f"(?:{p})" for p in found))
    return Phrases(**values)


def found(side: Side, pairs: Pairs) -> Iterator[tuple[int, str]]:
    """Yield the number of each message in which one of these phrases stands outside code and quotations, and it."""
    for hint, pattern in pairs:
        if hint in side.all_lower:
            for number, text in side.having(hint):
                if _near(hint, pattern, text) and (match := pattern.search(side.prose(number))):
                    yield number, match[0].strip()


def _near(hint: str, pattern: re.Pattern[str], text: str) -> bool:
    at = text.find(hint)
    while at >= 0:
        if pattern.search(text, max(0, at - AROUND), at + AROUND):
            return True
        at = text.find(hint, at + AROUND // 2)
    return False


def _pairs(found: list[tuple[str, str]]) -> Pairs:
    hints = dict.fromkeys(hint for hint, _ in found)
    return tuple((hint, _any([pattern for other, pattern in found if other == hint])) for hint in hints)


def _any(patterns: list[str]) -> re.Pattern[str]:
    """Return a regex for any of these; those that begin at a word are tried nowhere else, which is quicker."""
    at_word = "|".join(pattern for pattern in patterns if pattern.startswith((r"\b", "^")))
    others = [f"(?:{pattern})" for pattern in patterns if not pattern.startswith((r"\b", "^"))]
    return re.compile("|".join([rf"(?<!\w)(?:{at_word})", *others] if at_word else others))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@functools.lru_cache(maxsize=1)
def _file() -> dict[str, dict[str, list[Any]]]:
    """Return the lists of both files, joined by language and name."""
    joined: dict[str, dict[str, list[Any]]] = {}
    for name in ("phrases.yaml", "voices.yaml"):
        text = resources.files("consistent_chat.dialogue.checks").joinpath(name).read_text("utf-8")
        for language, lists in safe_yaml.parse(text, name).data.items():
            for key, value in lists.items():
                joined.setdefault(language, {}).setdefault(key, []).extend(_listed(value))
    return joined
