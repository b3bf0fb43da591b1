"""Tests of the error for a missing response: it shows the nearest recorded request and where it differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

import consistent_chat  # noqa: F401
from consistent_chat.errors import MissingResponse
from consistent_chat.request import Request
from consistent_chat.store import ResponseStore
from consistent_chat.store.store import explain_miss
from tests.faults import Reply
from tests.provider import Call, Provider
from tests.stored import asked, said

REMEDY = "Pass serving= (and, unless it runs locally, a key) to request it, or another location as responses=."


@pytest.fixture
def store(tmp_path: Path) -> ResponseStore:
    """Return a newly opened store that has requests 1 to 3."""
    writer = ResponseStore(str(tmp_path))
    for number in (1, 2, 3):
        writer.keep(asked(number), said(number))
    writer.close()
    return ResponseStore(str(tmp_path))


def message(request: Request, middle: str) -> str:
    """Return the complete expected message about a request of dialogue 7."""
    return f"No response is recorded for dialogue 7, draw {request.draw} of {request.key}. {middle} {REMEDY}"


def user(content: str) -> tuple[dict[str, str], ...]:
    """Return the messages of a request: one user message."""
    return ({"role": "user", "content": content},)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"model": "claude-sonnet-4-6"}, "model: 'claude-haiku-4-5' is recorded, 'claude-sonnet-4-6' is requested"),
        ({"temperature": 1}, "temperature: 0.9 is recorded, 1.0 is requested"),
        ({"seed": 42}, "seed: 0 is recorded, 42 is requested"),
        ({"draw": 2}, "draw: 0 is recorded, 2 is requested"),
        ({"seed": 42, "repeat": -1}, "seed: 0 is recorded, 42 is requested; repeat: 0 is recorded, -1 is requested"),
        (
            {"system": "You write the user's side of a chat."},
            'system: "...e user\'s side of a conversation." is recorded, "...e user\'s side of a chat." is requested',
        ),
        (
            {"schema": {"type": "object", "properties": {"user_1": {"type": "string"}, "user_2": {"type": "null"}}}},
            'schema: \'..."user_2": {"type": "string"}}, "type": "object"}\' is recorded, '
            '\'..."user_2": {"type": "null"}}, "type": "object"}\' is requested',
        ),
        (
            {"messages": user("Topic 2: five days in Lisbon with a teenager who likes museums, and a grandmother")},
            "messages: '...s in Lisbon with a toddler' is recorded, "
            "'...s in Lisbon with a teenager who likes museums, and a g...' is requested",
        ),
    ],
    ids=["model", "temperature", "seed", "draw", "two", "system", "schema", "messages"],
)
def test_the_fields_that_differ_are_shown(store: ResponseStore, changes: dict[str, Any], difference: str) -> None:
    """The error shows the recorded and the requested value of each field, from shortly before the first difference."""
    request = asked(2, **changes)
    where = f"The nearest recorded request differs in {difference}."
    assert explain_miss(request, 7, store) == message(request, where)


def test_an_empty_store_says_so(tmp_path: Path) -> None:
    """The error says that the store is empty, because there is no request to compare with."""
    assert explain_miss(asked(), 7, ResponseStore(str(tmp_path))) == message(asked(), "The store is empty.")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_nearest_has_the_most_fields_and_then_the_longest_beginning_in_common(
    store: ResponseStore, number: int
) -> None:
    """The nearest request has the most equal fields and then the longest common prefix.

    The error therefore shows the intended request and not the first one in the store.
    """
    request = asked(messages=user(f"Topic {number}: a week in Porto"))
    assert f"'Topic {number}: five days in Lisbon with a toddler' is recorded" in explain_miss(request, 7, store)


def test_fields_in_common_count_before_beginnings(store: ResponseStore, tmp_path: Path) -> None:
    """A request that differs only in its text is nearer than one with the same text but another model and seed."""
    request = asked(2, model="claude-sonnet-4-6", seed=42)
    store.keep(asked(messages=user("Another"), model="claude-sonnet-4-6", seed=42), said())
    store.close()
    reader = ResponseStore(str(tmp_path))
    assert "differs in messages: 'Another' is recorded" in explain_miss(request, 7, reader)


def test_texts_of_a_megabyte_make_a_short_message(tmp_path: Path) -> None:
    """For texts of a megabyte, the error shows only the text around the difference."""
    writer = ResponseStore(str(tmp_path))
    writer.keep(asked(system="x" * 1_000_000 + "old"), said())
    message = explain_miss(asked(system="x" * 1_000_000 + "new"), 7, ResponseStore(str(tmp_path)))
    assert f"system: '...{'x' * 20}old' is recorded, '...{'x' * 20}new' is requested" in message
    assert len(message) < 500
    writer.close()


def test_lone_surrogates_can_be_printed(tmp_path: Path) -> None:
    """The error escapes lone surrogates, because a message that cannot be encoded would hide its reason."""
    writer = ResponseStore(str(tmp_path))
    writer.keep(asked(system="\ud800"), said())
    assert "'\\ud800' is recorded" in explain_miss(asked(), 7, ResponseStore(str(tmp_path))).encode().decode()
    writer.close()


def test_a_check_that_refuses_what_is_recorded_is_named(tmp_path: Path) -> None:
    """If a check rejects a recorded response, the error names the response, the reason and both remedies."""
    called: dict[str, Any] = {"serving": "anthropic", "api_key": "a-key"}
    given: dict[str, Any] = {"model": "m", "num_dialogs_per_intent": 1, "num_turns_per_dialog": 2, "split": "train"}
    given |= {"responses": str(tmp_path / "responses"), "cache_dir": str(tmp_path / "cache")}
    with Provider(_repeats) as provider:
        load_dataset("consistent_chat", checks=False, base_url=provider.url, **called, **given)
    with pytest.raises(MissingResponse, match=r"draw 0: repeats \(.*Pass serving= to request another, or checks=False"):
        load_dataset("consistent_chat", **given)


def _repeats(call: Call) -> Reply:
    """Answer with the same text in each message."""
    said = dict.fromkeys(call.names, "The train to Porto leaves at noon from the old station.")
    return Reply.text(json.dumps(said))
