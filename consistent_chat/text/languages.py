"""Languages by their English names, and writing systems as ranges of Unicode.

A range is used between the brackets of a regular expression. The ranges are written down here, not taken from
`unicodedata`, so that every Python reads the same text alike.
"""

from __future__ import annotations

import difflib
import functools
import re


def code(name: str) -> str | None:
    """Return the ISO 639 code of a language ("en" of "English"), or None if the name is not in Unicode's CLDR.

    Text in parentheses, regions and scripts are ignored: "Brazilian Portuguese" is "pt".
    """
    plain = re.sub(r"\s*\([^()]*\)\s*$", "", name)
    return _codes().get(plain.strip().casefold())


def unknown(name: str) -> str:
    """Return a sentence about a name that is in no list of languages, with the nearest one; "" if it is known."""
    if name == "English" or code(name) is not None:
        return ""
    near = difflib.get_close_matches(name.casefold(), _codes(), n=1)
    hint = f" Did you mean {near[0].title()!r}?" if near else ""
    return f"The language {name!r} is not in Unicode's list of languages, so no check looks for it.{hint}"


@functools.lru_cache(maxsize=1)
def _codes() -> dict[str, str]:
    from babel import Locale  # 0.1 s; only who asks for a language needs it

    names = Locale("en").languages
    return {name.casefold(): tag.partition("_")[0] for tag, name in sorted(names.items(), reverse=True)}


SOUTHEAST_ASIAN = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
"""Thai, Lao, Tibetan, Myanmar, Khmer. They separate sentences by a space or by marks of their own."""
KANA = "\u3005-\u3007\u3040-\u312f\u31f0-\u31ff\uff66-\uff9f"
"""Hiragana, katakana (also of half width) and bopomofo, with the signs that repeat a character."""
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
SPACELESS = SOUTHEAST_ASIAN + KANA + HAN
"""Scripts without spaces between words: each of their letters counts as a word."""
EAST_ASIAN = "\u3040-\u9fff\uac00-\ud7af"
"""Kana, Han and Hangul with the symbols between them: a letter says about as much as three of an alphabet."""
