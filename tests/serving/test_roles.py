"""Servings by role: each server sees the requests of its role, and its key, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import load_dataset

from consistent_chat.cli import main
from consistent_chat.errors import BudgetSpent, RecipeError
from tests.dialogue.turns import in_turn, kind
from tests.provider import Provider

FORM: dict[str, Any] = {"users": "turn_by_turn", "answers": "turn_by_turn", "user_model": "claude-haiku-4-5"}
KEYS = {"user": "key-of-the-user", "assistant": "key-of-the-assistant"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in, caches of its own, and keys in the environment that no role has asked for."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "key-of-the-environment")


@pytest.fixture
def user() -> Iterator[Provider]:
    """The server of the user's side."""
    with Provider(in_turn) as running:
        yield running


@pytest.fixture
def assistant() -> Iterator[Provider]:
    """The server of the assistant."""
    with Provider(in_turn) as running:
        yield running


def load(user: Provider, assistant: Provider, **given: Any) -> Any:
    """Load a small dataset with a server for each role."""
    serving = {"user": "anthropic", "assistant": f"openai@{assistant.openai_url}"}
    address = {"base_url": {"user": user.url}, "api_key": KEYS}
    small = {"model": "my-model", "intents": "simulation", "num_dialogs_per_intent": 2, "num_turns_per_dialog": 2}
    return load_dataset(
        "consistent_chat",
        responses="responses",
        split="train",
        **{"serving": serving, **address, **small, **FORM, **given},
    )


def seen(provider: Provider) -> tuple[set[str], set[str], set[str]]:
    """Return the kinds of requests, the models and the keys that a server has seen."""
    calls = provider.requests
    sent = (call.headers.get("x-api-key") or call.headers.get("authorization", "") for call in calls)
    keys = {key.removeprefix("Bearer ") for key in sent}
    return {kind(call) for call in calls}, {call.body["model"] for call in calls}, keys


def test_each_server_sees_its_role_alone(user: Provider, assistant: Provider) -> None:
    """Its requests, its model and its key; a replay needs none of them."""
    rows = load(user, assistant)
    assert seen(user) == ({"user_message"}, {"claude-haiku-4-5"}, {"key-of-the-user"})
    assert seen(assistant) == ({"answer"}, {"my-model"}, {"key-of-the-assistant"})
    given: dict[str, Any] = {"serving": None, "base_url": None, "api_key": None}
    assert load(user, assistant, download_mode="force_redownload", **given).to_list() == rows.to_list()


def test_an_address_without_a_key_gets_none_of_the_environment(user: Provider, assistant: Provider) -> None:
    """What a provider's variable holds is for that provider."""
    load(user, assistant, api_key={"user": "key-of-the-user"})
    assert seen(assistant)[2] == {"none"}


def test_a_key_from_the_environment_for_one_role(
    user: Provider, assistant: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable of its own keeps a role's key off the command line."""
    monkeypatch.setenv("CONSISTENT_CHAT_ASSISTANT_KEY", "key-of-a-variable")
    load(user, assistant, api_key={"user": "key-of-the-user"})
    assert (seen(user)[2], seen(assistant)[2]) == ({"key-of-the-user"}, {"key-of-a-variable"})


def test_a_limit_holds_over_all_servers(user: Provider, assistant: Provider) -> None:
    """Three calls are three calls, whoever answers them."""
    with pytest.raises(BudgetSpent):
        load(user, assistant, max_calls=3)
    assert len(user.requests) + len(assistant.requests) == 3


def test_on_the_command_line(user: Provider, assistant: Provider) -> None:
    """The option of a serving, an address and a key may be repeated, each with a role."""
    arguments = ["build", "--serving", "user=anthropic", "--serving", "assistant=openai", "--model", "my-model"]
    arguments += ["--base-url", f"user={user.url}", "--base-url", f"assistant={assistant.openai_url}"]
    arguments += [f"--api-key={role}={key}" for role, key in KEYS.items()]
    arguments += ["--intents", "simulation", "--num-dialogs-per-intent", "1", "--num-turns-per-dialog", "1"]
    arguments += ["--users", "turn_by_turn", "--answers", "turn_by_turn", "--responses", "here", "--output", "x.jsonl"]
    assert main(arguments) == 0
    assert seen(user)[::2] == ({"user_message"}, {"key-of-the-user"})
    assert seen(assistant)[::2] == ({"answer"}, {"key-of-the-assistant"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"serving": {"user": "anthropic"}, "api_key": None}, "lacks the role 'assistant'"),
        (
            {"serving": {"user": "rehearsal", "assistent": "rehearsal"}, "api_key": None},
            "no role 'assistent'.*assistant",
        ),
        ({"judge_model": "judge"}, "lacks the role 'judge'"),
        ({"serving": {"user": "openai", "assistant": "opennai"}}, "no serving 'opennai'"),
        ({"api_key": "one-key-for-all"}, "api_key must be given by role"),
        ({"serving": "anthropic"}, "base_url is given by role"),
        ({"driver": "batch"}, "takes one serving"),
    ],
)
def test_what_does_not_fit_together(given: dict[str, Any], words: str, user: Provider, assistant: Provider) -> None:
    """It is refused before any call, and no key is shown."""
    with pytest.raises(RecipeError, match=words) as caught:
        load(user, assistant, **given)
    assert "one-key-for-all" not in str(caught.value)
    assert not user.requests
