"""The abilities of a server that a user states, so that they need not be detected."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Abilities:
    """The stated abilities of a server; None means to be detected.

    `max_output_tokens` is the longest answer, `context_tokens` bounds prompt and answer together, `structured_output`
    is "json_schema", "json_object" or "none", `system_role` and `streaming` say whether it takes a system message and
    whether answers are read as a stream.
    """

    max_output_tokens: int | None = None
    context_tokens: int | None = None
    structured_output: str | None = None
    system_role: bool | None = None
    streaming: bool | None = None


UNKNOWN = Abilities()
"""Nothing is stated."""
