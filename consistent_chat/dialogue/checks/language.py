"""Checks the language of one side of a dialogue.

Frequent words decide clear cases quickly; a detector decides the others.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, NamedTuple

from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.recipe import safe_yaml
from consistent_chat.text.languages import EAST_ASIAN, code

LETTERS = 100
"""Minimum letters for a reliable detection; a third of that in scripts without spaces."""
ALONE = 50
"""The same for one message, which must also have frequent words of the other language."""
LEAST_WORDS = 8
"""Minimum different words, in scripts with spaces."""
LOOKED_AT = 3_000
"""Maximum characters passed to the detector."""
MARGIN = 0.4
"""How much likelier another language must be, in nats per letter (for at least 40 letters)."""
ROMANISED = 4
"""Minimum frequent words of a Latin-script language in a text for it not to count as a transcription."""
LONG, LONGER = 60, 120
"""Characters of a text above which it is searched for the most frequent words before it is split into words.

LONGER if splitting finds all of them; in a script with combining vowels, only searching does.
"""
OFTEN = 12
"""Number of words that are searched for."""
PLAIN = 2
"""Number of frequent words that identify a message's language."""


def wrong(side: Side) -> None:
    """Raise Unusable if a message, or more than this share of a side's text, is not in the recipe's language.

    The check ignores languages that are not in the table, close relatives, short texts, and a language that the user
    names, as in a request for a translation. A single message may also be in a language in which the user writes.
    """
    name, share, asked = side.language, side.limits["wrong_language"], side.asked
    words = _words(name)
    doubtful = [] if words is None else _doubtful(side, share, words)
    if words is None or not doubtful:
        return
    accepted = words.accepted
    if sum(map(len, doubtful)) > share * len(side.all_lower):
        other = _other(" ".join(doubtful), accepted, LETTERS)
        if other and _is_sure(other, " ".join(doubtful), accepted) and not _is_asked_for(other, asked):
            turn = side.lower.index(max(doubtful, key=len)) + 1
            language = _shown(other, " ".join(doubtful))
            raise Unusable(Reason.WRONG_LANGUAGE, f"{side.role} messages in {language} instead of {name}", turn)
    for text in doubtful:
        other = _other(text, accepted, ALONE)
        is_sure = other and _has_words(other, text) and _is_sure(other, text, accepted)
        if is_sure and not (_is_asked_for(other, asked) or _is_written(other, side, asked)):
            number = side.lower.index(text)
            raise side.unusable(number, Reason.WRONG_LANGUAGE, f"is in {_title(other)} instead of {name}")


def spoken(texts: Sequence[str]) -> str:
    """Return the English name of the language of texts, or "" if it is uncertain."""
    text = _bare("\n".join(texts))[:LOOKED_AT].lower()
    best = _likeliest(text) if text.strip() else "en"
    known = _table()["languages"]
    if best in known and (not _is_latin(text) or _has_words(best, text)):
        return _shown(best, text, "")
    return "English" if _count(frozenset({"en"}), text) >= ROMANISED else ""


def _doubtful(side: Side, share: float, words: _Words) -> list[str]:
    """Return the messages that have letters, but fewer than two frequent words of the right language.

    Messages that are too short for a detection of their own are left out where all that may be doubtful is at most this
    share of the side, or too short together. So the longest are examined first.
    """
    first, second, third = words.first
    unknown = [
        text
        for text in side.lower
        if not ((second in text or third in text) if first in text else (second in text and third in text))
    ]
    if not unknown:
        return []
    alone, least = (ALONE, LETTERS) if side.is_ascii else (ALONE // 3, LETTERS // 3)
    most, together = max(share * len(side.all_lower), least - len(unknown)), sum(map(len, unknown))
    doubtful = set()
    for text in sorted(unknown, key=len, reverse=True):
        if together <= most and len(text) < alone:
            break
        if _is_plain(text, words):
            together -= len(text)
        else:
            doubtful.add(text)
    return [text for text in unknown if text in doubtful] if doubtful else []


def _is_plain(text: str, words: _Words) -> bool:
    """Return whether a text has no letters, or two frequent words of a language.

    A text is split into words where that is quicker than searching it for the most frequent ones, or if it has none.
    """
    if len(text) > words.long and _has_some(text, words.often):
        return True
    if len(words.whole.intersection(text.split())) >= PLAIN or _has_some(text, words.beyond):
        return True
    return not _LETTER.search(text) or len(words.plain.intersection(_WORD(text))) >= PLAIN


def _has_some(text: str, padded: Sequence[str]) -> bool:
    count = 0
    for word in padded:
        if word in text:
            count += 1
            if count == PLAIN:
                return True
    return False


def _other(text: str, accepted: frozenset[str], least: int) -> str:
    """Return the code of a text's language if it is certain and not an accepted one."""
    if len(text) < (least if text.isascii() else least // 3):
        return ""
    text, known = _bare(text), _table()["languages"]
    letters = sum(map(str.isalpha, text)) if text.isascii() else len(_LETTER.findall(text))
    dense = 1 if text.isascii() else max(1, 3 * len(_DENSE.findall(text)) // max(1, letters))
    if letters * dense < least or (dense == 1 and len(set(_WORD(text))) < LEAST_WORDS):
        return ""
    if _likeliest(text) in accepted:
        return ""
    ranked = _ranked(text)
    best, most = next(one for one in ranked if one[0] in known)
    right = next((score for code, score in ranked if code in accepted), None)
    if right is None or best in accepted or float(most) - float(right) < MARGIN * max(40, min(letters, 400)):
        return ""
    return best


def _is_asked_for(other: str, asked: Iterable[str]) -> bool:
    text = " ".join(asked).lower()
    return any(name in text for name in _table()["languages"][other]["names"])


def _has_words(other: str, text: str) -> bool:
    """Return whether a text has frequent words of a language.

    In Latin letters, names and ingredients are not enough.
    """
    _, words = _frequent(frozenset({other}))
    return not words or not _is_latin(text) or _count(frozenset({other}), text) >= PLAIN


def _is_sure(other: str, text: str, accepted: frozenset[str]) -> bool:
    """Return whether a text in Latin letters is certainly not a transcription from another script.

    Romanised Hindi, Urdu or Arabic resembles some Latin-script language, but has few of its frequent words.
    """
    if not _is_latin(text) or accepted.isdisjoint(_table()["romanised"]):
        return True
    return _count(frozenset({other}), text) >= ROMANISED


def _shown(other: str, text: str, unsure: str = "another language") -> str:
    """Return the name of a language, or `unsure` for a text that may be a transcription of one with another script."""
    return _title(other) if not _is_latin(text) or _count(frozenset({other}), text) >= ROMANISED else unsure


def _is_latin(text: str) -> bool:
    """Return whether at least half of a text's characters are Latin letters, spaces and punctuation."""
    return 2 * sum(map(_LATIN_ENDS.__lt__, text)) <= len(text)


def _count(codes: frozenset[str], text: str) -> int:
    """Return the number of different frequent words of languages in a text."""
    return len(_frequent(codes)[1].intersection(_WORD(text)))


def _is_written(other: str, side: Side, asked: Iterable[str]) -> bool:
    """Return whether the user writes to the assistant in a language or a close relative of it."""
    kin = _kin(other)
    texts = [text for text in map(_bare, asked) if len(text) >= ALONE // 2 and side.role == "assistant"]
    return any(_likeliest(text) in kin for text in texts)


def _likeliest(text: str) -> str:
    """Return the code of the likeliest language, in two thirds of the time of ranking all."""
    import py3langid  # takes 0.2 s, and most dialogues do not need it

    return str(py3langid.classify(text[:LOOKED_AT])[0])


def _ranked(text: str) -> list[tuple[str, float]]:
    """Return the codes of languages with the logarithms of their likelihoods, the likeliest first."""
    import py3langid

    ranked: list[tuple[str, float]] = py3langid.rank(text[:LOOKED_AT])
    return ranked


def _bare(text: str) -> str:
    """Return a text without the parts that have no language: code, quotations, addresses, punctuation."""
    return _NO_LANGUAGE.sub(" ", text) if _MAY_BE_NO_LANGUAGE(text) else text


def _title(other: str) -> str:
    return str(_table()["languages"][other]["names"][0].title())


class _Words(NamedTuple):
    """The words of a recipe's language and its close relatives, whose codes are `accepted`.

    `often` has the most frequent words and `beyond` those that splitting a text does not find, both padded with spaces,
    as are the three most frequent ones in `first`: a text with two of these is plain. A text of more than `long`
    characters is searched for those in `often`. `plain` has all words, `whole` those that a regex sees as whole words:
    in some scripts vowels are combining marks.
    """

    accepted: frozenset[str]
    first: tuple[str, ...]
    long: int
    often: tuple[str, ...]
    beyond: tuple[str, ...]
    plain: frozenset[str]
    whole: frozenset[str]


@functools.lru_cache(maxsize=64)
def _words(name: str) -> _Words | None:
    """Return the words of the language that a recipe names, or None if the table lacks it."""
    named = code(name)
    if named is None or named not in _table()["languages"]:
        return None
    accepted = _kin(named)
    often, plain = _frequent(accepted)[0][:OFTEN], _plain_words(accepted)
    whole = frozenset(word for word in plain if _WORD(word) == [word])
    are_whole = len(often) == OFTEN == len(whole.intersection(map(str.strip, often)))
    first = often[:3] if are_whole else (*(often[:2] or ("\0", "\0")), _IN_NO_TEXT)
    long = LONGER if are_whole else LONG
    return _Words(accepted, first, long, often, _beyond_words(accepted), plain, whole)


def _kin(named: str) -> frozenset[str]:
    return frozenset({named}).union(*(kin for kin in _table()["kin"] if named in kin))


@functools.lru_cache(maxsize=64)
def _frequent(codes: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the frequent words of languages twice: with surrounding spaces if the language has spaces, and bare."""
    languages = _table()["languages"]
    words = [word for code in sorted(codes) for word in languages.get(code, {}).get("words", ())]
    marks = [mark for code in sorted(codes) for mark in languages.get(code, {}).get("marks", ())]
    return (*(f" {word} " for word in words), *marks), frozenset(words)


def _beyond_words(codes: frozenset[str]) -> tuple[str, ...]:
    """Return those of the padded words that searching for whole words does not replace.

    They are those of languages without spaces, and those that relatives share: these count for each of them.
    """
    padded, words = _frequent(codes)
    return tuple(word for word in padded if padded.count(word) > 1 or word.strip() not in words)


def _plain_words(codes: frozenset[str]) -> frozenset[str]:
    """Return the words that identify a language at once: its frequent words, and others that it alone has."""
    languages = _table()["languages"]
    return _frequent(codes)[1].union(*(languages.get(code, {}).get("common", ()) for code in codes))


@functools.lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    text = resources.files("consistent_chat.dialogue.checks").joinpath("languages.yaml").read_text("utf-8")
    table: dict[str, Any] = safe_yaml.parse(text, "languages.yaml").data
    return table


_IN_NO_TEXT = "A"
"""It does not occur in lower case."""
_LATIN_ENDS = "\u036f"
_LETTER = re.compile(r"[^\W\d_]|[\u0370-\U0010ffff]")  # beyond Latin, some are combining marks
_DENSE = re.compile(f"[{EAST_ASIAN}]")
_WORD = re.compile(r"[\w']+").findall
_MAY_BE_NO_LANGUAGE = re.compile(r"[`\"“„«「>:@\d#*_|=<{}\[\]\\/^~-]").search
_NO_LANGUAGE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]*\"|[“„][^“”\n]*[“”]|«[^«»\n]*»|「[^「」\n]*」|^[ \t]*>[^\n]*$"
    r"|https?://\S+|(?<!\S)\S{1,80}@\S+|(?<![A-Za-z0-9_])[A-Za-z0-9_]*\d[A-Za-z0-9_]*|[#*_|=<>{}\[\]\\/^~-]+",
    re.DOTALL | re.MULTILINE,
)
