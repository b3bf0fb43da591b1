"""What a user states of a server, so that it need not be found out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Abilities:
    """What a user states of a server; None is found out.

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
