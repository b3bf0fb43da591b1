"""Text for people: safe display of untrusted text, templates, languages, URLs, numbers of things."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return "1 row", "2,000 rows", "3 categories": a number of things by their English name, which is regular."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"
    return f"{number:,} {plural}"
