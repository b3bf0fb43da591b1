"""Checks that each answer has content, is complete, and refers only to earlier messages."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from consistent_chat.dialogue.checks.side import END, Side, phrases
from consistent_chat.dialogue.parse import Reason
from consistent_chat.text.languages import SOUTHEAST_ASIAN

LONGEST_COURTESY = 300
"""Maximum characters of an answer that is checked for being only a courtesy."""
LONGEST_SENTENCE = 150
"""Maximum characters of a sentence that is checked for being several courtesies."""
ENDS = frozenset(".!?…:;)]}>\"'”’»」』）】》。！？．：；؟۔।॥՞།။*_`~|$%°€£")
"""Characters that may end a message. A colon announces more, and is checked separately."""
TERMS = ".!?…。！？؟۔।"
ASCII_TERMS = TERMS[:3]
FRAGMENT = {"spaced": 6, "dense": 12}
"""Minimum words after the last full stop (letters, in scripts without spaces): fewer are a label or a short reply."""
MANY_QUESTIONS = 3
ORDINALS = {
    1: ("first message",),
    2: ("second message",),
    3: ("third", "dritte", "troisième", "tercera", "terza", "terceira"),
    4: ("fourth", "vierte", "quatrième", "cuarta", "quarta"),
    5: ("fifth", "fünfte", "cinquième", "quinta"),
    6: ("sixth", "sechste", "sixième", "sexta", "sesta"),
}
"""Stems of ordinals, by number. The n-th question exists from turn n on."""


def empty_courtesy(side: Side) -> None:
    """Raise Unusable if every sentence of an answer is an empty courtesy, and the user has not just said thanks."""
    known, asked = phrases(side.language), side.asked
    for number, text in enumerate(side.lower):
        if len(text) >= LONGEST_COURTESY or not known.begins.match(text) or not _is_courtesy(text, known.courtesies):
            continue
        if number >= len(asked) or not _is_closing(asked[number]):
            raise side.unusable(number, Reason.EMPTY_COURTESY, f"says nothing: {text[:80]!r}")


def _is_closing(said: str) -> bool:
    """Return whether a user makes no request: a few words without a question mark, or thanks."""
    if "?" in said or "？" in said or len(said) > LONGEST_SENTENCE:
        return False
    return bool(_THANKS(said.lower())) or (said.isascii() and len(said.split()) < 3)


def _is_courtesy(text: str, courtesies: re.Pattern[str]) -> bool:
    first = _FIRST(text)[0].strip(_AROUND)
    if first and not courtesies.match(first):  # this decides most texts
        return False
    sentences = [sentence for part in _SENTENCES(text) if (sentence := part.strip(_AROUND))]
    return bool(sentences) and all(_consists_of(sentence, courtesies) for sentence in sentences)


def _consists_of(sentence: str, courtesies: re.Pattern[str]) -> bool:
    """Return whether a sentence is a courtesy, or several courtesies joined by commas, dashes or "and"."""
    if not sentence or courtesies.fullmatch(sentence):
        return True
    if len(sentence) > LONGEST_SENTENCE:
        return False
    parts = [part.strip(_AROUND) for part in _JOINTS(sentence)]
    return len(parts) > 1 and all(not part or courtesies.fullmatch(part) for part in parts)


def mentions_list(side: Side) -> None:
    """Raise Unusable if an answer shows that the assistant saw all messages at once.

    Question numbers are natural in conversations about exams, for example, or if one message has many questions.
    """
    known, asked = phrases(side.language), side.asked

    @functools.cache
    def is_natural(number: int) -> bool:
        before = "\n".join(asked[: number + 1]).lower()
        return bool(known.exams.search(before)) or "".join(asked[number : number + 1]).count("?") >= MANY_QUESTIONS

    for number, phrase in side.matches("mentions", known.mentions):
        may_be = ("question" in phrase or "answer" in phrase) and is_natural(number)
        if not (may_be or _is_past(phrase, number + 1)):
            raise side.unusable(number, Reason.MENTIONS_LIST, f"shows that all messages were given at once: {phrase!r}")


def _is_past(phrase: str, turn: int) -> bool:
    """Return whether the ordinal in a phrase refers to a turn that already exists: "your third question" in turn 3."""
    return any(stem in phrase for nth, stems in ORDINALS.items() if nth <= turn for stem in stems)


def broken_off(side: Side) -> None:
    """Raise Unusable if an answer is broken off: an unclosed code block, prose without an end.

    Lists, tables, code, verses, links, emoji, and texts without full stops may end without punctuation.
    """
    has_fence = "fence" in side.signs
    for number, text in enumerate(side.messages):
        last = text[-1]
        if has_fence and "```" in text and len(_FENCE(text)) % 2:
            raise side.unusable(number, Reason.BROKEN_OFF, "ends inside a code block")
        if last not in ENDS and not _is_complete(text):
            raise side.unusable(number, Reason.BROKEN_OFF, f"breaks off: {text[-40:]!r}")
        if last in ":：" and "\n" not in text[-2:] and _promises(text):
            raise side.unusable(number, Reason.BROKEN_OFF, f"announces something that does not follow: {text[-40:]!r}")


def _is_complete(text: str) -> bool:
    """Return whether a text may end without punctuation."""
    body, _, last = text.rpartition("\n")
    last = last.strip()
    if not _WORDY(last):
        return True  # a rule, a line of marks
    word = last.rsplit(None, 1)[-1]
    if last[-1] in ",、，-–—(" or word in _DANGLING:
        return last[-1] in ",，" and len(last.split()) < 4  # "Best wishes,"
    if not (last[-1].isalnum() or last[-1] in ",、"):
        return True  # an emoji, punctuation of another script
    if _ITEM(last) or "|" in last or "://" in word or "@" in word:
        return True
    terms = ASCII_TERMS if text.isascii() else TERMS
    if not any(map(text.__contains__, terms)) or _ENDED(text) is None or _WITHOUT_STOPS(last):
        return True  # a text that uses no full stops
    is_verse = bool(body) and body[-1] != "\n" and body.rstrip()[-1] not in f"{TERMS}:"
    return is_verse or not _is_long(last[1 + max(map(last.rfind, TERMS)) :])


def _is_long(fragment: str) -> bool:
    dense = not fragment.isascii() and " " not in fragment.strip()
    return len(fragment) >= FRAGMENT["dense"] if dense else len(fragment.split()) >= FRAGMENT["spaced"]


def _promises(text: str) -> bool:
    return len(text.rpartition("\n")[2].split()) >= 4


_THANKS = re.compile(
    r"thank|thanks|cheers|\bty\b|great|perfect|lovely|nice|good|cool|works?\b|worked|merci|danke|gracias|grazie|obrigad"
    r"|bedankt|dank|спасибо|谢|ありがと|고마|감사|شكر|धन्यवाद|shukri|teşekkür|dziękuj|bye|ciao|tschüss|adiós"
).search
_SENTENCES = re.compile(r"[.!?。！？\n]+").split
_FIRST: Callable[[str], Any] = re.compile(r"[^.!?。！？\n]*").match
_JOINTS = re.compile(r"\s*(?:[,;:–—，、]|\s-\s|\band\b|\bso\b|\bbut\b|\bund\b|\by\b|\bet\b)\s*").split
_AROUND = " \t,;:-–—*_~，、；：()¡¿😊🙂😀😄👍🙏❤️💪✨🎉"
SIGNS = {
    "fence": "```",
    "open_end": f"[^{re.escape(''.join(sorted(ENDS - {*':：'})))}]{END}",
}
"""RE2 patterns for the checks: a code block, a last character that does not end a sentence, or that announces more."""
_FENCE = re.compile(r"^[ \t>]*```", re.MULTILINE).findall
_WORDY = re.compile(r"[^\W_]|[\u0900-\u17ff]").search
_ENDED = re.compile(rf"[{TERMS}](?:[\s\"'”»)*_]|\Z)|[。！？]").search
_WITHOUT_STOPS = re.compile(f"[{SOUTHEAST_ASIAN}]").search
_ITEM = re.compile(r"[-*•+–#>]|\d+[.)、]|[a-zA-Z][.)] |\w+ \d+[.:)]|\W").match
_DANGLING_WORDS = """
the a an and or of with because your my their to than which while into if is und oder der die das ein eine mit weil y o
el la los las de del que et ou le les des du avec
"""
_DANGLING = frozenset(_DANGLING_WORDS.split())
