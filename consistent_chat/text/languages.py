"""Languages by their English names."""

from __future__ import annotations

import functools
import re


def code(name: str) -> str | None:
    """Return the ISO 639 code of a language ("en" of "English"), or None where the name is not in Unicode's CLDR.

    What stands in parentheses does not count, nor do region and script: "Brazilian Portuguese" is "pt".
    """
    plain = re.sub(r"\s*\([^()]*\)\s*$", "", name)
    return _codes().get(plain.strip().casefold())


@functools.lru_cache(maxsize=1)
def _codes() -> dict[str, str]:
    from babel import Locale  # 0.1 s; only who asks for a language needs it

    names = Locale("en").languages
    return {name.casefold(): tag.partition("_")[0] for tag, name in sorted(names.items(), reverse=True)}
