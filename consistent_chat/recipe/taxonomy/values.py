"""The values in a taxonomy: texts, names and tags, checked where they stand in a document.

Each function raises RecipeError that names the line and key.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.safe_yaml import Document, excerpt
from consistent_chat.recipe.taxonomy.types import NO_TAGS, Tags

MAX_TEXT = 500
"""Longest topic, step, persona or manner, in characters: each goes into every prompt that draws it."""
_UNTEXT = re.compile("[\0\ud800-\udfff]")
_TAG = re.compile("[a-z][a-z_]{0,39}")


def fields(
    value: Any, names: tuple[str, ...], document: Document, path: tuple[Any, ...], others: tuple[str, ...] = ()
) -> None:
    """Check that a mapping has all of `names`, and of others only `others`."""
    expect(value, dict, document, *path)
    known(value, (*names, *others), document, path)
    for name in names:
        if name not in value:
            raise RecipeError(f"{document.where(*path)} lacks {name!r}. Add it.")


def known(value: Mapping[Any, Any], names: tuple[str, ...], document: Document, path: tuple[Any, ...]) -> None:
    """Check that a mapping has no other names."""
    for name in value:
        if name not in names:
            raise RecipeError(f"{document.where(*path, name)} is not a known name. Use: {', '.join(names)}.")


def texts(value: Any, document: Document, *path: Any) -> tuple[str, ...]:
    """Return a list of texts, none of them twice."""
    return tuple(text for text, _ in tagged(value, document, *path, taking_tags=False))


def tagged(
    value: Any, document: Document, *path: Any, default: Tags = NO_TAGS, taking_tags: bool = True
) -> list[tuple[str, Tags]]:
    """Return a list of texts with their tags. An entry is a text, which has the default ones, or `text: [tags]`."""
    expect(value, list, document, *path)
    if not value:
        raise RecipeError(f"{document.where(*path)} is empty. Give at least one entry.")
    found: dict[str, Tags] = {}
    for i, item in enumerate(value):
        own = default
        if taking_tags and isinstance(item, dict) and len(item) == 1:
            ((item, given),) = item.items()
            own = tags(given, document, *path, i, item)
        one = text(item, document, *path, i)
        if one in found:
            raise RecipeError(f"{document.where(*path, i)}: {one!r} is repeated. Remove one.")
        found[one] = own
    return list(found.items())


def tags(value: Any, document: Document, *path: Any) -> Tags:
    """Return a list of tags: short names in lower case."""
    expect(value, list, document, *path)
    for i, tag in enumerate(value):
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            where = document.where(*path, i)
            raise RecipeError(f"{where} must be a tag of lower-case letters and _, not {excerpt(tag)}.")
    return _shared(tuple(value))


@functools.lru_cache(maxsize=1024)
def _shared(value: Iterable[str]) -> Tags:
    """Return one set for all that have the same tags: comparing it with itself takes no time."""
    return frozenset(value)


def name(key: Any, document: Document, *path: Any) -> str:
    """Return a key that is a text without extra white space."""
    if not isinstance(key, str):
        raise RecipeError(f"{document.where(*path)}: the name {key!r} must be text. Put it in quotes.")
    found = text(key, document, *path)
    if found != key:
        raise RecipeError(f"{document.where(*path)}: the name {key!r} has extra white space. Write {found!r}.")
    return found


def text(value: Any, document: Document, *path: Any) -> str:
    """Return a text with its white space folded."""
    if not isinstance(value, str):
        raise RecipeError(f"{document.where(*path)} must be text, not {excerpt(value)}. Put it in quotes.")
    if not value.strip() or len(value) > MAX_TEXT:
        raise RecipeError(f"{document.where(*path)} must have 1 to {MAX_TEXT} characters, not {len(value.strip())}.")
    if _UNTEXT.search(value):
        raise RecipeError(f"{document.where(*path)} has a character that is not valid text. Remove it.")
    return " ".join(value.split())


def filled(value: Any, kind: type, document: Document, *path: Any) -> None:
    """Check that a list or mapping has something in it."""
    expect(value, kind, document, *path)
    if not value:
        raise RecipeError(f"{document.where(*path)} is empty. Give at least one entry, or leave it out.")


def expect(value: Any, kind: type, document: Document, *path: Any) -> None:
    """Check the type of a value."""
    if not isinstance(value, kind):
        raise RecipeError(f"{document.where(*path)} must be a {kind_name(kind)}, not {type(value).__name__}.")


def kind_name(kind: type) -> str:
    """Return a type's name in words of YAML."""
    return {"dict": "mapping", "str": "text"}.get(kind.__name__, kind.__name__)
