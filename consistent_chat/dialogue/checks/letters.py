"""Checks a message's characters: it has words, was decoded correctly, and has no words of another script.

Each check first searches quickly for a sign that good messages lack, and applies a regex only to messages with that
sign.
"""

from __future__ import annotations

import itertools
import re

from consistent_chat.dialogue.checks.side import END, START, Side
from consistent_chat.dialogue.parse import Reason

MOST_LOOKED_AT = 40
"""Maximum number of non-ASCII runs in a message that are decoded again to detect a wrong encoding."""
LEAST_LETTERS = 25
"""Minimum lower-case letters of a message whose vowels are counted."""
VOWELS = 0.12
"""The minimum share of vowels among the Latin letters of words."""
SIGNS = {
    "foreign": r"[\x{400}-\x{1dff}\x{3040}-\x{d7af}]",
    "misread": (
        "\ufffd|[\u00e2-\u00e9\u00f0\u00f1]['\u0080-\u00bf\u00ff\u0153\u0161\u017e\u0192\u02c6\u02dc\u2018-\u2030\u2039\u203a"
        "\u20ac\u2122]|[\u0432\u0440\u0441]['\u0080-\u00bf\u0452-\u045f\u0491\u2018-\u203a\u20ac\u2116\u2122]"
    ),
    "consonants": "(?:[b-df-hj-np-tvxz][^aeiouyw]*){8}",
    "wordless": (
        rf"{START}[^a-z0-9\x{{e0}}-\x{{f6}}\x{{430}}-\x{{44f}}\x{{3041}}-\x{{3096}}\x{{4e00}}-\x{{9fa5}}]*{END}"
    ),
}
"""RE2 patterns in lower case: a wrong encoding, a run of letters without a vowel, no frequent letter.

If less than VOWELS of at least LEAST_LETTERS letters are vowels, there are eight consecutive letters without a vowel: 2
vowels divide 22 other letters into 3 runs, one of which has 8 or more, and longer texts have such a run too, as 0.88 /
0.12 is more than 7.
"""


def no_words(side: Side) -> None:
    """Raise Unusable if a message has no letter, digit or symbol. A user may sometimes send only punctuation ("?!")."""
    empty = [number for number, text in enumerate(side.messages) if not _WORDY(text) and not _EMOTICON(text)]
    for number in empty:
        is_mark = side.role == "user" and _MARKS(side.messages[number])
        if not is_mark or 2 * len(empty) > len(side.messages):
            raise side.unusable(number, Reason.NO_WORDS, f"has no words: {side.messages[number][:20]!r}")


def garbled(side: Side) -> None:
    """Raise Unusable if a message was decoded wrongly, or has letters but no words."""
    is_misread, is_rough = "misread" in side.signs, "consonants" in side.signs
    for number, text in enumerate(side.messages):
        if is_misread and ("\ufffd" in text or _is_mojibake(text)):
            raise side.unusable(number, Reason.GARBLED, "has characters of a wrong encoding")
        if is_rough and 50 * text.count("e") < len(text) and text.isascii() and _lacks_vowels(text):
            raise side.unusable(number, Reason.GARBLED, f"is in no known language: {text[:40]!r}")


def _is_mojibake(text: str) -> bool:
    if not _MISREAD(text):
        return False
    if len(_MISREAD_EAST(text)) >= 3:
        return True
    runs = _BEYOND_ASCII(text)[:MOST_LOOKED_AT]
    return any(_decodes(run, "cp1252", 2) or _decodes(run, "cp1251", 4) for run in runs)


def _decodes(run: str, encoding: str, least: int) -> bool:
    """Return whether a run of characters is UTF-8 that was decoded wrongly; "O”" after a capital is not."""
    if len(run) < least or (len(run) == 2 and run[1] in "\u2018\u2019\u201c\u201d\u2013\u2014\u2026"):
        return False
    try:
        return len(run.encode(encoding).decode("utf-8")) < len(run)
    except UnicodeError:
        return False


def _lacks_vowels(text: str) -> bool:
    """Return whether a lower-case text has too few vowels."""
    if len(_VOWEL(text)) > VOWELS * len(text):
        return False
    letters = _SMALL(text)
    return len(letters) >= max(LEAST_LETTERS, len(text) // 2) and len(_VOWEL(text)) < VOWELS * len(letters)


_WORDY = re.compile(r"[^\W_]|[\u2190-\u2bff\u20a0-\u20cf\U0001f000-\U0001faff+=%]").search


_EMOTICON = re.compile(r"\s*(?:[:;=8][-'^]?[()\[\]/\\|*<>]|<3+|\^_?\^|[(][;:])\s*").fullmatch


_MARKS = re.compile(r"[?!.\u2026\u061f\uff1f\uff01 ]{1,6}").fullmatch


_MISREAD = re.compile(
    r"[\u00c2\u00c3\u00d0\u00d1\u00e2-\u00e9][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    r"\u2018-\u2030\u2039\u203a\u20ac\u2122]|[\u0420\u0421\u0432][\u0080-\u00bf\u0402-\u040f\u0452-\u045f\u0490\u0491"
    r"\u2018-\u203a\u20ac\u2116\u2122]"
).search


_MISREAD_EAST = re.compile(
    r"[\u00e3-\u00e9][\u0080-\u009f\u00a1-\u00aa\u00ac-\u00ba\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    r"\u201a\u201e\u2020-\u2022\u2030\u20ac\u2122]|[\u00e3]\u20ac"
).findall


_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]{2,}").findall


_VOWEL = re.compile(r"[aeiouyw]", re.IGNORECASE).findall


_SMALL = re.compile(r"[a-z]").findall


PROBE = 10
"""Number of characters before and after foreign words that are searched for quotation marks and brackets."""
"""Maximum number of runs of foreign words that are checked in a message."""
"""RE2 pattern: a letter of a script other than Latin. The pattern also holds for lower-cased text."""
MOST_SLIPS = 2
"""Maximum words of another script in a user message that count as a slip; a user who writes more mixes languages."""


def foreign_script(side: Side) -> None:
    """Raise Unusable if unexplained words of another script occur in the middle of a sentence."""
    asked = side.asked
    for number, text in enumerate(side.messages):
        if text.isascii() or not _BEYOND_LATIN(text) or not (own := _own_script(text)):
            continue
        runs = list(itertools.islice(_RUNS[own](text), MOST_LOOKED_AT))
        if side.role == "user" and (len(runs) > MOST_SLIPS or _ABOUT_WORDS(text.lower())):
            continue  # a user who mixes languages or asks about one
        if not runs:
            continue
        said = "\n".join([*asked[:number], *asked[number + (side.role == "user") : number + 1]])
        if _ABOUT_WORDS(said.lower()):
            continue
        for match in runs:
            if not _is_explained(text, match) and not any(letter in said for letter in match[0][:MOST_LOOKED_AT]):
                raise side.unusable(number, Reason.FOREIGN_SCRIPT, f"has words of another script: {match[0][:20]!r}")


def _own_script(text: str) -> str:
    """Return the most frequent script of a text's letters, if there is a rule for that script."""
    counts = {}
    for name, find in _SCRIPTS.items():
        counts[name] = sum(map(len, find(text)))
        if 2 * counts[name] > len(text):  # the others cannot be more
            break
    name = max(counts, key=counts.__getitem__)
    return name if name in _RUNS and 2 * counts[name] > sum(counts.values()) else ""


def _is_explained(text: str, match: re.Match[str]) -> bool:
    """Return whether words are quoted, in brackets, or at the start or end of a line."""
    before = text[max(0, match.start() - PROBE) : match.start()].rpartition("\n")[2].rstrip(" ")
    after = text[match.end() : match.end() + PROBE].partition("\n")[0].lstrip(" ")
    return not before or not after or before[-1] in _OPENERS or after[0] in _CLOSERS


_BEYOND_LATIN = re.compile(r"[\u0400-\u1dff\u3040-\ud7af]").search


_SCRIPTS = {
    "latin": re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]+").findall,
    "cyrillic": re.compile(r"[\u0400-\u04ff]+").findall,
    "east": re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+").findall,
    "hangul": re.compile(r"[\uac00-\ud7af]+").findall,
    "arabic": re.compile(r"[\u0600-\u06ff]+").findall,
    "other": re.compile(r"[\u0370-\u03ff\u0530-\u05ff\u0900-\u109f\u1780-\u17ff]+").findall,
}


_EAST = r"[\u3040-\u30ff\u3400-\u9fff]+"


_WORDS = r"[\u0400-\u04ff]{2,}|[\u0590-\u06ff]{2,}|[\u0900-\u0e7f]{2,}|[\uac00-\ud7af]+"


_RUNS = {
    "latin": re.compile(rf"{_EAST}|{_WORDS}").finditer,
    "cyrillic": re.compile(rf"{_EAST}|[\u0590-\u06ff]{{2,}}|[\uac00-\ud7af]+").finditer,
    "hangul": re.compile(r"[\u0400-\u04ff]{2,}|[\u3400-\u9fff]{2,}").finditer,
    "arabic": re.compile(rf"{_EAST}|[\u0400-\u04ff]{{2,}}|[\uac00-\ud7af]+").finditer,
}


_OPENERS = "([{\"'\u201c\u201e\u2018\u00ab\u300c\u300e*_:=`/>\u2192|"


_CLOSERS = ")]}\"'\u201d\u2019\u00bb\u300d\u300f*_:=`/([|"


_ABOUT_WORDS = re.compile(
    r"translat|\bwords?\b|languag|\bmean|pronounc|spell|\bsay\b|alphabet|kanji|hanzi|charact|symbol|chinese|japanese"
    r"|korean"
    r"|russian|arabic|greek|hebrew|hindi|thai|überset|wort|sprache|russisch|chinesisch|japanisch|traduc|palabra|idioma"
    r"|mot\b|langue|tradui|parola|lingua|перев|слов|язык|китайск|японск|번역|단어|한자|翻译|翻訳|\bname"
).search
