"""A source: the clean text of one row of the user's data, and the messages of a given conversation.

All functions are pure functions of a row's values.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MAX_SOURCE = 100_000
"""Maximum characters of a source: about 25,000 tokens, which most models accept in a prompt."""
MAX_DOCUMENT = 16_000_000
"""Maximum characters of a text that is divided into chunks."""
LONGEST = {
    **{"topic": 1000, "category": 200, "persona": 2000, "system_prompt": 20_000},
    **{"source": MAX_SOURCE, "conversation": MAX_SOURCE},
}
"""The fields of a source, and the maximum number of characters of each."""
ON_ONE_LINE = ("topic", "category", "persona")
MAX_COLUMN = 20_000
"""Maximum characters of a column that templates use."""
COLUMN = "column:"
"""The prefix of the names of such columns among the names of fields."""
SHOWN_TOPIC = 80
"""Characters of a source that serve as its topic if the row has none."""

_PLAIN = (bool, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.datetime)


class Source(NamedTuple):
    """One source, in plain text; a text is empty if the data has none. `digest` is that of all texts.

    `columns` are the names and texts of the columns that templates use.
    """

    digest: str
    topic: str = ""
    category: str = ""
    persona: str = ""
    system_prompt: str = ""
    source: str = ""
    conversation: str = ""
    columns: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, digest: str, texts: Mapping[str, str]) -> Source:
        """Return the source with these texts, by the names of fields and columns for templates."""
        columns = tuple((name.removeprefix(COLUMN), text) for name, text in texts.items() if name.startswith(COLUMN))
        fields = {name: text for name, text in texts.items() if not name.startswith(COLUMN)} if columns else texts
        return cls(digest, columns=columns, **fields)

    @property
    def title(self) -> str:
        """The topic; without one, the beginning of the source or of the first user message."""
        if self.topic:
            return self.topic
        line = next(iter((self.source or self.user_messages[0]).splitlines()))
        return line if len(line) <= SHOWN_TOPIC else f"{line[:SHOWN_TOPIC]}…"

    @property
    def user_messages(self) -> tuple[str, ...]:
        """The user messages of a given conversation, in order; `conversation` has them as a list in JSON."""
        return tuple(said if isinstance(said, str) else said["content"] for said in self._said("user"))

    @property
    def given_answers(self) -> tuple[str, ...]:
        """The answers of a conversation that is extended, which is a list of messages in JSON."""
        return tuple(said["content"] for said in self._said("assistant"))

    def _said(self, role: str) -> list[Any]:
        """Return the messages of a role; a plain text is a user message."""
        messages = json.loads(self.conversation) if self.conversation else []
        return [one for one in messages if ("user" if isinstance(one, str) else one["role"]) == role]


COLUMNS = Source._fields[1:-1]


class WrongValue(ValueError):
    """A value of a row cannot be used; the message has the reason."""


def clean(field: str, value: Any, longest: int) -> str:
    """Return a value as text, with LF as line breaks and without surrounding white space. Raises WrongValue."""
    text = value if isinstance(value, str) else _text(value)
    if "\0" in text:
        raise WrongValue("has a NUL character, so it is not valid text")
    if field in ON_ONE_LINE:
        text = " ".join(text.split())
    elif "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.strip()
    if len(text) > longest:
        raise WrongValue(f"has {len(text):,} characters; the maximum is {longest:,}")
    return text


def _text(value: Any) -> str:
    if value is None or value != value:  # NaN: a gap in a table
        return ""
    if not isinstance(value, _PLAIN):
        raise WrongValue(f"is a {type(value).__name__}, not text")
    return str(value)


def digest(fields: Sequence[str], texts: Sequence[str]) -> bytes:
    """Return the SHA-256 of a source's texts, 32 bytes. It covers names and texts alternately, without empty texts.

    They are separated by NUL, which no text contains. Raises WrongValue.
    """
    parts = [f"{field}\0{text}" for field, text in zip(fields, texts) if text]
    try:
        return hashlib.sha256("\0".join(parts).encode("utf-8")).digest()
    except UnicodeEncodeError:
        raise WrongValue("has a lone surrogate, so it is not valid text") from None


MAX_TURNS = 100
"""Maximum number of user messages, as in a recipe."""
USERS, ANSWERERS, SYSTEM = ("user", "human", "prompter"), ("assistant", "gpt", "model", "bot", "chatgpt"), ("system",)
"""The roles of user messages, and those of messages that are left out."""


def user_messages(value: Any) -> str:
    """Return the user messages of a conversation as a list in JSON; empty if there are none. Raises WrongValue.

    A conversation is a list of messages, or such a list in JSON: {"role": "user", "content": ...}, {"from": "human",
    "value": ...}, or plain texts, which are user messages. Consecutive user messages are joined, unless the
    conversation has no answers at all.
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
    """Return the messages, with answers, of a conversation to which `more` turns are added.

    They are a list of {"role", "content"} in JSON that begins with the user. User and assistant alternate, unless there
    are no answers at all. Raises WrongValue.
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
        ("user", message) if isinstance(message, str) else (_role(message), _content(message))
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
            raise WrongValue("is neither a list of messages nor such a list in JSON") from None
    if value is None:
        return []
    if not isinstance(value, list):
        raise WrongValue(f"is a {type(value).__name__}, not a list of messages")
    return value


def _role(message: Any) -> str:
    role = message.get("role") or message.get("from") if isinstance(message, Mapping) else None
    if not isinstance(role, str):
        raise WrongValue("has a message without a role; expected is {role, content} or {from, value}")
    if role.lower() not in (*USERS, *ANSWERERS, *SYSTEM):
        raise WrongValue(
            f"has a message of the role {role[:40]!r}; known roles are {', '.join((*USERS, *ANSWERERS, *SYSTEM))}"
        )
    return role.lower()


def _content(message: Mapping[str, Any]) -> str:
    text = next((message[name] for name in ("content", "value", "text") if message.get(name) is not None), "")
    if not isinstance(text, str):
        raise WrongValue(f"has a message whose content is a {type(text).__name__}, not text")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
