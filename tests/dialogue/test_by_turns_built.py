"""Test builds of dialogues that are made turn by turn: online, in batches, with DataFlow, from given conversations."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.dataflow import ConsistentChatGenerator, FileStorage
from consistent_chat.drivers import batch_poll
from consistent_chat.errors import BudgetSpent, RecipeError
from tests.batches import BatchProvider
from tests.dialogue.test_by_turns import ANSWERS, BOTH
from tests.dialogue.turns import in_turn, kind
from tests.faults import Reply
from tests.provider import Call, Provider

pytestmark = pytest.mark.usefixtures("folder")


def load(provider: Provider | None = None, serving: str = "anthropic", **given: Any) -> Any:
    """Load a small dataset, calling the provider if there is one."""
    url = provider and (provider.url if serving == "anthropic" else provider.openai_url)
    called = {"serving": serving, "base_url": url, "api_key": "a-key"} if provider else {"serving": serving or None}
    small = {"model": "claude-sonnet-4-6", "intents": ["educational", "simulation"], "num_dialogs_per_intent": 2}
    form = {"num_turns_per_dialog": 3, "responses": "responses", "split": "train"}
    return load_dataset("consistent_chat", **{**small, **form, **called, **given})


@pytest.mark.parametrize("serving", ["anthropic", "openai"])
@pytest.mark.parametrize(("form", "calls"), [(ANSWERS, 4), (BOTH, 6)], ids=["answers", "both"])
def test_a_build_and_its_replay(form: dict[str, Any], calls: int, serving: str) -> None:
    """A build over a real connection has exact counts although some messages fail.

    A replay gives the same rows without calls.
    """

    def script(call: Call) -> Reply | None:
        return Reply.text(" ") if call.attempt == 0 and int(call.mark, 16) % 5 == 0 else in_turn(call)

    with Provider(script) as provider:
        rows = load(provider, serving, user_model="claude-haiku-4-5", **form)
    kinds = [kind(call) for call in provider.requests]
    assert len(rows) == 4
    assert all(len(row["conversation"]) == 6 for row in rows)
    assert len({key for row in rows for key in row["provenance"]["request_keys"]}) == 4 * calls
    assert {row["provenance"]["user_model"] for row in rows} == {"claude-haiku-4-5"}
    models = {(kind(call), call.body["model"]) for call in provider.requests}
    assert ("answer", "claude-sonnet-4-6") in models
    assert len(models) == 2
    assert kinds.count("answer") >= 12
    again = load(None, "", user_model="claude-haiku-4-5", download_mode="force_redownload", **form)
    assert again.to_list() == rows.to_list()


@pytest.mark.parametrize("form", [ANSWERS, pytest.param(BOTH, marks=pytest.mark.slow)], ids=["answers", "both"])
def test_a_batch_build_makes_the_same_dialogues(form: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch build submits one batch for each stage or message.

    An online build that is interrupted and resumed gives the same rows.
    """
    monkeypatch.setattr(batch_poll, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(batch_poll, "LONGEST_PAUSE", 0.01)
    with BatchProvider(in_turn) as provider:
        by_batch = load(provider, driver="batch", **form)
        assert len(provider.submitted) == (4 if form is ANSWERS else 6)
    again: dict[str, Any] = {"responses": "other", "download_mode": "force_redownload"}
    with Provider(in_turn) as provider:
        with pytest.raises(BudgetSpent):
            load(provider, max_calls=7, **again, **form)
        online = load(provider, **again, **form)
    assert online.to_list() == by_batch.to_list()


def test_anthropic_caches_the_chat_so_far() -> None:
    """The last message of each chat is marked for Anthropic's cache, because the next turn repeats the chat.

    Other requests have no mark.
    """
    with Provider(in_turn) as provider:
        load(provider, intents="simulation", num_dialogs_per_intent=1, **ANSWERS)
    last = [call.body["messages"][-1]["content"] for call in provider.requests]
    assert isinstance(last[0], str)
    assert [content[0]["cache_control"] for content in last[1:]] == [{"type": "ephemeral"}] * 3
    texts = [[m["content"] for m in call.body["messages"][:-1]] for call in provider.requests[1:]]
    assert all(isinstance(text, str) for before in texts for text in before)


def test_many_waves_are_asked_for_by_name() -> None:
    """A dialogue of five turns needs ten consecutive batches, which are refused unless `max_waves` allows them."""
    with pytest.raises(RecipeError, match=r"needs 10 consecutive batches.*max_waves=10"):
        load(None, "anthropic", driver="batch", num_turns_per_dialog=5, **BOTH)


def test_dataflow_takes_single_texts() -> None:
    """A DataFlow serving that accepts only single texts is refused for turn-by-turn answers."""

    class Texts:
        model_name = "m"

        def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> list[str]:
            return user_inputs

    with pytest.raises(RecipeError, match="generate_from_input takes single texts"):
        ConsistentChatGenerator(Texts(), answers="turn_by_turn")


def test_dataflow_sends_chats_where_its_serving_takes_them(tmp_path: Path) -> None:
    """A DataFlow serving that accepts chats gets the system prompt and the chat so far, in one wave per message.

    A replay gives the same rows.
    """
    seen: list[list[Mapping[str, str]]] = []

    class Chats:
        model_name = "m"

        def __init__(self) -> None:
            self.temperature = 0.0

        def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> list[str]:
            marks = [hashlib.sha256(text.encode()).hexdigest()[:9] for text in user_inputs]
            return [json.dumps({"message": f"Could you look at number {mark}?", "ends": False}) for mark in marks]

        def generate_from_conversations(self, conversations: list[list[Mapping[str, str]]]) -> list[str]:
            seen.extend(conversations)
            return [f"About this I know {chat[-1]['content'][-10:-1]} alone." for chat in conversations]

    given: dict[str, Any] = {"num_dialogs_per_intent": 1, "num_turns_per_dialog": 2, "system_prompt": "Be brief."}
    given |= {**BOTH, "responses": str(tmp_path / "responses"), "model": "m"}
    storage = FileStorage("", cache_path=str(tmp_path / "rows"), cache_type="json").step()
    frame = ConsistentChatGenerator(Chats(), **given).run(storage)
    assert [len(talk) for talk in frame["conversation"]] == [5] * 9
    assert Counter(tuple(message["role"] for message in chat) for chat in seen) == {
        ("system", "user"): 9,
        ("system", "user", "assistant", "user"): 9,
    }
    assert ConsistentChatGenerator(None, **given).run(storage).equals(frame)


def test_given_conversations_are_answered_message_by_message(tmp_path: Path) -> None:
    """Given user messages need one call per answer and none for the user's side.

    `users: turn_by_turn` is refused with given conversations.
    """
    chat = [{"role": "user", "content": text} for text in ("My chain jumps.", "Which size do I need?")]
    (tmp_path / "given.jsonl").write_text(json.dumps({"messages": chat}) + "\n", "utf-8")
    given = {"seeds": {"data": "given.jsonl", "fields": {"conversation": "messages"}}, "num_turns_per_dialog": None}
    given |= {"num_dialogs_per_intent": None, "intents": None}
    (row,) = load(None, "rehearsal", **given, **ANSWERS)
    assert [each["value"] for each in row["conversation"][::2]] == [each["content"] for each in chat]
    assert len(row["provenance"]["request_keys"]) == 2
    with pytest.raises(RecipeError, match="cannot be combined with given conversations"):
        load(None, "rehearsal", **given, **BOTH)


def test_a_rehearsal_in_all_forms() -> None:
    """A rehearsal makes turn-by-turn dialogues without a provider and ends them within the range of turns."""
    rows = load(None, "rehearsal", num_turns_per_dialog=(1, 4), num_dialogs_per_intent=8, **BOTH)
    turns = {len(row["conversation"]) // 2 for row in rows}
    assert len(rows) == 16
    assert len(turns) > 1
    assert turns <= {1, 2, 3, 4}
