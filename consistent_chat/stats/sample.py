"""A dialogue, of a replay or of a row of a dataset, as the statistics count it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from consistent_chat.dialogue.work import Dialogue
from consistent_chat.recipe.shape import FACETS
from consistent_chat.row import COLUMNS, LAYOUTS
from consistent_chat.text.languages import SPACELESS

_WORD = re.compile(rf"(?=[{SPACELESS}])[^\W\d]|(?:[^\W{SPACELESS}]|\d)(?:[^\s{SPACELESS}]|\d)*")
_ASCII_WORD = re.compile(r"[A-Za-z0-9_]\S*")
_PUNCTUATION = "".join(chr(code) for code in range(0x2100) if unicodedata.category(chr(code)).startswith("P"))


def words(text: str) -> list[str]:
    """Return the words of a text, including punctuation at their end. In scripts without spaces a letter is a word."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text)


def content(word: str) -> str:
    """Return the form of a word for comparisons: in lower case, without punctuation at its end."""
    return word.rstrip(_PUNCTUATION).lower()


class Failure(NamedTuple):
    """An unusable response that a dialogue needed: its stage ("skeleton", "answers", ...) and the reason."""

    stage: str
    reason: str


class DialogueSample(NamedTuple):
    """A dialogue as the statistics count it.

    If unknown, `intent` is empty, and tokens and draws are 0. Tokens and draws are of all responses that the spec took,
    as in a row's provenance. `substitutes` counts the specs that were given up before this one. `facets` are the values
    of its shape (outcome, mood, ...), where known.
    """

    intent: str
    category: str
    topic: str
    user_messages: Sequence[str]
    answers: Sequence[str]
    input_tokens: int = 0
    output_tokens: int = 0
    draws: int = 0
    substitutes: int = 0
    failed: Sequence[Failure] = ()
    facets: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def of(cls, dialogue: Dialogue) -> DialogueSample:
        """Return the sample of a dialogue from a replay."""
        spec = dialogue.spec
        return cls(
            spec.intent.key,
            spec.category,
            spec.topic,
            dialogue.user_messages,
            dialogue.answers,
            dialogue.input_tokens,
            dialogue.output_tokens,
            dialogue.draws,
            spec.substitute,
            tuple(Failure(draw.stage, draw.reason.value) for draw in dialogue.failed),
            {facet: getattr(spec.shape, facet).name for facet in FACETS},
        )

    @classmethod
    def of_row(cls, row: Mapping[str, Any], failures: Sequence[Mapping[str, Any]] = ()) -> DialogueSample:
        """Return the sample of a row of any layout, with or without provenance, and of the failed draws of its index.

        Only messages of users and assistants count, not system prompts. Raises KeyError if the row has no column of
        messages.
        """
        layout = next((layout for layout in LAYOUTS.values() if layout.column in row), None)
        if layout is None:
            raise KeyError(f"no column {' or '.join(COLUMNS)} in a row")
        said = [(message[layout.role], message[layout.text] or "") for message in row[layout.column]]
        origin = row.get("provenance") or {}
        draws = origin.get("draws") or 0
        return cls(
            origin.get("intent") or "",
            row.get("category") or "",
            origin.get("topic") or "",
            [text for role, text in said if role == layout.user],
            [text for role, text in said if role == layout.assistant],
            origin.get("input_tokens") or 0,
            origin.get("output_tokens") or 0,
            draws,
            _substitutes(draws > len(origin.get("request_keys") or ()), failures),
            tuple(Failure(failure["stage"], failure["reason"]) for failure in failures),
            {facet: origin[facet] for facet in FACETS if isinstance(origin.get(facet), str)},
        )


def _substitutes(redrawn: bool, failures: Sequence[Mapping[str, Any]]) -> int:
    """Return how many specs were given up. If the finished spec was redrawn, the last failures are its own."""
    last = max((failure["substitute"] for failure in failures), default=-1)
    return int(last if redrawn else last + 1)
