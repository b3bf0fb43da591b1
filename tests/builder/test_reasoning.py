"""With `reasoning: true`, rows have the model's reasoning from every kind of server, live and replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from consistent_chat.errors import RecipeError
from consistent_chat.publishing import recipe_file
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.description import LATER
from tests.provider import Call, Provider, Reply

THOUGHT = "The user is in a hurry."
RECIPE = {"model": "m", "intents": ["educational"], "num_dialogs_per_intent": 2, "num_turns_per_dialog": 2}


def replied(kind: str, call: Call) -> Reply:
    """Return a good answer with its reasoning, in the format of a kind of server."""
    text = json.dumps(call.texts)
    if kind == "thinking":
        content = [{"type": "thinking", "thinking": THOUGHT, "signature": "s"}, {"type": "text", "text": text}]
        return Reply.body(200, json.dumps({"type": "message", "content": content, "stop_reason": "end_turn"}))
    message: dict[str, Any] = {
        "reasoning_content": {"content": text, "reasoning_content": THOUGHT},
        "reasoning": {"content": text, "reasoning": THOUGHT},
        "tags": {"content": f"<think>\n{THOUGHT}\n</think>\n\n{text}"},
        "parts": {"content": [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": text}]},
        "alone": {"content": None, "reasoning_content": f"{THOUGHT}\n```json\n{text}\n```"},
        "none": {"content": text},
    }[kind]
    return Reply.body(200, json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}))


def made(place: str, kind: str = "", **given: Any) -> Any:
    """Return rows made live with a kind of server, or replayed if no kind is given."""
    fields = {**RECIPE, "reasoning": True, **given, "split": "train", "responses": place}
    if not kind:
        return load_dataset("consistent_chat", **fields)
    with Provider(lambda call: replied(kind, call)) as provider:
        name, url = ("anthropic", provider.url) if kind == "thinking" else ("openai", provider.openai_url)
        return load_dataset("consistent_chat", **fields, serving=name, base_url=url, api_key="key")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("kind", ["thinking", "reasoning_content", "reasoning", "tags", "parts", "alone", "none"])
def test_rows_have_it_whatever_the_server(kind: str, place: str) -> None:
    """The reasoning is the same from every kind of server, null if the model sent none, and replayed unchanged."""
    rows = made(place, kind)
    assert rows["reasoning"] == [None if kind == "none" else THOUGHT] * 2
    assert rows.column_names == ["category", "conversation", "reasoning", "provenance"]
    assert all(message.keys() == {"role", "value"} for message in rows[0]["conversation"])
    assert made(place, streaming=True).take(2)
    assert list(made(place, streaming=True)) == list(rows)


def test_in_messages_it_has_the_name_that_chat_templates_read(place: str) -> None:
    """The first answer has the reasoning, which precedes all answers, as `reasoning_content` for chat templates."""
    made(place, "tags")
    rows = made(place, layout="messages", system_prompt=None)
    assert [message["reasoning_content"] for message in rows[0]["messages"]] == [None, THOUGHT, None, None]
    assert rows[0]["reasoning"] == THOUGHT
    assert {tuple(message) for row in rows for message in row["messages"]} == {("role", "content", "reasoning_content")}


def test_without_it_rows_are_those_of_before(place: str) -> None:
    """The same responses give rows without the reasoning column if `reasoning` is false."""
    thinking = made(place, "tags")
    plain = made(place, reasoning=False)
    assert plain.column_names == ["category", "conversation", "provenance"]
    assert list(thinking.remove_columns("reasoning")) == list(plain)


@pytest.mark.slow
def test_a_recipe_that_does_not_use_it_is_written_as_before(tmp_path: Path) -> None:
    """A published recipe contains `reasoning` only if the recipe sets it."""
    assert set(LATER) & set(Recipe("m").values()) == set()
    for used in (False, True):
        recipe_file.write(Recipe("m", reasoning=used), tmp_path / "r.consistent_chat.yaml")
        assert ("\nreasoning: true" in (tmp_path / "r.consistent_chat.yaml").read_text()) is used


def test_splits_agree(tmp_path: Path) -> None:
    """Splits with different `reasoning` raise an error, because all rows of a dataset have the same columns."""
    for name, used in (("train", "true"), ("test", "false")):
        (tmp_path / f"{name}.consistent_chat.yaml").write_text(f"model: m\nreasoning: {used}\n")
    files = {name: str(tmp_path / f"{name}.consistent_chat.yaml") for name in ("train", "test")}
    with pytest.raises(RecipeError, match="the same layout, provenance, reasoning"):
        load_dataset("consistent_chat", data_files=files)


def test_half_a_character_is_told_by_its_escape(place: str, tmp_path: Path) -> None:
    """Half of a surrogate pair is written as its escape, because Arrow cannot store it."""

    def broken(call: Call) -> Reply:
        body = {"content": json.dumps(call.texts), "reasoning_content": "half \ud83d of one \0"}
        return Reply.body(200, json.dumps({"choices": [{"message": body, "finish_reason": "stop"}]}))

    with Provider(broken) as provider:
        options = {"serving": "openai", "base_url": provider.openai_url, "api_key": "key"}
        fields = {**RECIPE, "reasoning": True, "responses": place, "split": "train"}
        rows = load_dataset("consistent_chat", **fields, **options)
    rows.to_parquet(tmp_path / "rows.parquet")
    told = pq.read_table(tmp_path / "rows.parquet").column("reasoning").to_pylist()
    assert told == ["half \\ud83d of one \0"] * 2 == made(place)["reasoning"]
