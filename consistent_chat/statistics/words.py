"""What a word is.

A *word* is what white space sets apart and has a letter or digit in it, as `wc -w` counts but without dashes that stand
alone. In scripts that are written without spaces every letter counts: each Han ideograph and kana by the default rules
of Unicode (UAX #29, word boundaries WB999), and, for want of a dictionary, each letter of Thai, Lao, Khmer and Burmese,
whose words are several letters: compare such numbers within one language only.
"""

from __future__ import annotations

import re
import unicodedata

_SPACELESS = (
    "\u0e01-\u0e4e\u0e81-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u109f\u1780-\u17dd"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3041-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_WORD = re.compile(rf"(?=[{_SPACELESS}])\w|[^\W{_SPACELESS}][^\s{_SPACELESS}]*")
_ASCII_WORD = re.compile(r"[A-Za-z0-9_]\S*")
_PUNCTUATION = "".join(chr(code) for code in range(0x2100) if unicodedata.category(chr(code)).startswith("P"))


def words(text: str) -> list[str]:
    """Return the words of a text, with the punctuation that touches their end."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text)


def content(word: str) -> str:
    """Return a word as it is compared: in lower case, without punctuation at its end."""
    return word.rstrip(_PUNCTUATION).lower()
