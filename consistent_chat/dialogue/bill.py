"""Adds up the billed tokens of all responses at a place of the plan: usable or not, and of specs given up too."""

from __future__ import annotations

from consistent_chat.prices import NO_TOKENS, Tokens, billed
from consistent_chat.request import Response


class Bill:
    """Adds up the writer's and the judge's responses separately, since their models have different prices."""

    def __init__(self) -> None:
        self.written, self.judged = NO_TOKENS, NO_TOKENS

    def add(self, response: Response, is_judge: bool) -> None:
        """Add a response."""
        if is_judge:
            self.judged = self.judged.plus(billed(response))
        else:
            self.written = self.written.plus(billed(response))

    @property
    def tokens(self) -> tuple[Tokens, Tokens]:
        """The billed tokens of the writer's responses, and of the judge's."""
        return self.written, self.judged
