"""Given conversations: reading the user messages of any common layout, and the errors about wrong values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consistent_chat.recipe.seeds.source import WrongValue, turns, user_messages

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " Hello,\r\nis it open? "},
    {"role": "assistant", "content": "Until six."},
    {"role": "user", "content": "And on 3 May?"},
]
SHAREGPT = [
    {"from": {"user": "human", "assistant": "gpt"}.get(one["role"], "system"), "value": one["content"]} for one in CHAT
]


@pytest.mark.parametrize("value", [CHAT, SHAREGPT, json.dumps(CHAT), [{**one, "from": None} for one in CHAT]])
def test_all_layouts_say_the_same(value: Any) -> None:
    """The layouts of datasets on the Hub give the same user messages, as lists and as JSON."""
    assert json.loads(user_messages(value)) == ["Hello,\nis it open?", "And on 3 May?"]


def test_messages_in_a_row_become_one() -> None:
    """User messages in a row are joined if the conversation has answers, so each has one answer.

    Empty messages are ignored.
    """
    said = [("user", "Hi"), ("user", ""), ("user", "you?"), ("assistant", ""), ("User", "so"), ("assistant", "a")]
    chat = [{"role": role, "content": text} for role, text in said]
    assert json.loads(user_messages(chat)) == ["Hi\n\nyou?", "so"]
    assert user_messages(user_messages(chat)) == user_messages(chat)
    assert json.loads(user_messages(chat[:3])) == ["Hi", "you?"]
    assert user_messages(chat[3:4]) == user_messages([]) == user_messages(None) == user_messages(" ") == ""


def test_an_extended_conversation_keeps_its_answers() -> None:
    """An extended conversation keeps its answers.

    Messages in a row of one side are joined if there are answers. Messages before the first user message are left out.
    """
    kept = [{**CHAT[1], "content": "Hello,\nis it open?"}, *CHAT[2:]]
    for value in (CHAT, SHAREGPT, json.dumps(CHAT), [CHAT[2], *CHAT]):
        assert json.loads(turns(value, 1)) == kept
    assert turns(turns(CHAT, 1), 1) == turns(CHAT, 1)
    assert [one["content"] for one in json.loads(turns([*CHAT[:3], CHAT[2]], 1))][1] == "Until six.\n\nUntil six."
    assert [one["content"] for one in json.loads(turns(["Hello?", "Open?"], 1))] == ["Hello?", "Open?"]
    assert turns([], 1) == turns(CHAT[2:3], 1) == ""
    with pytest.raises(WrongValue, match="has 101 user messages"):
        turns(CHAT, 99)


WRONG = [
    ("Hello", "neither a list of messages nor such a list in JSON"),
    ("{}", "is a dict, not a list of messages"),
    (3, "is a int, not a list of messages"),
    ([["Hello"]], "a message without a role"),
    ([{"content": "a"}], "a message without a role"),
    ([{"role": "tool", "content": "a"}], "a message of the role 'tool'; known roles are user, human"),
    ([{"role": "user", "content": [{"type": "image"}]}], "whose content is a list, not text"),
    ([{"role": role, "content": "a"} for _ in range(101) for role in ("user", "assistant")], "has 101 user messages"),
    ("[" * 100_000, "nor such a list in JSON"),
]


@pytest.mark.parametrize(("value", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_no_conversation_is_refused(value: Any, message: str) -> None:
    """A value that is not a conversation raises an error that says what is wrong with it."""
    with pytest.raises(WrongValue, match=message):
        user_messages(value)
