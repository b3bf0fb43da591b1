"""Checks that user messages read like a user's, and reveal nothing of the prompt."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from consistent_chat.dialogue.checks.side import APART, BOUNDARY, Phrases, Side, phrases
from consistent_chat.dialogue.parse import Reason

WHOLE = 5
"""Minimum words of a short topic, persona or step (shorter than the threshold) that must not be quoted in full."""
ADVICE = 2
LISTED = 3
"""Minimum pieces of advice, or list items, that together with a typical opening mark a message as an answer."""


def answers_itself(side: Side) -> None:
    """Raise Unusable if a user message speaks as an assistant, or answers its own question."""
    known = phrases(side.language)
    for number, phrase in side.matches("as_assistant", known.as_assistant):
        raise side.unusable(number, Reason.ANSWERS_ITSELF, f"speaks as the assistant: {phrase!r}")
    for number, text in enumerate(side.lower) if "openings" in side.signs else ():
        if known.openings.match(text.lstrip(" *_#¡!")) and _reads_as_answer(side.prose(number), known):
            raise side.unusable(number, Reason.ANSWERS_ITSELF, "reads as an assistant's answer")
    for number, text in enumerate(side.lower) if "question" in side.signs else ():
        for asked, said in _pairs(text):
            if _answers(asked, said, known):
                raise side.unusable(number, Reason.ANSWERS_ITSELF, f"answers its own question: {said[:60]!r}")


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield each question in a text with the sentence that follows it."""
    if not 0 <= text.find("?") < len(text) - 1:
        return
    before, *after = _QUESTION_END(text)
    for said in after:
        asked = max(before.rpartition(". ")[2], before.rpartition("! ")[2], key=lambda part: -len(part))
        yield asked, _SENTENCE_END(said, 1)[0]
        before = said


def _reads_as_answer(text: str, known: Phrases) -> bool:
    if known.closings.search(text):
        return True
    if "?" in text or known.first_person.search(_after_opening(text)):
        return False
    return len(known.advice.findall(text)) >= ADVICE or len(_ITEM(text)) >= LISTED


def _after_opening(text: str) -> str:
    return text[min(len(text), 60) :]


def _answers(asked: str, said: str, known: Phrases) -> bool:
    """Return whether a sentence repeats words of the question before it and does not mention the asker."""
    spoken = _WORDS(said)
    if len(spoken) < 5 or "?" in said:
        return False
    return _is_about(asked, said, spoken) and known.first_person.search(said) is None


def _is_about(asked: str, said: str, spoken: list[str]) -> bool:
    turned = [_TURNED.get(word, word) for word in _WORDS(asked)]
    if spoken[0] == "you" and spoken[1] in _MODALS:
        is_told = spoken[1] in _ADVISING and _ASKS_WHAT_TO_DO(asked) is not None
        return is_told or bool({word for word in turned if len(word) > 3} & set(spoken[2:]) - _COMMON)
    if any(verb in said for verb in _DEFINING) and (named := _ASKS_WHAT_IT_IS(asked)) and _is_defined(said, named[1]):
        return True
    start = " ".join(spoken[:9])
    if spoken[0] == "to" and any(f"{a} your {b}" in start for a, _, b in zip(turned, turned[1:], turned[2:])):
        return True
    return len({*turned}.intersection(spoken[:7])) > 1 and _is_run(turned, " ".join(spoken[:7]), 4)


def _is_defined(said: str, thing: str) -> bool:
    """Return whether a sentence says what a thing is. Most do not name it: there, no pattern is compiled for it."""
    return thing in said and (
        re.match(rf"\W*(?:an? |the )?{re.escape(thing)}(?:{'|'.join(_DEFINING)})\b", said) is not None
    )


def _is_run(words: list[str], text: str, length: int) -> bool:
    runs = (" ".join(words[at : at + length]) for at in range(len(words) - length + 1))
    return any(f" {run} " in f" {text} " for run in runs)


def leaks_prompt(side: Side) -> None:
    """Raise Unusable if a message names a field of the prompt, or quotes this many consecutive words of a drawn text.

    A shorter drawn text counts if it has at least five words and is quoted in full.
    """
    if "labels" in side.signs:
        for number, phrase in side.matches("labels", phrases(side.language).labels):
            raise side.unusable(number, Reason.LEAKS_PROMPT, f"names a field of its prompt: {phrase!r}")
    run, text = side.limits["leaks_prompt"], side.all_lower.replace(",", "")
    suspects = [secret for secret in side.drawn for piece in _pieces(secret, run) if piece in text]
    for secret in suspects:
        if leaked := next((run for run in _runs(secret, run) if run in text), ""):
            number = text[: text.find(leaked)].count(APART)
            raise side.unusable(number, Reason.LEAKS_PROMPT, f"quotes its prompt: {leaked!r}")
    for number, text in enumerate(side.lower) if "field" in side.signs else ():
        if ":" in text and (_FIELD(text) or len(set(_FIELDS(text))) > 1):
            raise side.unusable(number, Reason.LEAKS_PROMPT, "has the fields of its prompt")


@functools.lru_cache(maxsize=8192)
def _pieces(secret: str, run: int) -> tuple[str, ...]:
    """Return long words such that every run of a drawn text's words contains one of them."""
    words = _said(secret)
    run = max(WHOLE, min(run, len(words)))
    starts = len(words) - run + 1
    step = -(-starts // max(1, -(-starts // (run - 1))))
    return tuple(" ".join(words[min(at + step, starts) - 1 : at + run]) for at in range(0, starts, max(1, step)))


def _runs(secret: str, run: int) -> Iterator[str]:
    words = _said(secret)
    run = max(WHOLE, min(run, len(words)))
    return (" ".join(words[at : at + run]) for at in range(len(words) - run + 1))


def _said(secret: str) -> list[str]:
    return secret.lower().replace("\u2019", "'").replace(",", "").strip(" .").split()


_SENTENCE_END = re.compile(r"[.!\n](?:\s|$)").split
_QUESTION_END = re.compile(r"\?\s+").split
_ASKS_WHAT_TO_DO = re.compile(r"\b(?:should|could|can) (?:i|we)\b").search
_ASKS_WHAT_IT_IS = re.compile(
    r"\b(?:what(?:'s| is| are)|what about|how about|explain|who (?:is|was)|define|describe"
    r"|tell me about)(?: what)? (?:an? |the )?([^,;:]+)$"
).search
_DEFINING = (" is", " are", " was", " were", " refers", " means", " happens")
_ADVISING = {"should", "could"}
_WORDS = re.compile(r"[\w']+").findall
_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)、])", re.MULTILINE).findall
_TURNED = {"i": "you", "my": "your", "me": "you", "am": "are", "mine": "yours", "we": "you", "our": "your"}
_MODALS = {"should", "can", "could", "need", "must", "may", "might", "have", "will"}
_COMMON = {"your", "have", "that", "this", "what", "with", "should", "could", "would", "when", "them", "need", "from"}
SIGNS = {
    "question": r"\?[\s\pZ]+[^\s\x1f]",
    "field": rf"{BOUNDARY}(?:intent|category|topic|information flow|persona|manner)[^a-z0-9_]*:",
}
"""RE2 patterns for the checks: a question before the end of a message, a field of a prompt."""
_FIELD = re.compile(r"\W*(?:intent|category|topic|information flow|persona)\W*:").match
_FIELDS = re.compile(r"^\W*(intent|category|topic|information flow|persona|manner)\W*:", re.MULTILINE).findall
