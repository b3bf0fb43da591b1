"""The stage of a request that was read from a store, which does not record it: derived from the answer's schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consistent_chat.dialogue.judge import CRITERIA, FAULT

SCORES = [name for criterion in CRITERIA for name in (f"{criterion}_reason", criterion)]
"""The fields of a judge's answer by the built-in criteria; by others, the last field is whose fault it is."""
_FIRST_FIELD = {"user_1": "skeleton", "assistant_1": "answers", "message": "user_message"}


def stage_of(schema: Mapping[str, Any] | None) -> str:
    """Return the stage whose answers have this schema, or "" for other requests."""
    if schema is None:
        return "answer"
    names = list(schema.get("required", ()))
    if names == SCORES or names[-1:] == [FAULT]:
        return "judge"
    return _FIRST_FIELD.get(names[0], "") if names and isinstance(names[0], str) else ""
