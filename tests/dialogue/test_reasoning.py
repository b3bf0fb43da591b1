"""Test that the reasoning of a model is found in every place where servers and models put it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.dialogue import parse
from consistent_chat.dialogue.parse import Unusable
from consistent_chat.dialogue.reasoning import reasoning
from consistent_chat.request import Response

NAMES = ("assistant_1", "assistant_2")
ANSWER = json.dumps(dict.fromkeys(NAMES, "Go </think> by tram."))


@pytest.mark.parametrize(
    ("text", "thought", "expected"),
    [
        (ANSWER, "", ""),
        (ANSWER, " hm\n", "hm"),
        (ANSWER, "<think>hm</think>", "hm"),
        (f"<think>\nhm\n</think>\n\n{ANSWER}", "", "hm"),
        (f"<think>hm</think>{ANSWER}", "the server's own", "the server's own"),
        (f"hm</think>{ANSWER}", "", "hm"),
        (f"<THINKING>hm</THINKING>Here it is:\n```json\n{ANSWER}\n```", "", "hm"),
        (f"<think>one</think>\n<reasoning>two</reasoning>{ANSWER}", "", "one\n\ntwo"),
        (
            f'<think>Perhaps {{"assistant_1": "no"}} or not.</think>{ANSWER}',
            "",
            'Perhaps {"assistant_1": "no"} or not.',
        ),
        (f"<think>hm\n```json\n{ANSWER}\n```", "", "hm"),
        (f"Here it is:\n{ANSWER}", "", ""),
        ("", f"hm\n{ANSWER}", "hm"),
        (" \n", f"hm</think>```\n{ANSWER}\n```", "hm"),
        ("", ANSWER, ""),
        (ANSWER, "half \ud83d of one", "half \\ud83d of one"),
        (f"<think></think>{ANSWER}", "", ""),
    ],
)
def test_it_is_found_wherever_it_stands(text: str, thought: str, expected: str) -> None:
    """Reasoning is found in its own field, between tags, and before an answer that is in the reasoning field."""
    response = Response(text, reasoning=thought)
    assert parse.messages(response, NAMES) == ("Go </think> by tram.",) * 2
    assert reasoning(response, NAMES) == expected


PIECES = st.sampled_from(
    ["<think>", "</think>", "</thought>", "hm ", "\n", "```json\n", "```", ANSWER, "{", "[", '"', "\\", "\ud83d", " "]
)


@given(st.lists(PIECES, max_size=8).map("".join), st.lists(PIECES, max_size=4).map("".join))
def test_it_never_costs_an_answer(text: str, thought: str) -> None:
    """The reasoning of a usable response is valid UTF-8 and contains no opening tag. It is not the answer itself."""
    response = Response(text, reasoning=thought)
    try:
        parse.messages(response, NAMES)
    except Unusable:
        return
    found = reasoning(response, NAMES)
    found.encode("utf-8")
    assert found == found.strip()
    assert "<think>" not in found
    if not thought.strip() or not text.strip():
        assert not found.endswith(ANSWER) or found != ANSWER
