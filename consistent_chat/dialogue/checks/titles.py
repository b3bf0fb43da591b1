"""Finds words of the prompt in messages: titles of intents and categories, and sentences of the prompts."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from consistent_chat.dialogue import prompts
from consistent_chat.dialogue.checks.side import END, START, Side, phrases
from consistent_chat.dialogue.parse import Reason
from consistent_chat.recipe import taxonomy

LEAST_WORDS = 5
"""Minimum words of a sentence from a prompt that is searched for."""
MOST_WORDS = 8
"""Maximum words of a title."""


def titles(side: Side) -> None:
    """Raise Unusable if a user message is a title or a sentence of a prompt, or if several user messages are titles."""
    for number, text in enumerate(side.messages) if "title" in side.signs else ():
        if text.strip(' .*#"') in _titles():
            raise side.unusable(number, Reason.LEAKS_PROMPT, f"is a title: {text[:60]!r}")
    if _is_title(side.messages[0]):
        are = [_is_title(text) for text in side.messages]
        if sum(are) > 1 and 2 * sum(are) >= len(are):
            raise side.unusable(0, Reason.LEAKS_PROMPT, f"is a title: {side.messages[0][:60]!r}")
    if "prompted" in side.signs:
        _sentences(side)


def _is_title(text: str) -> bool:
    return text[0].isupper() and text[-1].isalpha() and bool(_TITLE(text))


def labels(side: Side) -> None:
    """Raise Unusable if an answer refers to the messages of its prompt, or contains a sentence of it."""
    for number, phrase in side.matches("labels", phrases(side.language).labels):
        if "user" in phrase or "note" in phrase or "end of" in phrase or "message" in phrase:
            raise side.unusable(number, Reason.LEAKS_PROMPT, f"refers to its prompt: {phrase!r}")
    if "prompted" in side.signs:
        _sentences(side)


def _sentences(side: Side) -> None:
    sentences = _prompted()
    for number, text in enumerate(side.messages):
        first, line = text.partition(". ")[0], text.partition("\n")[0]
        if first.rstrip(_ENDS) in sentences or line.strip(_ENDS) in sentences or text.rstrip(_ENDS) in sentences:
            raise side.unusable(number, Reason.LEAKS_PROMPT, "contains a sentence of its prompt")


def signs(role: str) -> dict[str, str]:
    """Return RE2 patterns in lower case: a message that begins with a sentence of a prompt, or that is a title."""
    title = {"title": rf"{START}[ .*#\"]*(?:{_any_of(_titles())})[ .*#\"]*{END}"} if role == "user" else {}
    return {**title, "prompted": rf"{START}[ .:!?*\n-]*(?:{_any_of(_prompted())})"}


def _any_of(sentences: Iterable[str]) -> str:
    return "|".join(sorted(re.escape(sentence.replace("\u2019", "'").lower()) for sentence in sentences))


@functools.lru_cache(maxsize=1)
def _titles() -> frozenset[str]:
    intents = taxonomy.builtin().intents.values()
    return frozenset(
        name for intent in intents for name in (intent.title, *(category.name for category in intent.categories))
    )


@functools.lru_cache(maxsize=1)
def _prompted() -> frozenset[str]:
    """Return the sentences of the prompts that have no placeholders, without their full stops."""
    lines = [line.lstrip("- ") for text in prompts.contents().values() for line in text.splitlines()]
    sentences = [sentence for line in lines for sentence in _SENTENCE_ENDS(line)]
    return frozenset(sentence for sentence in sentences if len(sentence.split()) >= LEAST_WORDS and "$" not in sentence)


_ENDS = " .:!?-*\n"
_SENTENCE_ENDS = re.compile(r"[.!?:]\s+|[.!?:]?\n|[.!?:]\Z").split
_TITLE = re.compile(
    rf"[A-Z][a-z'-]+(?:,? (?:and|or|of|the|for|in|on|to|with|a|an|&|[A-Z][a-z'-]+)){{1,{MOST_WORDS}}}"
).fullmatch
