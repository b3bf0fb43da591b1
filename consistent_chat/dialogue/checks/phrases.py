"""The phrases of `phrases.yaml` and `voices.yaml`, as regexes that are compiled once per language."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Any, NamedTuple

from consistent_chat.recipe import safe_yaml
from consistent_chat.text.languages import code


class Phrases(NamedTuple):
    """All phrases of English and of one more language; the files document each field."""

    as_assistant: re.Pattern[str]
    labels: re.Pattern[str]
    mentions: re.Pattern[str]
    openings: re.Pattern[str]
    closings: re.Pattern[str]
    advice: re.Pattern[str]
    first_person: re.Pattern[str]
    begins: re.Pattern[str]
    courtesies: re.Pattern[str]
    exams: re.Pattern[str]
    boilerplate: re.Pattern[str]
    reasoning: re.Pattern[str]
    flips: re.Pattern[str]
    refusals: re.Pattern[str]


@functools.lru_cache(maxsize=64)
def phrases(language: str) -> Phrases:
    """Return the phrases for a recipe's language, or the English ones if the files have none."""
    entries = [_file()[known] for known in dict.fromkeys(("en", code(language))) if known in _file()]
    listed = {name: [part for entry in entries for part in entry.get(name, [])] for name in Phrases._fields}
    return Phrases(**{name: re.compile("|".join(f"(?:{part})" for part in parts)) for name, parts in listed.items()})


@functools.lru_cache(maxsize=1)
def _file() -> dict[str, dict[str, list[str]]]:
    """Return the lists of both files, joined by language and name."""
    joined: dict[str, dict[str, list[str]]] = {}
    for name in ("phrases.yaml", "voices.yaml"):
        text = resources.files("consistent_chat.dialogue.checks").joinpath(name).read_text("utf-8")
        data: dict[str, dict[str, Any]] = safe_yaml.parse(text, name).data
        for language, lists in data.items():
            for key, value in lists.items():
                joined.setdefault(language, {}).setdefault(key, []).extend(
                    value if isinstance(value, list) else [value]
                )
    return joined
