"""The same recipe and responses give the same bytes in every way of building."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.errors import TransportError
from consistent_chat.request import Request, Response
from tests import ROOT, forked
from tests.answers import Answers
from tests.provider import Provider

RECIPE = {"model": "claude-sonnet-4-6", "num_dialogs_per_intent": 5, "num_turns_per_dialog": 3}
DEMO = "4dbe3c6488fdb72faed004443824c33b0f8ced6c64d32787987785558a4d39c1"


def digest(rows: Iterable[Any]) -> str:
    """Return the SHA-256 over all rows, in order."""
    lines = (json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def moody(request: Request, attempt: int) -> Response | Exception | None:
    """Return faults, unusable answers and refusals for some requests; the choice depends on the request alone."""
    mood = int(request.key[-2:], 16)
    if mood < 20 and attempt == 0:
        return TransportError("busy", retry_after=0.0)
    if mood < 60 and request.draw == 0:
        return Response("Let me think about it.")
    return Response("", "refusal") if mood > 250 else None


class InAnyOrder(Answers):
    """Answer after a delay that depends on a seed, so that each seed gives another order of arrival."""

    def __init__(self, seed: int) -> None:
        super().__init__(moody)
        self.seed = seed

    async def answer(self, request: Request) -> Response:
        self.delay = random.Random(f"{self.seed} {request.key}").random() / 100
        return await super().answer(request)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the location of a store that the first build fills."""
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return a function that loads the dataset with a new cache each time."""

    def load(**given: Any) -> Any:
        cache = str(tmp_path_factory.mktemp("cache"))
        return load_dataset("consistent_chat", cache_dir=cache, split="train", **{**RECIPE, **given})

    return load


@pytest.fixture(scope="module")
def first(load: Callable[..., Any], store: str) -> Any:
    """Return the dataset as it was first built, with an empty store."""
    return load(serving=InAnyOrder(0), responses=store)


def parquet(dataset: Any, folder: Path) -> bytes:
    """Return the dataset's Parquet file."""
    dataset.to_parquet(str(folder / "made.parquet"))
    return (folder / "made.parquet").read_bytes()


WAYS: dict[str, dict[str, Any]] = {
    "warm store": {},
    "2 processes": {"num_proc": 2},
    "4 processes": {"num_proc": 4},
    "in memory": {"keep_in_memory": True},
    "replay": {"mode": "replay"},
    "fewer draws": {"max_draws": 1},
}


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("way", WAYS)
def test_a_warm_store_gives_the_same_bytes(
    way: str, first: Any, load: Callable[..., Any], store: str, tmp_path: Path
) -> None:
    """A build from a filled store gives the same rows and Parquet file in every mode and number of processes."""
    made = load(responses=store, **WAYS[way])
    assert digest(made) == digest(first)
    (tmp_path / "one").mkdir()
    assert parquet(made, tmp_path) == parquet(first, tmp_path / "one")


def test_streaming_gives_the_same_rows(first: Any, load: Callable[..., Any], store: str) -> None:
    """Streaming replays the same rows from the same store."""
    assert digest(load(responses=store, streaming=True)) == digest(first)


@pytest.mark.slow_after(3)
@pytest.mark.parametrize("max_concurrency", [1, 7, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_cold_store_gives_the_same_rows(
    seed: int, max_concurrency: int, first: Any, load: Callable[..., Any], tmp_path: Path
) -> None:
    """The rows do not depend on the concurrency or on the order in which answers arrive."""
    made = load(serving=InAnyOrder(seed), responses=str(tmp_path), max_concurrency=max_concurrency)
    assert digest(made) == digest(first)


@pytest.mark.slow
def test_shards_that_were_built_apart_make_one_replay(first: Any, load: Callable[..., Any], tmp_path: Path) -> None:
    """After the intents are built one by one into one store, the whole dataset can be replayed from it."""
    for intent in sorted({row["intent"] for row in first["provenance"]}):
        load(serving=InAnyOrder(3), responses=str(tmp_path), intents=[intent])
    assert digest(load(responses=str(tmp_path), mode="replay")) == digest(first)


def test_the_demo_is_the_same_everywhere() -> None:
    """The demo has a fixed digest in every version of Python, datasets and pyarrow."""
    demo = load_dataset("consistent_chat", "demo", split="train")
    assert digest(demo) == DEMO


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Run a provider that answers after 20 ms."""
    with Provider(delay=0.02) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_build_that_is_killed_and_resumed_gives_the_same_rows(
    seed: int, provider: Provider, load: Callable[..., Any], tmp_path: Path
) -> None:
    """A build that `kill -9` stops at three random moments gives, once resumed, the rows of an undisturbed build."""
    moments = random.Random(seed)
    script = (
        "import consistent_chat; from datasets import load_dataset; import sys, json\n"
        "load_dataset('consistent_chat', split='train', **json.loads(sys.argv[1]))"
    )
    called = {**RECIPE, "serving": "anthropic", "base_url": provider.url, "api_key": "k", "max_concurrency": 4}
    given = json.dumps({**called, "responses": str(tmp_path / "killed"), "cache_dir": str(tmp_path / "cache")})
    for _ in range(3):
        before = len(provider.requests)
        running = forked.start([sys.executable, "-c", script, given], {**os.environ, "PYTHONPATH": str(ROOT)})
        stop = before + moments.randrange(1, 25)
        while len(provider.requests) < stop and running.poll() is None:
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
        running.wait()
    made = load(**called, responses=str(tmp_path / "killed"))
    asked = len(provider.requests)
    assert asked <= 90 + 3 * 4, "only what was in flight is asked twice"
    undisturbed = load(**called, responses=str(tmp_path / "undisturbed"))
    assert digest(made) == digest(undisturbed)
