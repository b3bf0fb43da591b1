"""The check for words of another script in the middle of a sentence."""

from __future__ import annotations

import itertools
import re

from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.parse import Reason

PROBE = 10
"""Characters before and after foreign words that are searched for quotation marks and brackets."""
MOST_LOOKED_AT = 40
"""Maximum runs of foreign words in a message that are checked."""
SIGNS = {"foreign": r"[\x{400}-\x{1dff}\x{3040}-\x{d7af}]"}
"""RE2 pattern: a letter of another script than the Latin one. These, too, stay among themselves in lower case."""
MOST_SLIPS = 2
"""Maximum words of another script in a user message that count as a slip; a person who writes more mixes languages."""


def foreign_script(side: Side) -> None:
    """Raise Unusable if unexplained words of another script occur in the middle of a sentence."""
    asked = side.asked
    for number, text in enumerate(side.messages):
        if text.isascii() or not _BEYOND_LATIN(text) or not (own := _own_script(text)):
            continue
        runs = list(itertools.islice(_RUNS[own](text), MOST_LOOKED_AT))
        if side.role == "user" and (len(runs) > MOST_SLIPS or _ABOUT_WORDS(text.lower())):
            continue  # a person who mixes languages or asks about one
        if not runs:
            continue
        said = "\n".join([*asked[:number], *asked[number + (side.role == "user") : number + 1]])
        if _ABOUT_WORDS(said.lower()):
            continue
        for match in runs:
            if not _is_explained(text, match) and not any(letter in said for letter in match[0][:MOST_LOOKED_AT]):
                raise side.unusable(number, Reason.FOREIGN_SCRIPT, f"has words of another script: {match[0][:20]!r}")


def _own_script(text: str) -> str:
    """Return the script of most letters of a text, if there is a rule for it."""
    counts = {name: sum(map(len, find(text))) for name, find in _SCRIPTS.items()}
    name = max(counts, key=counts.__getitem__)
    return name if name in _RUNS and 2 * counts[name] > sum(counts.values()) else ""


def _is_explained(text: str, match: re.Match[str]) -> bool:
    """Tell whether words are quoted, in brackets, or at the start or end of a line."""
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
