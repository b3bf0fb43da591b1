"""Figures and names in answers that stand neither in the dialogue's source nor in what the user said: made up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from consistent_chat.dialogue.checks.names import is_known, names, stems
from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.parse import Reason

LEAST_DIGITS = 2
"""Digits of a figure that counts: smaller ones number steps and count days."""
SHOWN = 4

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_FIGURE = re.compile(r"(?<!\w)[^\W\d]*\d\w*(?:[.,:/'\u2019\u00a0\u202f-][^\W\d]*\d\w*)*")
"""A number, a price, a date, a time, a code, a telephone number: words with digits, of which only the digits count."""
_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?:https?://|www\.)[^\s<>()\"']+")
_PARTS = re.compile(r"\d+").findall


def grounded(side: Side, asked: Sequence[str], source: str, limit: int, language: str) -> None:
    """Raise Unusable if an answer has `limit` or more different figures, addresses and names that nothing before has.

    `source` is what the assistant was given: the source and the system prompt.
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
            raise side.unusable(number, Reason.GROUNDED, f"has {kinds} that stand nowhere before: {shown}")


def _invented(text: str, figures: set[str], addresses: set[str]) -> Iterator[str]:
    """Yield each figure and address of a text that is not known, once."""
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
    """Yield the figures of a text without separators, and their parts: "1,250.00" is 1250, 1, 250 and nothing."""
    for match in _FIGURE.finditer(text):
        yield _whole(match[0])
        yield from map(_whole, _PARTS(match[0]))


def _whole(figure: str) -> str:
    """Return a figure's digits without separators, leading zeros and empty decimals: "1,250.00" is "1250"."""
    return re.sub(r"\D", "", re.sub(r"[.,]0{1,2}$", "", figure)).lstrip("0")


def _addresses(text: str) -> Iterator[str]:
    return (match[0].lower().rstrip(".,;:!?") for match in _ADDRESS.finditer(text))
