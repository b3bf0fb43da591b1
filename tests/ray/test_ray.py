"""A store that a Ray cluster fills: two real nodes on this machine, and a provider of models that counts calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.cli import main
from consistent_chat.commands.open import warm as local_warm
from consistent_chat.drivers import batch_poll
from consistent_chat.errors import BatchesPending, BudgetSpent, RecipeError, ServingError, StoreError
from tests.batches import BatchProvider
from tests.dialogue.turns import in_turn, kind
from tests.provider import Call, Provider, Reply
from tests.ray import WAIT, Store
from tests.stored import heed_signals

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray sends no statistics of its use
ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster

from consistent_chat.ray import warm
from consistent_chat.request import Response
from tests import ROOT

MODEL = "claude-sonnet-4-6"
DIALOGUES, CALLS = 36, 72
RECIPE: dict[str, Any] = {"model": MODEL, "num_dialogs_per_intent": 4, "num_turns_per_dialog": 2}


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Run a provider of models that takes 0.05 s per answer."""
    with Provider(delay=0.05) as running:
        yield running


def calling(provider: Provider) -> dict[str, Any]:
    """Return the options that select a provider."""
    return {"serving": "anthropic", "base_url": provider.url, "api_key": "planted-key"}


def replayed(store: Store, folder: Path, **fields: Any) -> bytes:
    """Return the bytes of the dataset that a user without a key builds from a store."""
    where = {"mode": "replay", "cache_dir": str(folder / "cache"), "split": "train", **fields}
    dataset = load_dataset("consistent_chat", **{**RECIPE, **where}, **store)
    dataset.to_parquet(str(folder / "made.parquet"))
    return (folder / "made.parquet").read_bytes()


def built(folder: Path) -> bytes:
    """Return the bytes of the same dataset, built by one process."""
    folder.mkdir()
    with Provider() as provider:
        where = {"responses": str(folder / "responses"), "cache_dir": str(folder / "cache"), "split": "train"}
        load_dataset("consistent_chat", **RECIPE, **calling(provider), **where)
    return replayed({"responses": str(folder / "responses")}, folder)


def test_what_a_cluster_has_filled_is_what_one_process_builds(
    cluster: Cluster, store: Store, provider: Provider, tmp_path: Path
) -> None:
    """A cluster gives the same bytes as one process, with a store in a folder and in a bucket.

    Filling the store again makes no call.
    """
    stats = warm(**RECIPE, **store, **calling(provider))["train"]
    assert (stats.dialogues, stats.calls, len(provider.requests)) == (DIALOGUES, CALLS, CALLS)
    assert replayed(store, tmp_path) == built(tmp_path / "alone")
    assert warm(**RECIPE, **store, **calling(provider))["train"].calls == 0
    assert len(provider.requests) == CALLS


def test_dialogues_made_turn_by_turn(cluster: Cluster, folder: Store, tmp_path: Path) -> None:
    """Each role can have its own server, which receives only the requests of its role.

    The rows have the same bytes as those of one process.
    """
    form = {"users": "turn_by_turn", "answers": "turn_by_turn", "user_model": "claude-haiku-4-5"}
    with Provider(in_turn, delay=0.02) as user, Provider(in_turn, delay=0.02) as assistant:
        servers = {"user": user, "assistant": assistant}
        called = {
            "serving": dict.fromkeys(servers, "anthropic"),
            "base_url": {role: server.url for role, server in servers.items()},
            "api_key": dict.fromkeys(servers, "planted-key"),
        }
        stats = warm(**RECIPE, **form, **folder, **called, max_concurrency={"assistant": 4})["train"]
        assert (stats.dialogues, stats.calls) == (DIALOGUES, 2 * CALLS)
        assert {kind(call) for call in user.requests} == {"user_message"}
        assert {kind(call) for call in assistant.requests} == {"answer"}
        assert assistant.in_flight_peak <= 4
        alone = {"responses": str(tmp_path / "alone"), "cache_dir": str(tmp_path / "alone-cache"), "split": "train"}
        load_dataset("consistent_chat", **RECIPE, **form, **alone, **called)
    (tmp_path / "one").mkdir()
    one = replayed({"responses": alone["responses"]}, tmp_path / "one", **form)
    assert replayed(folder, tmp_path, **form) == one


def thoughtful(call: Call) -> Reply:
    """Return an answer with reasoning in a separate block. The reasoning has a lone surrogate."""
    thought = {"type": "thinking", "thinking": f"I think \ud83d of {call.mark}."}
    content = [thought, {"type": "text", "text": json.dumps(call.texts)}]
    return Reply.body(200, json.dumps({"type": "message", "content": content, "stop_reason": "end_turn"}))


def test_thoughts_are_those_that_one_process_records(cluster: Cluster, folder: Store, tmp_path: Path) -> None:
    """Reasoning that workers store gives rows with the same bytes as those of one process."""
    few = {**RECIPE, "num_dialogs_per_intent": 1, "reasoning": True}
    alone = {"responses": str(tmp_path / "alone"), "cache_dir": str(tmp_path / "cache"), "split": "train"}
    with Provider(thoughtful) as provider:
        assert warm(**few, **folder, **calling(provider))["train"].dialogues == 9
        live = load_dataset("consistent_chat", **few, **alone, **calling(provider))
    live.to_parquet(str(tmp_path / "live.parquet"))
    assert all(thought.startswith("I think \\ud83d of ") for thought in live["reasoning"])
    assert replayed(folder, tmp_path, **few) == (tmp_path / "live.parquet").read_bytes()


def test_a_node_that_dies_half_way_costs_what_it_had_in_flight(
    cluster: Cluster, other_node: Any, store: Store, tmp_path: Path
) -> None:
    """If a node dies, another node continues its shard, and the result has the same bytes.

    Only the calls that were in flight on the dead node are paid for again.
    """
    half = threading.Event()
    with Provider(lambda call: half.set() if call.number > CALLS // 2 else None, delay=0.2) as provider:

        def kill() -> None:
            assert half.wait(WAIT)
            cluster.remove_node(other_node, allow_graceful=False)

        killing = threading.Thread(target=kill)
        killing.start()
        stats = warm(**RECIPE, **store, **calling(provider), max_concurrency=4)["train"]
        killing.join()
        again = Counter(call.attempt for call in provider.requests)
    assert stats.dialogues == DIALOGUES
    assert again[0] == CALLS
    assert len(provider.requests) - CALLS <= 2  # half of the calls in flight are the dead node's
    assert replayed(store, tmp_path) == built(tmp_path / "alone")


def test_a_worker_that_is_killed_is_replaced(cluster: Cluster, folder: Store, tmp_path: Path) -> None:
    """A killed worker is replaced, and the new worker finds its stored responses."""
    with Provider(delay=0.2) as provider:
        serving = Suicidal(provider.url, str(tmp_path / "dead"))
        stats = warm(**RECIPE, **folder, serving=serving, max_concurrency=4)["train"]
        assert stats.dialogues == DIALOGUES
        assert Path(tmp_path, "dead").exists()
        assert CALLS <= len(provider.requests) <= CALLS + 2


class Suicidal:
    """A serving whose process kills itself once, at the tenth call."""

    def __init__(self, url: str, mark: str) -> None:
        self.url, self.mark, self.calls = url, mark, 0

    async def answer(self, request: Any) -> Response:
        """Return the answer of the provider, or kill the process."""
        from consistent_chat.serving.anthropic import Anthropic

        self.calls += 1
        if self.calls == 10 and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if not hasattr(self, "client"):
            self.client = Anthropic(base_url=self.url, api_key="a-key", timeout=600.0, max_concurrency=4)
        return await self.client.answer(request)


def test_no_more_calls_are_in_flight_than_the_one_limit_says(cluster: Cluster, folder: Store) -> None:
    """`max_concurrency` limits the calls of both nodes together, and both nodes make calls."""
    with Provider(delay=0.2) as provider:
        warm(**RECIPE, **folder, **calling(provider), max_concurrency=5)
        assert 2 < provider.in_flight_peak <= 5


def test_a_budget_of_calls_is_the_clusters(cluster: Cluster, folder: Store, provider: Provider, tmp_path: Path) -> None:
    """`max_calls` limits the calls of all workers together exactly.

    Calls that one shard does not use are left to the next shard, and a rerun continues.
    """
    with pytest.raises(BudgetSpent, match=r"max_calls=50 is reached.*rerun to resume"):
        warm(**RECIPE, **folder, **calling(provider), max_calls=50)
    assert len(provider.requests) == 50
    assert warm(**RECIPE, **folder, **calling(provider), max_calls=CALLS - 50)["train"].dialogues == DIALOGUES
    assert len(provider.requests) == CALLS


def test_a_budget_of_dollars_is_the_clusters(cluster: Cluster, folder: Store, provider: Provider) -> None:
    """`max_cost` is spent to within the cost of one call.

    Workers wait for each other's calls in flight.
    """
    reached = r"max_cost=0\.03 is reached: \$0\.0[23]\d+ is spent, \$0\.0000 is reserved"
    with pytest.raises(BudgetSpent, match=reached) as told:
        warm(**RECIPE, **folder, **calling(provider), max_cost=0.03)
    spent = float(str(told.value).partition(": $")[2].partition(" is spent")[0])
    assert abs(spent - 0.03) <= spent / len(provider.requests) + 0.0001


def test_the_pace_is_the_clusters(cluster: Cluster, folder: Store) -> None:
    """The rate limit applies to all shards and nodes together: six calls at one per second take five intervals."""
    times: list[float] = []
    with Provider(lambda call: times.append(time.monotonic())) as provider:
        few = {**RECIPE, "num_dialogs_per_intent": 1, "intents": ["simulation", "educational", "transaction"]}
        warm(**few, **folder, **calling(provider), max_requests_per_minute=60)
    assert len(times) == 6
    assert times[-1] - times[0] > 5 - 1


def test_what_a_batch_has_is_not_asked_again(cluster: Cluster, folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster waits for a pending batch, and then requests only what is missing.

    Both count towards the same budget.
    """
    monkeypatch.setattr(batch_poll, "FIRST_PAUSE", 0.01)
    few = {**RECIPE, "num_dialogs_per_intent": 1}
    with BatchProvider(looks=2) as provider:
        with pytest.raises(BatchesPending):
            local_warm(**few, **folder, **calling(provider), driver="batch", detach=True)
        with pytest.raises(BudgetSpent):
            warm(**few, **folder, **calling(provider), max_calls=12)
        assert (len(provider.digests), len(provider.online)) == (9, 3)
        stats = warm(**few, **folder, **calling(provider))["train"]
    assert (stats.dialogues, stats.calls) == (9, 6)
    assert (len(provider.digests), len(provider.online)) == (9, 9)


def test_a_refused_key_is_one_clear_error(cluster: Cluster, folder: Store, provider: Provider) -> None:
    """A refused key raises one error, and all workers stop at once."""
    with pytest.raises(ServingError, match="invalid x-api-key") as caught:
        warm(**RECIPE, **folder, serving="anthropic", base_url=provider.url, api_key="wrong-key")
    assert "wrong-key" not in str(caught.value)
    assert len(provider.requests) <= 30


def test_a_fault_in_a_workers_own_code_is_one_clear_error(cluster: Cluster, folder: Store) -> None:
    """An exception in a serving raises one error with its type and its text."""
    with pytest.raises(ServingError, match="Broken failed with ZeroDivisionError: division by zero"):
        warm(**RECIPE, **folder, serving=Broken())


class Broken:
    """A serving with a programming error."""

    async def answer(self, request: Any) -> Response:
        """Raise ZeroDivisionError."""
        return Response(str(1 / 0))


def test_a_serving_that_cannot_be_sent_is_said_before_anything_is_called(cluster: Cluster, folder: Store) -> None:
    """A serving that cannot be pickled, for example because of a lock, raises an error before any call."""
    with pytest.raises(RecipeError, match=r"The serving Locked cannot be sent to Ray's workers: .*lock"):
        warm(**RECIPE, **folder, serving=Locked())


class Locked(Broken):
    """A serving with a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def test_secrets_are_neither_said_nor_shown(
    cluster: Cluster, folder: Store, provider: Provider, capfd: pytest.CaptureFixture[str]
) -> None:
    """The key is in none of Ray's logs and in no output."""
    few = {**RECIPE, "num_dialogs_per_intent": 1, "intents": ["simulation"]}
    warm(**few, **folder, **calling(provider))
    assert {call.headers["authorization"] for call in provider.requests} == {"Bearer planted-key"}
    logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    texts = [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
    assert texts
    assert not any(b"planted-key" in text for text in texts)
    assert "planted-key" not in "".join(capfd.readouterr())


def test_what_cannot_be_shared_is_said(cluster: Cluster) -> None:
    """A store in memory is refused, because only one process can reach it.

    The mode `refresh` is refused, because it would pay again for the responses of a dead worker.
    """
    with pytest.raises(RecipeError, match="memory://store is in the memory of one process"):
        warm(**RECIPE, serving="rehearsal", responses="memory://store")
    with pytest.raises(RecipeError, match="mode='refresh' cannot be used with Ray"):
        warm(**RECIPE, serving="rehearsal", mode="refresh")


def test_without_a_serving_it_is_a_check(cluster: Cluster, folder: Store) -> None:
    """Without a serving, missing responses raise an error, as in a build."""
    with pytest.raises(StoreError, match="serving="):
        warm(**RECIPE, **folder)


def test_ctrl_c_waits_for_all_workers_and_the_next_run_goes_on(
    cluster: Cluster, folder: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C stops a run of the command line on a cluster at an address, and keeps all responses.

    The next run makes only the missing calls.
    """
    options = ["--num-dialogs-per-intent", "4", "--num-turns-per-dialog", "2", "--model", MODEL]
    half = threading.Event()
    with Provider(lambda call: half.set() if call.number > CALLS // 2 else None, delay=0.3) as provider:
        options += ["--serving", "anthropic", "--base-url", provider.url, "--api-key", "a-key"]
        options += ["--responses", folder["responses"], "--max-concurrency", "4"]
        command = [sys.executable, "-m", "consistent_chat", "warm", *options, "--ray", cluster.address]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heed_signals
        ) as running:
            assert half.wait(WAIT)
            running.send_signal(signal.SIGINT)
            said = running.communicate(timeout=WAIT)[1]
        assert running.returncode == 130, said
        assert "Stopped. All answers are kept; rerun to resume." in said
        assert "Traceback" not in said
        assert CALLS // 2 < len(provider.requests) < CALLS
        assert main(["warm", *options, "--ray"]) == 0
        assert len(provider.requests) == CALLS
    assert f"warmed train: {DIALOGUES} dialogues" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_said_soon() -> None:
    """An address without a cluster gives an error in a process that is not connected to Ray."""
    command = [sys.executable, "-m", "consistent_chat", "warm", "demo", "--ray", "127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, cwd=ROOT)
    assert done.returncode == 1
    assert "Cannot connect to Ray at 127.0.0.1:1: [Errno" in done.stderr
