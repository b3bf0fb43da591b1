"""Messages name fields as Python's keywords do (`model=`); the command line shows them as its options (`--model`)."""

from __future__ import annotations

import re

from consistent_chat.recipe.description import OPERATIONAL, RECIPE

NAMES = (*(described.name for described in (*RECIPE, *OPERATIONAL)), "detach", "num_proc")
_NAME = "|".join(sorted(NAMES, key=len, reverse=True))
_SWITCHES = {*(one.name for one in (*RECIPE, *OPERATIONAL) if one.schema.get("type") == "boolean"), "detach"}
_KEYWORD = re.compile(rf"""(?<![\w.?&-])({_NAME})=('[\w.-]*'|"[\w.-]*"|True|False|[\d.]*\d)?""")
_SUBJECT = re.compile(rf"^({_NAME})(?= (?:must|cannot|needs|is for)\b)")


def in_options(message: str) -> str:
    """Return a message with options in place of keywords."""
    return _KEYWORD.sub(_option, _SUBJECT.sub(lambda found: _name(found[1]), message))


def _name(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _option(keyword: re.Match[str]) -> str:
    field, value = keyword[1], (keyword[2] or "").strip("'\"")
    if field in _SWITCHES and value in ("True", "False"):
        return _name(field) if value == "True" else _name(f"no_{field}")
    value = value.lower() if value in ("True", "False") else value
    return f"{_name(field)} {value}" if value else _name(field)
