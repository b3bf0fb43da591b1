"""Test servings by role: each server gets only the requests of its role and its own key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import load_dataset

from consistent_chat.builder.config import ConsistentChatConfig
from consistent_chat.cli import main
from consistent_chat.drivers import batch_poll
from consistent_chat.drivers.limits import RateLimiter
from consistent_chat.errors import BatchesPending, BudgetSpent, RecipeError, ServingError
from consistent_chat.request import Request, Response
from consistent_chat.serving.rehearsal import Rehearsal
from consistent_chat.serving.settings import Abilities
from consistent_chat.store import BatchLog
from tests.batches import BatchProvider
from tests.dialogue.turns import in_turn, kind
from tests.provider import Provider

FORM: dict[str, Any] = {"users": "turn_by_turn", "answers": "turn_by_turn", "user_model": "claude-haiku-4-5"}
KEYS = {"user": "key-of-the-user", "assistant": "key-of-the-assistant"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder with separate caches, and set keys in the environment that no role may use."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "key-of-the-environment")


@pytest.fixture
def user() -> Iterator[Provider]:
    """Run the server of the user's side."""
    with Provider(in_turn) as running:
        yield running


@pytest.fixture
def assistant() -> Iterator[Provider]:
    """Run the server of the assistant."""
    with Provider(in_turn) as running:
        yield running


def load(user: Provider | None, assistant: Provider | None, **given: Any) -> Any:
    """Load a small dataset with a server for each role."""
    serving, address = {}, {}
    if user is not None and assistant is not None:
        serving = {"user": "anthropic", "assistant": f"openai@{assistant.openai_url}"}
        address = {"base_url": {"user": user.url}, "api_key": KEYS}
    small = {"model": "my-model", "intents": "simulation", "num_dialogs_per_intent": 2, "num_turns_per_dialog": 2}
    ours = {"responses": "responses", "split": "train", "serving": serving, **address, **small, **FORM}
    return load_dataset("consistent_chat", **{**ours, **given})


def seen(provider: Provider) -> tuple[set[str], set[str], set[str]]:
    """Return the kinds of requests, the models and the keys that a server received."""
    calls = provider.requests
    sent = (call.headers.get("x-api-key") or call.headers.get("authorization", "") for call in calls)
    keys = {key.removeprefix("Bearer ") for key in sent}
    return {kind(call) for call in calls}, {call.body["model"] for call in calls}, keys


def test_each_server_sees_its_role_alone(user: Provider, assistant: Provider) -> None:
    """Each server receives only the requests, the model and the key of its role. A replay needs no server."""
    rows = load(user, assistant)
    assert seen(user) == ({"user_message"}, {"claude-haiku-4-5"}, {"key-of-the-user"})
    assert seen(assistant) == ({"answer"}, {"my-model"}, {"key-of-the-assistant"})
    given: dict[str, Any] = {"serving": None, "base_url": None, "api_key": None}
    assert load(user, assistant, download_mode="force_redownload", **given).to_list() == rows.to_list()


def test_an_address_without_a_key_gets_none_of_the_environment(user: Provider, assistant: Provider) -> None:
    """A server at another address gets no key from the environment. A provider's variable is only for that provider."""
    load(user, assistant, api_key={"user": "key-of-the-user"})
    assert seen(assistant)[2] == {"none"}


def test_a_key_from_the_environment_for_one_role(
    user: Provider, assistant: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role's key can come from its own environment variable, which keeps it off the command line."""
    monkeypatch.setenv("CONSISTENT_CHAT_ASSISTANT_KEY", "key-of-a-variable")
    load(user, assistant, api_key={"user": "key-of-the-user"})
    assert (seen(user)[2], seen(assistant)[2]) == ({"key-of-the-user"}, {"key-of-a-variable"})


def test_a_limit_holds_over_all_servers(user: Provider, assistant: Provider) -> None:
    """A limit of three calls applies to all servers together."""
    with pytest.raises(BudgetSpent):
        load(user, assistant, max_calls=3)
    assert len(user.requests) + len(assistant.requests) == 3


class Counting(Rehearsal):
    """Records the requests in flight of all servings that share a list.

    The first calls wait until `together` of them are in flight.
    """

    def __init__(self, in_flight: list[Request], together: int = 1) -> None:
        super().__init__()
        self.in_flight, self.together = in_flight, together
        self.most = 0
        self.all_here = asyncio.Event()

    async def answer(self, request: Request) -> Response:
        """Answer like a rehearsal, after a short wait."""
        self.in_flight.append(request)
        self.most = max(self.most, len(self.in_flight))
        if self.most >= self.together:
            self.all_here.set()
        await asyncio.wait_for(self.all_here.wait(), 60)
        await asyncio.sleep(0)
        self.in_flight.remove(request)
        return await super().answer(request)


def test_each_server_has_its_own_pace() -> None:
    """Each server has its own limit of calls in flight, and a role without one has the default."""
    serving = {"user": Counting([], together=6), "assistant": Counting([])}
    load(None, None, serving=serving, num_dialogs_per_intent=6, max_concurrency={"assistant": 1})
    assert (serving["user"].most, serving["assistant"].most) == (6, 1)


def test_one_number_is_for_all_servers_together() -> None:
    """A single number limits the calls in flight at all servers together."""
    shared: list[Request] = []
    serving = {"user": Counting(shared), "assistant": Counting(shared)}
    assert len(load(None, None, serving=serving, num_dialogs_per_intent=9, max_concurrency=3)) == 9
    assert max(one.most for one in serving.values()) == 3


def test_limits_by_role() -> None:
    """The limits of a role apply in addition to those of the run, and processes share both."""
    config = ConsistentChatConfig(
        serving={"user": "rehearsal", "assistant": "rehearsal"},
        max_concurrency={"assistant": 4},
        max_requests_per_minute={"user": 60},
        max_tokens_per_minute=6_000,
        context_tokens={"assistant": 4_096},
        streaming=True,
    )
    whole = config.limits()
    assert (whole.max_concurrency, whole.max_requests_per_minute, whole.max_tokens_per_minute) == (34, None, 6_000)
    assert {role: own.max_concurrency for role, own in whole.roles.items()} == {"user": 30, "assistant": 4}
    assert [own.max_concurrency for own in whole.split(2).roles.values()] == [15, 2]
    assert config.abilities() == {
        "user": Abilities(streaming=True),
        "assistant": Abilities(context_tokens=4_096, streaming=True),
    }
    rate_limiter = RateLimiter(whole, lambda: 0.0)
    rate_limiter.of("user").take(0)
    assert (round(rate_limiter.of("user").wait()), rate_limiter.of("assistant").wait()) == (1, 0)
    rate_limiter.of("assistant").take(500)
    assert [round(each.wait()) for each in (rate_limiter.of("user"), rate_limiter.of("assistant"), rate_limiter)] == [
        5,
        5,
        5,
    ]


def test_a_server_that_is_away_stops_the_run(user: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreachable server stops the run although the other one answers.

    The error names its address, and no spec is given up.
    """
    monkeypatch.setattr("consistent_chat.drivers.retry.FIRST_PAUSE", 0.005)
    with Provider(in_turn) as gone:
        pass
    with pytest.raises(ServingError, match=gone.url.removeprefix("http://")):
        load(user, gone, num_dialogs_per_intent=6)
    assert len(user.requests) <= 6


def test_a_stated_ability_of_one_server(user: Provider, assistant: Provider) -> None:
    """A token limit of one role is sent only to the server of that role."""
    load(user, assistant, num_dialogs_per_intent=1, max_output_tokens={"assistant": 333})
    assert {call.body.get("max_completion_tokens") or call.body["max_tokens"] for call in assistant.requests} == {333}
    assert 333 not in {call.body["max_tokens"] for call in user.requests}


def test_on_the_command_line(user: Provider, assistant: Provider) -> None:
    """The options for a serving, an address and a key can be repeated on the command line, each with a role."""
    arguments = ["build", "--serving", "user=anthropic", "--serving", "assistant=openai", "--model", "my-model"]
    arguments += ["--base-url", f"user={user.url}", "--base-url", f"assistant={assistant.openai_url}"]
    arguments += [f"--api-key={role}={key}" for role, key in KEYS.items()]
    arguments += ["--intents", "simulation", "--num-dialogs-per-intent", "1", "--num-turns-per-dialog", "1"]
    arguments += ["--max-concurrency", "user=4", "--max-concurrency", "assistant=2", "--max-tokens-per-minute=90000"]
    arguments += ["--max-requests-per-minute=user=6000", "--structured-output", "user=json_schema"]
    arguments += ["--users", "turn_by_turn", "--answers", "turn_by_turn", "--responses", "here", "--output", "x.jsonl"]
    assert main(arguments) == 0
    assert seen(user)[::2] == ({"user_message"}, {"key-of-the-user"})
    assert seen(assistant)[::2] == ({"answer"}, {"key-of-the-assistant"})


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between polls of batches."""
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "SETTLE"):
        monkeypatch.setattr(batch_poll, name, 0.01)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "form",
    [{}, pytest.param({"answers": "at_once", "users": "at_once"}, marks=pytest.mark.slow)],
    ids=["turn_by_turn", "at_once"],
)
def test_batches_go_to_the_server_of_their_role(form: dict[str, Any]) -> None:
    """Each server gets its own batches, although their names are the same. The rows equal those of single calls."""
    with BatchProvider(in_turn) as user, BatchProvider(in_turn) as assistant:
        serving = {"user": "anthropic", "assistant": "anthropic"}
        addresses = {"user": user.url, "assistant": assistant.url}
        by_batch = load(user, assistant, driver="batch", serving=serving, base_url=addresses, **form)
        assert not user.online
        waves = 1 if form else 2
        assert [len(user.submitted), len(assistant.submitted)] == [waves, waves]
        assert {kind(call) for call in assistant.requests} == {"answers" if form else "answer"}
        assert (seen(user)[2], seen(assistant)[2]) == ({"key-of-the-user"}, {"key-of-the-assistant"})
    log = BatchLog("responses").read()
    assert [(batch.role, batch.serving, batch.id) for batch in log][:2] == [
        ("user", "anthropic", "msgbatch_0000"),
        ("assistant", "anthropic", "msgbatch_0000"),
    ]
    given = {"serving": serving, "base_url": None, "responses": "other", "download_mode": "force_redownload"}
    with Provider(in_turn) as one:
        given["base_url"] = {"user": one.url, "assistant": one.url}
        assert load(None, None, api_key=KEYS, **given, **form).to_list() == by_batch.to_list()


@pytest.mark.usefixtures("hurried")
@pytest.mark.slow_after(1)
@pytest.mark.parametrize("detach", [False, True])
def test_batches_by_role_that_were_left_open(detach: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """A later run collects open batches at the server of their role, online or by batch.

    The command `batches` looks there too.
    """
    with BatchProvider(in_turn, looks=3) as user, BatchProvider(in_turn, looks=3) as assistant:
        for server in (user, assistant):
            server.script_online()
        serving = {"user": f"anthropic@{user.url}", "assistant": f"openai@{assistant.openai_url}"}
        given: dict[str, Any] = {"serving": serving, "base_url": None, "api_key": KEYS}
        with pytest.raises(BatchesPending):
            load(user, assistant, driver="batch", detach=True, **given)
        addresses = [f"--base-url={role}={one.url}/v1" for role, one in (("user", user), ("assistant", assistant))]
        keys = [f"--api-key={role}={key}" for role, key in KEYS.items()]
        assert main(["batches", "--responses", "responses", *addresses, *keys]) == 0
        assert "user=anthropic" in capsys.readouterr().out
        with pytest.raises(ServingError, match=r"serving=\{'user': 'anthropic'\}"):
            load(user, assistant, driver="batch", **{**given, "serving": {**serving, "user": serving["assistant"]}})
        while detach:
            try:
                load(user, assistant, driver="batch", detach=True, **given)
                break
            except BatchesPending:
                pass
        assert len(load(user, assistant, **given)) == 2
        assert len(user.digests) == len(set(user.digests))
        assert len(user.submitted) == (2 if detach else 1)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("lacking", ["rehearsal", "server"])
def test_a_role_without_batches_is_told_before_anything_is_paid(lacking: str, assistant: Provider) -> None:
    """A batch run is refused before any call if the serving or the server of one role has no batch API."""
    with BatchProvider(in_turn) as user:
        servings = {"rehearsal": "rehearsal", "server": f"openai@{assistant.openai_url}"}
        serving = {"user": "anthropic", "assistant": servings[lacking]}
        with pytest.raises((RecipeError, ServingError), match=r"role 'assistant'.* no batch API"):
            load(user, assistant, driver="batch", serving=serving, api_key={"user": "k"})
        assert not user.submitted
    assert not assistant.requests


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
        ({"max_concurrency": {"judge": 4}}, "max_concurrency names the role 'judge', which has no serving"),
        ({"max_tokens_per_minute": {"assistent": 4}}, "max_tokens_per_minute: there is no role 'assistent'.*assistant"),
        ({"max_concurrency": {"user": 0}}, "max_concurrency must be a whole number of at least 1, not 0"),
        ({"context_tokens": {"user": "many"}}, "context_tokens must be a whole number"),
        (
            {"serving": "rehearsal", "base_url": None, "api_key": None, "system_role": {"user": True}},
            "system_role is given by role, but serving is not",
        ),
    ],
)
def test_what_does_not_fit_together(given: dict[str, Any], words: str, user: Provider, assistant: Provider) -> None:
    """Settings by role that do not fit together are refused before any call, and no key is shown."""
    with pytest.raises(RecipeError, match=words) as caught:
        load(user, assistant, **given)
    assert "one-key-for-all" not in str(caught.value)
    assert not user.requests
