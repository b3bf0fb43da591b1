"""Shared by the checks: one side of a dialogue in several forms, and the phrases of a language.

Each form is computed once, when it is first needed. The phrases of `phrases.yaml` and `voices.yaml` are regexes that
are compiled once per language.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.recipe import safe_yaml
from consistent_chat.text.languages import code

APART = "\n\x1f\n"
"""The separator between messages that are searched together."""
START, END = r"\x1f\n", r"\n\x1f"
"""RE2 patterns for the start and the end of a message in the joined text, which `Signs` searches between two such."""
BOUNDARY = "[^a-z0-9_]"
"""RE2 pattern for the character before a word, which RE2 compares with less effort than it does word boundaries."""


class Side:
    """The messages of a role ("user" or "assistant") in order, with everything that their checks need.

    `asked` are the user messages, `limits` the thresholds by check, `drawn` the texts that a user message must not
    quote, such as its topic. `lower` has the messages in lower case with straight apostrophes, `all_lower` the same in
    one text; `find` returns the signs in that text in UTF-8.
    """

    def __init__(
        self,
        messages: Sequence[str],
        role: str,
        asked: Sequence[str],
        language: str,
        limits: Mapping[str, Any],
        find: Callable[[bytes], frozenset[str]],
        drawn: Sequence[str] = (),
    ) -> None:
        self.messages, self.role, self.asked = messages, role, asked
        self.language, self.limits, self.drawn = language, limits, drawn
        self.is_ascii = all(map(str.isascii, messages))
        self.lower = [*map(str.lower if self.is_ascii else _lowered, messages)]
        self.all_lower = APART.join(self.lower)
        self.signs = find(self.all_lower.encode("utf-8", "replace"))

    def prose(self, number: int) -> str:
        """Return a message in lower case without code and quotations."""
        text = self.lower[number]
        return _QUOTED.sub(" ", text) if _MAY_QUOTE(text) else text

    def matches(self, sign: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
        """Yield each phrase of a pattern outside code and quotations, and the number of its message."""
        if sign in self.signs:
            for number in range(len(self.messages)):
                for match in pattern.finditer(self.prose(number)):
                    yield number, match[0].strip()

    def unusable(self, number: int, reason: Reason, detail: str) -> Unusable:
        """Return the finding about the message with this number, counted from 0."""
        return Unusable(reason, f"{self.role}_{number + 1} {detail}", number + 1)


def _lowered(text: str) -> str:
    return text.lower() if text.isascii() else text.replace("\u2019", "'").lower()


_MAY_QUOTE = re.compile('[`"\u201c\u201e\u00ab\u300c>]').search
_QUOTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]*\"|[\u201c\u201e][^\u201c\u201d\n]*[\u201c\u201d]|\u00ab[^\u00ab\u00bb\n]*\u00bb"
    r"|\u300c[^\u300c\u300d\n]*\u300d|^[ \t]*>[^\n]*$",
    re.DOTALL | re.MULTILINE,
)


class Phrases:
    """All phrases of English and of a recipe's language. The YAML files describe each field.

    A field is compiled when it is first used: all of them take 50 ms, and most dialogues need none.
    """

    as_assistant: re.Pattern[str]
    labels: re.Pattern[str]
    mentions: re.Pattern[str]
    openings: re.Pattern[str]
    closings: re.Pattern[str]
    advice: re.Pattern[str]
    first_person: re.Pattern[str]
    begins: re.Pattern[str]
    courtesies: re.Pattern[str]
    exams: re.Pattern[str]
    boilerplate: re.Pattern[str]
    reasoning: re.Pattern[str]
    flips: re.Pattern[str]
    refusals: re.Pattern[str]

    def __init__(self, language: str) -> None:
        self._language = language

    def __getattr__(self, name: str) -> re.Pattern[str]:
        if name not in FIELDS:
            raise AttributeError(name)
        compiled = re.compile(any_of(listed(name, self._language)))
        setattr(self, name, compiled)
        return compiled


FIELDS = tuple(Phrases.__annotations__)


@functools.lru_cache(maxsize=64)
def phrases(language: str) -> Phrases:
    """Return the phrases for a recipe's language, or the English ones if the files have none."""
    return Phrases(language)


def any_of(regexes: Iterable[str]) -> str:
    """Return a regex that matches what one of the regexes does."""
    return "|".join(f"(?:{regex})" for regex in regexes)


def listed(name: str, language: str) -> list[str]:
    """Return the regexes of a field of the phrases for a recipe's language."""
    entries = [_file()[known] for known in dict.fromkeys(("en", code(language))) if known in _file()]
    return [part for entry in entries for part in entry.get(name, [])]


@functools.lru_cache(maxsize=1)
def _file() -> dict[str, dict[str, list[str]]]:
    """Return the lists of both files, joined by language and name."""
    joined: dict[str, dict[str, list[str]]] = {}
    for name in ("phrases.yaml", "voices.yaml"):
        text = resources.files("consistent_chat.dialogue.checks").joinpath(name).read_text("utf-8")
        data: dict[str, dict[str, Any]] = safe_yaml.parse(text, name).data
        for language, lists in data.items():
            for key, value in lists.items():
                joined.setdefault(language, {}).setdefault(key, []).extend(
                    value if isinstance(value, list) else [value]
                )
    return joined
