"""Finds figures and names in answers that occur neither in the dialogue's source nor in the user's messages.

Names here are runs of several capitalized words within a sentence, in scripts that have capitals. Single words do not
count, because any word is capitalized at the beginning of a sentence, in headings and as a label. Names are not
searched for in German, where every noun is capitalized.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set

from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.parse import Reason
from consistent_chat.text.languages import code

LEAST_DIGITS = 2
"""Minimum digits of a figure that is checked: shorter ones number steps and count days."""
SHOWN = 4

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_FIGURE = re.compile(r"(?<!\w)[^\W\d]*\d\w*(?:[.,:/'\u2019\u00a0\u202f-][^\W\d]*\d\w*)*")
"""A number, price, date, time, code or telephone number: words with digits, of which only the digits are compared."""
_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?:https?://|www\.)[^\s<>()\"']+")
_PARTS = re.compile(r"\d+").findall


def grounded(side: Side, asked: Sequence[str], source: str, limit: int, language: str) -> None:
    """Raise Unusable if an answer has at least `limit` figures, addresses and names that occur nowhere before it.

    `source` is the text that the assistant was given: the source and the system prompt.
    """
    known_figures, known_addresses = set(_figures(source)), set(_addresses(source))
    known_stems = set(stems(source))
    for number, text in enumerate(side.messages):
        if number < len(asked):
            known_figures.update(_figures(asked[number]))
            known_addresses.update(_addresses(asked[number]))
            known_stems |= stems(asked[number])
        plain = _CODE.sub(" ", text)
        figures = [*_invented(plain, known_figures, known_addresses)]
        found = dict.fromkeys(name for name in names(plain, language) if not is_known(name, known_stems))
        if len(figures) + len(found) >= limit:
            kinds = " and ".join(kind for kind, some in (("figures", figures), ("names", found)) if some)
            shown = ", ".join(map(repr, [*figures, *found][:SHOWN]))
            raise side.unusable(number, Reason.GROUNDED, f"has {kinds} that occur nowhere before: {shown}")


def _invented(text: str, figures: set[str], addresses: set[str]) -> Iterator[str]:
    """Yield each unknown figure and address of a text once."""
    seen: set[str] = set()
    for match in _ADDRESS.finditer(text):
        if match[0].lower().rstrip(".,;:!?") not in addresses | seen:
            seen.add(match[0].lower().rstrip(".,;:!?"))
            yield match[0]
    for match in _FIGURE.finditer(_ADDRESS.sub(" ", text)):
        whole = _whole(match[0])
        if len(whole) < LEAST_DIGITS or whole in figures or whole in seen:
            continue
        if not all(part in figures for part in map(_whole, _PARTS(match[0]))):
            seen.add(whole)
            yield match[0]


def _figures(text: str) -> Iterator[str]:
    """Yield the figures of a text without separators, and their parts: 1250, 1 and 250 for "1,250.00"."""
    for match in _FIGURE.finditer(text):
        yield _whole(match[0])
        yield from map(_whole, _PARTS(match[0]))


def _whole(figure: str) -> str:
    """Return a figure's digits without separators, leading zeros and zero decimals: "1250" for "1,250.00"."""
    return re.sub(r"\D", "", re.sub(r"[.,]0{1,2}$", "", figure)).lstrip("0")


def _addresses(text: str) -> Iterator[str]:
    return (match[0].lower().rstrip(".,;:!?") for match in _ADDRESS.finditer(text))


WITHOUT = ("de", "lb")
"""Languages that write all nouns with a capital."""
STEM = 5
"""Number of letters of a word that are compared: endings differ with the case of a noun."""

_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['\u2019-](?=[^\W\d_]))*")
_LABEL = re.compile(r"^[ \t]*(?:#+ .*|\|.*|[^.!?\n]{0,60}:[ \t]*$)", re.MULTILINE)
"""Headings, tables, and lines that end with a colon: any of their words may be capitalized."""
_QUOTED = re.compile(
    r"\*\*[^*\n]{0,200}\*\*|\"[^\"\n]{0,200}\"|\u201c[^\u201d\n]{0,200}\u201d|\u00ab[^\u00bb\n]{0,200}\u00bb"
)
"""Bold and quoted text: titles and labels."""
_SENTENCE = re.compile(r"[^.!?:;,\u2026\n()\[\]|\u2013\u2014*_/]+")


def names(text: str, language: str) -> Iterator[str]:
    """Yield each name in a text, outside code; none in a language that capitalizes nouns."""
    if code(language) in WITHOUT:
        return
    for sentence in _SENTENCE.finditer(_QUOTED.sub("\n", _LABEL.sub("\n", text))):
        yield from _runs(sentence[0])


def stems(text: str) -> Set[str]:
    """Return the first letters of each word of a text."""
    return {_stem(word) for word in _WORD.findall(text)}


def is_known(name: str, known: Set[str]) -> bool:
    """Return whether a word of a name is among the known stems."""
    return any(_stem(word) in known for word in _WORD.findall(name))


def _runs(sentence: str) -> Iterator[str]:
    """Yield each run of two or more consecutive capitalized words."""
    start, end, count = 0, -1, 0
    for place, word in enumerate(_WORD.finditer(sentence)):
        if place and _is_capitalized(word[0]):
            if count and sentence[end : word.start()] == " ":
                count += 1
            else:
                if count > 1:
                    yield sentence[start:end]
                start, count = word.start(), 1
            end = word.end()
        else:
            if count > 1:
                yield sentence[start:end]
            count = 0
    if count > 1:
        yield sentence[start:end]


def _is_capitalized(word: str) -> bool:
    return len(word) > 1 and word[0].isupper() and word[1:].islower()


def _stem(word: str) -> str:
    return word.casefold()[:STEM]
