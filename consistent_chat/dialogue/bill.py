"""Adds up the billed tokens of all responses at a place of the plan: usable or not, and of specs given up too."""

from __future__ import annotations

from consistent_chat.prices import NO_TOKENS, Tokens, billed
from consistent_chat.request import Response

OF_USERS = ("skeleton", "user_message")
"""The stages of the user's side, which a separate model may write."""


class Bill:
    """Adds up the responses of each model separately: the writer's, each judge's, and those of a user_model."""

    def __init__(self, has_user_model: bool = False) -> None:
        self._has_user_model = has_user_model
        self.written, self.judged, self.users = NO_TOKENS, NO_TOKENS, NO_TOKENS
        self.by_judge = dict[str, Tokens]()

    def add(self, response: Response, stage: str, model: str = "") -> None:
        """Add a response of a stage, and of a judge's model."""
        if stage == "judge":
            self.judged = self.judged.plus(billed(response))
            self.by_judge[model] = self.by_judge.get(model, NO_TOKENS).plus(billed(response))
        elif self._has_user_model and stage in OF_USERS:
            self.users = self.users.plus(billed(response))
        else:
            self.written = self.written.plus(billed(response))

    @property
    def tokens(self) -> tuple[Tokens, Tokens]:
        """The billed tokens of the writer's responses, and of all judges'."""
        return self.written, self.judged
