"""One side of a dialogue, in the forms that several checks share: each is computed once, when needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from consistent_chat.dialogue.parse import Reason, Unusable

APART = "\n\x1f\n"
"""The separator between messages that are searched together."""
START = r"(?:\A|\x1f\n)"
"""A regex for the start of a message in the joined text."""


class Side:
    """The messages of a role, "user" or "assistant", in order. `find` returns the signs in a lower-case text."""

    def __init__(self, messages: Sequence[str], role: str, find: Callable[[str], frozenset[str]]) -> None:
        self.messages, self.role, self._find = messages, role, find

    @cached_property
    def joined(self) -> str:
        """All messages unchanged, in one text, to exclude characters quickly."""
        return APART.join(self.messages)

    @cached_property
    def is_ascii(self) -> bool:
        """Whether all messages are ASCII."""
        return self.joined.isascii()

    @cached_property
    def all_lower(self) -> str:
        """All messages in lower case, with straight apostrophes, in one text."""
        return self.joined.replace("\u2019", "'").lower()

    @cached_property
    def lower(self) -> Sequence[str]:
        """The messages in lower case, with straight apostrophes."""
        texts = self.all_lower.split(APART)
        return texts if len(texts) == len(self.messages) else [_lower(text) for text in self.messages]

    @cached_property
    def signs(self) -> frozenset[str]:
        """The names of the signs that the messages have."""
        return self._find(self.all_lower)

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


def _lower(text: str) -> str:
    return text.replace("\u2019", "'").lower()


_MAY_QUOTE = re.compile('[`"\u201c\u201e\u00ab\u300c>]').search
_QUOTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]*\"|[\u201c\u201e][^\u201c\u201d\n]*[\u201c\u201d]|\u00ab[^\u00ab\u00bb\n]*\u00bb"
    r"|\u300c[^\u300c\u300d\n]*\u300d|^[ \t]*>[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
