"""Languages by their English names."""

from __future__ import annotations

import difflib
import functools
import re


def code(name: str) -> str | None:
    """Return the ISO 639 code of a language ("en" of "English"), or None where the name is not in Unicode's CLDR.

    What stands in parentheses does not count, nor do region and script: "Brazilian Portuguese" is "pt".
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
