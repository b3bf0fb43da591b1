"""Provide the answers of a test provider for dialogues that are made turn by turn: plain texts and user messages."""

from __future__ import annotations

import json

from tests.faults import Reply
from tests.provider import Call


def kind(call: Call) -> str:
    """Return the kind of a request: "user_message", "answer", or the stage of a request for all messages at once."""
    if call.names == ("message", "ends"):
        return "user_message"
    return "answer" if "output_config" not in call.body and "response_format" not in call.body else call.stage


def in_turn(call: Call, ends: bool = False) -> Reply | None:
    """Answer a request for one message; return None for other requests, which the provider answers itself."""
    if kind(call) == "user_message":
        return Reply.text(json.dumps({"message": f"Could you look at number {call.mark} for me?", "ends": ends}))
    return Reply.text(f"Number {call.mark} looks fine.") if kind(call) == "answer" else None
