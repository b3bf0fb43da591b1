"""Reads personas from a file, or from a dataset on the Hub at a commit, once, when a recipe is made."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.fields import suggestion, type_error
from consistent_chat.recipe.seeds import address, rows
from consistent_chat.recipe.seeds.source import WrongValue, clean

logger = logging.getLogger(__name__)

MAX_PERSONAS, MAX_CHARACTERS, LONGEST = 20_000, 2_000_000, 500
"""Maximum number of personas, and of characters of all and of one. The file of a published recipe lists all of them."""


def settings(given: Mapping[str, Any]) -> tuple[str, str]:
    """Return the data's address and the column that a mapping names. Raises RecipeError."""
    for key in given:
        if key not in ("data", "fields"):
            raise RecipeError(f"personas must not have {key!r}.{suggestion(key, ('data', 'fields'))}")
    data, fields = given.get("data"), given.get("fields")
    if not isinstance(data, str) or not data.strip() or not data.isprintable():
        raise type_error("personas must have data: it", data, "a path or an hf:// address")
    column = fields.get("persona") if isinstance(fields, Mapping) and len(fields) == 1 else None
    if not isinstance(column, str) or not column:
        raise type_error("personas must have fields: they", fields, "a mapping such as {persona: description}")
    return data, column


def load(given: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> list[str]:
    """Read the personas that a mapping describes. `options` are used to open its address. Raises RecipeError."""
    data, column = settings(given)
    address.check(data, options or {}, "personas")
    return read(data, column, options or {})


def read(place: str, column: str, options: Mapping[str, Any]) -> list[str]:
    """Read the distinct texts of a column at a checked location, in order. Raises RecipeError."""
    name, found, empty, number = address.name(place), dict[str, None](), 0, 0
    with address.opened(place, options, "personas") as file:
        for number, (value,) in rows.read(file, name, [column]):
            try:
                text = clean("persona", value, LONGEST)
            except WrongValue as error:
                raise RecipeError(f"{name}, row {number}: {column!r} {error}. Correct it, or leave it out.") from None
            found.update({text: None} if text else {})
            empty += not text
            if len(found) > MAX_PERSONAS:
                raise RecipeError(f"{name} has more than {MAX_PERSONAS:,} personas. Use fewer.")
    if not found:
        raise RecipeError(f"{name} has no row with text in {column!r}. Check the column and the file.")
    if sum(map(len, found)) > MAX_CHARACTERS:
        raise RecipeError(
            f"{name} has personas of more than {MAX_CHARACTERS:,} characters in total. Use fewer or shorter ones."
        )
    if left_out := number - len(found):
        logger.warning(
            "%s: %d of %d rows are left out: %d have no text in %r, the others repeat an earlier row.",
            *(name, left_out, number, empty, column),
        )
    return list(found)
