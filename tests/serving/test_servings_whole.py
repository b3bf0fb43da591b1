"""Test that everything a server sends beside the text is stored, within limits, from whole responses and streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.request import Response
from consistent_chat.serving.responses import joined
from consistent_chat.store.record import Record
from tests.provider import Reply
from tests.servings import said
from tests.stored import asked

USAGE = {"prompt_tokens": 3, "completion_tokens": 4}
CALL = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def chat(content: Any, **fields: Any) -> Response:
    """Return the stored response of a chat completion with this message."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **fields}, "finish_reason": "stop"}
    body = json.dumps({"id": "1", "model": "m", "choices": [choice], "usage": USAGE})
    return kept(said("openai", Reply.body(200, body)))


def streamed(name: str, events: list[Any]) -> Response:
    """Return the stored response of a stream of events; chat completions get their end marker."""
    end = "data: [DONE]\n\n" if name == "openai" else ""
    lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + end
    return kept(said(name, Reply.body(200, lines, {"content-type": "text/event-stream"})))


def message(*blocks: dict[str, Any]) -> Response:
    """Return the stored response of a message of Anthropic's protocol."""
    body = json.dumps({"type": "message", "role": "assistant", "content": blocks, "stop_reason": "tool_use"})
    return kept(said("anthropic", Reply.body(200, body)))


def kept(response: Any) -> Response:
    """Return a response after checking that a store returns it unchanged."""
    assert isinstance(response, Response), response
    assert Record.of(asked(), response).kept.answer() == response == response.as_stored()
    return response


def deep(levels: int) -> list[Any]:
    """Return nested lists of this depth."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


class TestChatCompletions:
    """Tests of OpenAI's protocol."""

    @pytest.mark.parametrize("calls", [[CALL], CALL, [CALL, {**CALL, "id": "b"}]])
    def test_tool_calls_of_any_shape(self, calls: Any) -> None:
        """Tool calls of any shape are stored as JSON text."""
        assert json.loads(chat(None, tool_calls=calls).tool_calls) == calls

    @pytest.mark.parametrize("calls", [[float("nan")], deep(900), {"n": [float("inf")]}])
    def test_tool_calls_that_json_cannot_hold_are_named(self, calls: Any) -> None:
        """Tool calls that JSON cannot represent are named as left out, and the answer is kept."""
        response = chat("x", tool_calls=calls)
        told = response.tool_calls or response.extra
        assert response.text == "x"
        assert told == '{"left_out":["message.tool_calls"]}' or json.loads(told) == calls

    @pytest.mark.parametrize(
        "thought",
        [
            {"type": "thinking", "thinking": "hm"},
            {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
            {"type": "reasoning", "text": "hm"},
        ],
    )
    def test_parts_of_thinking(self, thought: dict[str, Any]) -> None:
        """Parts of thinking are stored as the reasoning and not as text."""
        response = chat([thought, {"type": "text", "text": "x"}])
        assert (response.text, response.reasoning, response.extra) == ("x", "hm", "")

    def test_parts_of_another_type(self) -> None:
        """Parts of another type, such as a picture, are stored beside the text."""
        picture = {"type": "image_url", "image_url": {"url": "data:"}}
        response = chat([{"type": "text", "text": ""}, "x", picture])
        assert response.text == "x"
        assert json.loads(response.extra) == {"message.content": [picture]}

    def test_a_content_beside_a_refusal(self) -> None:
        """The text is the refusal if a message has both a refusal and content."""
        response = chat("Well", refusal="No.")
        assert (response.text, response.finish) == ("No.", "refusal")
        assert json.loads(response.extra) == {"message.content": "Well"}

    def test_a_stream_loses_nothing(self) -> None:
        """A stream is stored completely.

        Tool calls are joined by their index, log probabilities are appended, and unknown fields are kept.
        """
        pieces = [
            {"delta": {"role": "assistant", "reasoning_content": "h", "signature": "s"}},
            {"delta": {"reasoning_content": "m", "signature": "ig"}, "logprobs": {"content": [1]}},
            {"delta": {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{"}}]}},
            {"delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}},
            {"delta": {"content": "x", "tool_calls": [{"index": 1, "function": {"arguments": "}"}}]}},
            {"delta": {}, "logprobs": {"content": [2]}, "finish_reason": "tool_calls", "stop_reason": 7},
        ]
        events = [{"id": "1", "model": "m", "choices": [{"index": 0, **piece}]} for piece in pieces]
        response = streamed("openai", [*events, {"choices": [], "usage": {**USAGE, "cost": 0.5}}])
        assert (response.text, response.reasoning, response.finish_reason) == ("x", "hm", "tool_calls")
        assert json.loads(response.tool_calls) == [
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
            {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}},
        ]
        assert json.loads(response.extra) == {
            "choice.logprobs": {"content": [1, 2]},
            "choice.stop_reason": 7,
            "message.signature": "sig",
        }
        assert json.loads(response.usage)["cost"] == 0.5

    def test_thoughts_and_text_come_as_parts_and_texts(self) -> None:
        """A stream may contain thoughts as parts and text as strings, as Mistral's models send it."""
        thoughts = [{"type": "thinking", "thinking": [{"type": "text", "text": text}]} for text in "hm"]
        contents: list[Any] = [*([thought] for thought in thoughts), "x", "y"]
        response = streamed("openai", [{"choices": [{"delta": {"content": content}}]} for content in contents])
        assert (response.text, response.reasoning) == ("xy", "hm")


class TestMessages:
    """Tests of Anthropic's protocol."""

    def test_tools_signatures_and_citations(self) -> None:
        """Blocks of tools are stored as tool calls.

        What is neither text nor thinking, such as signatures and citations, is stored separately.
        """
        call = {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}
        response = message(
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "xx"},
            {"type": "text", "text": "x", "citations": [1]},
            {"type": "text", "text": "y"},
            call,
        )
        assert (response.text, response.reasoning) == ("xy", "hm")
        assert json.loads(response.tool_calls) == [call]
        assert json.loads(response.extra)["content"] == [
            {"type": "thinking", "signature": "sig"},
            {"type": "redacted_thinking", "data": "xx"},
            {"type": "text", "citations": [1]},
        ]

    def test_a_stream_loses_nothing(self) -> None:
        """A stream is stored like a message in one piece."""
        call = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
        blocks: list[Any] = [{"type": "thinking", "thinking": ""}, {"type": "text", "text": ""}, call]
        deltas = [
            (0, {"type": "thinking_delta", "thinking": "hm"}),
            (0, {"type": "signature_delta", "signature": "sig"}),
            (1, {"type": "text_delta", "text": "x"}),
            (1, {"type": "citations_delta", "citation": {"n": 1}}),
            (2, {"type": "input_json_delta", "partial_json": '{"a"'}),
            (2, {"type": "input_json_delta", "partial_json": ":1}"}),
        ]
        events = [
            {"type": "message_start", "message": {"id": "1", "model": "m", "content": [], "usage": {}}},
            *({"type": "content_block_start", "index": at, "content_block": block} for at, block in enumerate(blocks)),
            *({"type": "content_block_delta", "index": at, "delta": delta} for at, delta in deltas),
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 4}},
        ]
        response = streamed("anthropic", events)
        assert (response.text, response.reasoning, response.output_tokens) == ("x", "hm", 4)
        assert json.loads(response.tool_calls) == [{**call, "input": {"a": 1}}]
        assert json.loads(response.extra)["content"] == [
            {"type": "thinking", "signature": "sig"},
            {"type": "text", "citations": [{"n": 1}]},
        ]


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2), max_leaves=4)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_a_whole_in_one_piece_stays_as_it_is(whole: dict[str, Any]) -> None:
    """A single piece is returned unchanged, except for null values, which are removed."""
    assert joined([whole]) == {name: value for name, value in whole.items() if value is not None}


@given(st.lists(st.text(max_size=5), min_size=1, max_size=5))
def test_texts_are_joined_wherever_they_are_cut(texts: list[str]) -> None:
    """Texts that are cut anywhere are joined again, at any level."""
    pieces = [{"a": text, "b": {"c": [text], "d": text}} for text in texts]
    assert joined(pieces) == {"a": "".join(texts), "b": {"c": texts, "d": "".join(texts)}}
