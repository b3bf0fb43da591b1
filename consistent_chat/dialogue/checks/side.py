"""One side of a dialogue, in the forms that several checks share: each is computed once, when needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from consistent_chat.dialogue.parse import Reason, Unusable

APART = "\n\x1f\n"
"""The separator between messages that are searched together."""
START, END = r"(?:\A|\x1f\n)", r"(?:\n\x1f|\z)"
"""RE2 patterns for the start and the end of a message in the joined text."""


class Side:
    """The messages of a role, "user" or "assistant", in order, with what their checks need.

    `asked` are the user messages, `limits` the thresholds by check, `drawn` texts that a user message must not quote,
    such as its topic. `lower` has the messages in lower case with straight apostrophes, `all_lower` the same in one
    text; `find` returns the signs in it.
    """

    def __init__(
        self,
        messages: Sequence[str],
        role: str,
        asked: Sequence[str],
        language: str,
        limits: Mapping[str, Any],
        find: Callable[[str], frozenset[str]],
        drawn: Sequence[str] = (),
    ) -> None:
        self.messages, self.role, self.asked = messages, role, asked
        self.language, self.limits, self.drawn = language, limits, drawn
        self.lower = [text.lower() if text.isascii() else text.replace("\u2019", "'").lower() for text in messages]
        self.all_lower = APART.join(self.lower)
        self.signs = find(self.all_lower)

    @cached_property
    def shortest(self) -> int:
        """The number of characters of the shortest message."""
        return min(map(len, self.messages))

    def prose(self, number: int) -> str:
        """Return a message in lower case, without code and quotations."""
        text = self.lower[number]
        return _QUOTED.sub(" ", text) if _MAY_QUOTE(text) else text

    def matches(self, sign: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
        """Yield each phrase of a pattern outside code and quotations, and the number of its message."""
        if sign in self.signs:
            for number in range(len(self.messages)):
                for match in pattern.finditer(self.prose(number)):
                    yield number, match[0].strip()

    def unusable(self, number: int, reason: Reason, detail: str) -> Unusable:
        """Return the finding about a message, counted from 0."""
        return Unusable(reason, f"{self.role}_{number + 1} {detail}", number + 1)


_MAY_QUOTE = re.compile('[`"\u201c\u201e\u00ab\u300c>]').search
_QUOTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]*\"|[\u201c\u201e][^\u201c\u201d\n]*[\u201c\u201d]|\u00ab[^\u00ab\u00bb\n]*\u00bb"
    r"|\u300c[^\u300c\u300d\n]*\u300d|^[ \t]*>[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
