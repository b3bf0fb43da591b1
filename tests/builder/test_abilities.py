"""Settings that describe a server apply from the first call on and do not change the dataset's fingerprint."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset, load_dataset_builder

import consistent_chat  # noqa: F401  teaches `datasets` the name
from consistent_chat.errors import RecipeError
from tests.faults import Reply
from tests.provider import Call, Provider


def build(url: str, folder: Path, **given: Any) -> Any:
    """Build one dialogue per intent with an OpenAI-compatible server."""
    return load_dataset(
        "consistent_chat",
        serving="openai",
        base_url=url,
        api_key="key",
        model="small",
        num_dialogs_per_intent=1,
        num_turns_per_dialog=2,
        responses=str(folder / "responses"),
        cache_dir=str(folder / "cache"),
        split="train",
        **given,
    )


@pytest.mark.slow
def test_what_is_stated_holds_from_the_first_call(provider: Provider, tmp_path: Path) -> None:
    """Every call respects the stated settings, so no call is spent on detecting them."""
    build(provider.openai_url, tmp_path, system_role=False, structured_output="none", max_output_tokens=700)
    for call in provider.requests:
        assert [message["role"] for message in call.body["messages"]] == ["user"]
        assert "response_format" not in call.body
        assert call.body["max_tokens"] <= 700


def test_a_context_bounds_prompt_and_answer_together(provider: Provider, tmp_path: Path) -> None:
    """The maximum length of the answer is what the prompt leaves of `context_tokens`."""
    build(provider.openai_url, tmp_path, context_tokens=1500)
    assert all(0 < call.body["max_tokens"] < 1500 for call in provider.requests)


def test_it_is_no_part_of_the_identity() -> None:
    """Settings that describe the server do not change the directory of the cache."""
    given: dict[str, Any] = {"serving": "openai", "model": "small"}
    plain = load_dataset_builder("consistent_chat", **given)
    stated = load_dataset_builder("consistent_chat", **given, context_tokens=8192, streaming=True, wait_for_server=60)
    assert stated.cache_dir == plain.cache_dir


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"context_tokens": 0}, "context_tokens must be a whole number"),
        ({"max_output_tokens": "many"}, "max_output_tokens must be a whole number"),
        ({"structured_output": "xml"}, "structured_output"),
        ({"system_role": "no"}, "system_role must be"),
        ({"wait_for_server": -1}, "wait_for_server must be a number of at least 0"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_what_is_out_of_range_is_refused_before_a_call(given: dict[str, Any], message: str) -> None:
    """An invalid setting raises a `RecipeError` that names the field."""
    with pytest.raises(RecipeError, match=message):
        load_dataset_builder("consistent_chat", serving="openai", model="small", **given)


def test_a_serving_without_a_server_takes_none(tmp_path: Path) -> None:
    """The rehearsal calls no server, so `context_tokens=` raises an error that names the field."""
    given = {"responses": str(tmp_path / "r"), "cache_dir": str(tmp_path / "c"), "num_dialogs_per_intent": 1}
    with pytest.raises(RecipeError, match="'rehearsal' does not accept context_tokens="):
        load_dataset("consistent_chat", serving="rehearsal", context_tokens=4096, **given)


@pytest.mark.slow
def test_a_server_that_starts_late_is_waited_for(tmp_path: Path) -> None:
    """With `wait_for_server`, a build waits for a server that starts a second late, and makes all 9 dialogues."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    late = Provider(port=port)
    timer = threading.Timer(1.0, late.__enter__)
    timer.start()
    try:
        assert len(build(f"http://127.0.0.1:{port}/v1", tmp_path, wait_for_server=60)) == 9
    finally:
        timer.join()
        late.__exit__()


def test_streaming_that_is_stated_is_asked_for_at_once(tmp_path: Path) -> None:
    """With `streaming=True`, every call requests a stream, so a server that only streams rejects no call."""

    def script(call: Call) -> Reply | None:
        return None if call.body.get("stream") else Reply.error(400, "no")

    with Provider(script) as provider:
        build(provider.openai_url, tmp_path, streaming=True)
    assert all(call.body["stream"] for call in provider.requests)
