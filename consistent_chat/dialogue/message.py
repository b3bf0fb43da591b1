"""Takes a single message out of a raw response: the user's next one with whether it ends the talk, or one answer."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from consistent_chat.dialogue.parse import (
    REASONING_END,
    Reason,
    Unusable,
    check_finish,
    json_answer,
    message_text,
)
from consistent_chat.request import Response


class UserMessage(NamedTuple):
    """A message of the user, and whether it is meant as the last one."""

    text: str
    ends: bool


def user_message(response: Response) -> UserMessage:
    """Return the message of an object `{"message": ..., "ends": ...}` in JSON; without `ends` it goes on.

    Raises Unusable.
    """
    check_finish(response)
    return _read(json_answer(response, _read))


def answer(response: Response) -> str:
    """Return the text of a chat's answer, without the reasoning that some models write in front of it.

    Raises Unusable.
    """
    check_finish(response)
    return message_text(_after_reasoning(response.text), "assistant")


def _read(value: Any) -> UserMessage:
    if not isinstance(value, dict) or not {"message"} <= value.keys() <= {"message", "ends"}:
        raise Unusable(Reason.WRONG_SHAPE, 'not an object of "message" and "ends"')
    if not isinstance(value.get("ends", False), bool):
        raise Unusable(Reason.WRONG_SHAPE, '"ends" is neither true nor false')
    return UserMessage(message_text(value["message"], "user"), value.get("ends", False))


def _after_reasoning(text: str) -> str:
    """Return what follows the closing tag of reasoning at the beginning; templates may write the opening tag.

    A tag that a text mentions elsewhere, after an opening one, is part of the text.
    """
    opened, closed = _OPENING.search(text), REASONING_END.search(text)
    begins = opened is not None and not text[: opened.start()].strip()
    if begins and closed is None:
        raise Unusable(Reason.LEAKS_REASONING, "the reasoning at the beginning has no end")
    is_reasoning = closed is not None and (opened is None or begins or closed.start() < opened.start())
    return text[closed.end() :] if closed is not None and is_reasoning else text


_OPENING = re.compile(REASONING_END.pattern.replace("</", "<"), re.IGNORECASE)
