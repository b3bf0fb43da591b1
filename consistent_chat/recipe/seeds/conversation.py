"""Given conversations: what a row's list of messages says, in the layouts that datasets have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from consistent_chat.recipe.seeds.source import WrongValue

MAX_TURNS = 100
"""Maximum number of user messages, as in a recipe."""
USERS, ANSWERERS, SYSTEM = ("user", "human", "prompter"), ("assistant", "gpt", "model", "bot", "chatgpt"), ("system",)
"""The roles of user messages, and those of messages that are left out."""


def user_messages(value: Any) -> str:
    """Return the user messages of a conversation as a list in JSON; empty if there are none. Raises WrongValue.

    A conversation is a list of messages, or such a list in JSON: {"role": "user", "content": ...}, {"from": "human",
    "value": ...}, or plain texts, which are user messages. User messages without an answer between them become one,
    unless the conversation has no answers at all.
    """
    said: list[str] = []
    before = ""
    told = [
        ("user", message) if isinstance(message, str) else (_role(message), _text(message))
        for message in _messages(value)
    ]
    is_answered = any(role in ANSWERERS for role, _ in told)
    for role, text in told:
        if role in USERS and text:
            if before in USERS and is_answered:
                said[-1] = f"{said[-1]}\n\n{text}"
            else:
                said.append(text)
        before = role if text or role not in USERS else before
    if len(said) > MAX_TURNS:
        raise WrongValue(f"has {len(said)} user messages; the maximum is {MAX_TURNS}")
    return json.dumps(said, ensure_ascii=False) if said else ""


def _messages(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except (ValueError, RecursionError):
            raise WrongValue("is not a list of messages, nor one in JSON") from None
    if value is None:
        return []
    if not isinstance(value, list):
        raise WrongValue(f"is a {type(value).__name__}, not a list of messages")
    return value


def _role(message: Any) -> str:
    role = message.get("role") or message.get("from") if isinstance(message, Mapping) else None
    if not isinstance(role, str):
        raise WrongValue("has a message without a role: {role, content} or {from, value} is expected")
    if role.lower() not in (*USERS, *ANSWERERS, *SYSTEM):
        raise WrongValue(
            f"has a message of the role {role[:40]!r}; known are {', '.join((*USERS, *ANSWERERS, *SYSTEM))}"
        )
    return role.lower()


def _text(message: Mapping[str, Any]) -> str:
    text = next((message[name] for name in ("content", "value", "text") if message.get(name) is not None), "")
    if not isinstance(text, str):
        raise WrongValue(f"has a message whose content is a {type(text).__name__}, not text")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
