"""Counts near-duplicates while dialogues are read, where `datasketch` is installed to find them."""

from __future__ import annotations

from consistent_chat import duplicates
from consistent_chat.errors import ConsistentChatError
from consistent_chat.statistics import Talk

COMPARED = 10_000
"""Dialogues that are compared at the most, the first ones: each takes half a millisecond and ten kilobytes."""


class Alike:
    """Near-duplicates among the first dialogues: `found` of `compared`; None where nothing can find them."""

    def __init__(self) -> None:
        self.compared, self._matches = 0, 0
        try:
            self._kept: duplicates.Kept | None = duplicates.Kept(duplicates.THRESHOLD)
        except ConsistentChatError:
            self._kept = None

    @property
    def found(self) -> int | None:
        """How many there are: dialogues whose user messages are nearly those of an earlier one."""
        return None if self._kept is None else self._matches

    def add(self, talk: Talk) -> None:
        """Compare a dialogue with those before."""
        if self._kept is None or self.compared == COMPARED:
            return
        sketch = duplicates.sketched(duplicates.dialogue_text(talk.user_messages))
        if self._kept.like(self.compared, sketch) is None:
            self._kept.add(self.compared, sketch)
        else:
            self._matches += 1
        self.compared += 1

    def __str__(self) -> str:
        if self.found is None:
            return "word for word"
        among = f" among the first {self.compared:,}" if self.compared == COMPARED else ""
        return f"word for word; {self.found:,} near-duplicates{among}"
