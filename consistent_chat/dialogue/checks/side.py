"""One side of a dialogue, in the forms that several checks look at: each is made once, and only where it is wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from consistent_chat.dialogue.parse import Reason, Unusable

APART = "\n\x1f\n"
"""Stands between messages where they are looked through together."""


class Side:
    """The messages of a role, "user" or "assistant", in order."""

    def __init__(self, messages: Sequence[str], role: str) -> None:
        self.messages, self.role = messages, role

    @cached_property
    def joined(self) -> str:
        """All messages as they are, in one text: a character that it lacks, no message has."""
        return APART.join(self.messages)

    @cached_property
    def is_ascii(self) -> bool:
        """Whether all messages are ASCII."""
        return self.joined.isascii()

    @cached_property
    def lower(self) -> tuple[str, ...]:
        """The messages in lower case, with straight apostrophes."""
        return tuple([text.replace("\u2019", "'").lower() for text in self.messages])

    @cached_property
    def all_lower(self) -> str:
        """All messages in lower case, with straight apostrophes, in one text."""
        return APART.join(self.lower)

    def prose(self, number: int) -> str:
        """Return a message in lower case, without code and without what is quoted."""
        text = self.lower[number]
        return _QUOTED.sub(" ", text) if _MAY_QUOTE(text) else text

    def having(self, hint: str) -> Iterator[tuple[int, str]]:
        """Yield number and lower case of each message with a piece of text."""
        for number, text in enumerate(self.lower):
            if hint in text:
                yield number, text

    def unusable(self, number: int, reason: Reason, detail: str) -> Unusable:
        """Return the finding about a message, counted from 0."""
        return Unusable(reason, f"{self.role}_{number + 1} {detail}", number + 1)


_MAY_QUOTE = re.compile('[`"\u201c\u201e\u00ab\u300c>]').search
_QUOTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]*\"|[\u201c\u201e][^\u201c\u201d\n]*[\u201c\u201d]|\u00ab[^\u00ab\u00bb\n]*\u00bb"
    r"|\u300c[^\u300c\u300d\n]*\u300d|^[ \t]*>[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
