"""What a verification has found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Verdict:
    """Rows that came out the same, a line for each fault, and a line for what is other without being wrong."""

    rows: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return one line."""
        if self.faults:
            return f"{len(self.faults):,} faults."
        rows = ", ".join(f"{count:,} rows of {split}" for split, count in self.rows.items())
        return f"{rows}: all as the recipe and the responses make them."
