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
    told = _told(value)
    is_answered = any(role in ANSWERERS for role, _ in told)
    said: list[str] = []
    before = ""
    for role, text in told:
        if role in USERS and text:
            if before in USERS and is_answered:
                said[-1] = f"{said[-1]}\n\n{text}"
            else:
                said.append(text)
        before = role if text or role not in USERS else before
    _check_number(len(said))
    return json.dumps(said, ensure_ascii=False) if said else ""


def turns(value: Any, more: int) -> str:
    """Return the messages of a conversation that gets so many more turns, as in `user_messages`, with its answers.

    They are a list of {"role", "content"} in JSON that begins with the user. User and assistant take turns, unless
    there are no answers at all. Raises WrongValue.
    """
    told, said = _told(value), list[dict[str, str]]()
    is_answered = any(role in ANSWERERS and text for role, text in told)
    for given, text in told:
        role = "user" if given in USERS else "assistant" if given in ANSWERERS else ""
        if not text or not role or (role == "assistant" and not said):
            continue
        if said and said[-1]["role"] == role and is_answered:
            said[-1]["content"] += f"\n\n{text}"
        else:
            said.append({"role": role, "content": text})
    _check_number(sum(one["role"] == "user" for one in said) + more)
    return json.dumps(said, ensure_ascii=False) if said else ""


def _told(value: Any) -> list[tuple[str, str]]:
    """Return the roles and texts of a conversation's messages."""
    return [
        ("user", message) if isinstance(message, str) else (_role(message), _text(message))
        for message in _messages(value)
    ]


def _check_number(count: int) -> None:
    if count > MAX_TURNS:
        raise WrongValue(f"has {count} user messages; the maximum is {MAX_TURNS}")


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
