"""What a provider answers where a dialogue is made message by message: plain texts, and messages of the user's side."""

from __future__ import annotations

import json

from tests.faults import Reply
from tests.provider import Call


def kind(call: Call) -> str:
    """Return what a request is for: "user_message", "answer", or the stage of another form."""
    if call.names == ("message", "ends"):
        return "user_message"
    return "answer" if "output_config" not in call.body and "response_format" not in call.body else call.stage


def in_turn(call: Call, ends: bool = False) -> Reply | None:
    """Answer a request for one message; None for others, which the provider answers itself."""
    if kind(call) == "user_message":
        return Reply.text(json.dumps({"message": f"Could you look at number {call.mark} for me?", "ends": ends}))
    return Reply.text(f"Number {call.mark} looks fine.") if kind(call) == "answer" else None
