"""Text that dialogues must not contain, such as a benchmark's, by its hashed n-grams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.recipe.ngrams import Ngrams

MAX_QUOTED = 120
"""Maximum characters of a message that a finding quotes."""


def contaminated(messages: Sequence[str], role: str, given: Sequence[Ngrams]) -> Iterator[Unusable]:
    """Yield a finding for each file of n-grams in `given` that a message has words of, about the first such message."""
    for ngrams in given:
        for turn, text in enumerate(messages, 1):
            if run := ngrams.first(text):
                detail = f"{role}_{turn} has words of {ngrams.name!r}: {run[:MAX_QUOTED]!r}"
                yield Unusable(Reason.CONTAMINATED, detail, turn)
                break
