"""The field `preferences`: what pairs are made of, one for each dialogue.

preferences: {rejected_model: my-student, temperature: 1.0, turn: drawn, min_gap: 1}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.fields import Check, model_name, number, one_of, optional, suggestion, type_error

TURNS = ("drawn", "last")
DEFAULTS: Mapping[str, Any] = {"rejected_model": None, "temperature": None, "turn": "drawn", "min_gap": 1.0}
_CHECKS: Mapping[str, Check] = {
    "rejected_model": optional(model_name(200)),
    "temperature": optional(number(0, 2)),
    "turn": one_of(*TURNS),
    "min_gap": number(0, 4),
}


def check(name: str, value: Any) -> dict[str, Any]:
    """Return the field with all its parts. Raises RecipeError."""
    if not isinstance(value, Mapping):
        raise type_error(name, value, f"a mapping of {', '.join(DEFAULTS)}")
    for part in value:
        if part not in DEFAULTS:
            raise RecipeError(f"{name} must name known parts: there is no {part!r}.{suggestion(part, tuple(DEFAULTS))}")
    given = {part: DEFAULTS[part] if value.get(part) is None else value[part] for part in DEFAULTS}
    return {part: _CHECKS[part](f"{name}.{part}", given[part]) for part in DEFAULTS}
