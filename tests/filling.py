"""Helpers that fill stores through batch APIs, without `datasets` and without long pauses.

They work in this process, or in another process that a test kills.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from huggingface_hub import constants

from consistent_chat import drivers
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import (
    BatchOptions,
    Limits,
    PendingRequests,
    PlanSlice,
    RunStats,
    Usage,
    batch_poll,
)
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.serving.anthropic import Anthropic
from consistent_chat.serving.openai import OpenAI
from consistent_chat.store import Batch, BatchLog, ResponseStore
from tests import forked
from tests.batches import BatchProvider, Fate
from tests.faults import Reply
from tests.provider import Call

processes = forked.Context("tests.filling", "anthropic", "openai", "s3fs")
"""The SDKs take 2 s to import, which many processes here do."""
KEY = "sk-very-secret-1234567890"
KINDS = {"anthropic": "claude-sonnet-4-6", "openai": "gpt-4o-mini"}
STEPS = ("received", "created", "look", "results")
"""Steps of a batch at which the provider can let a process hang."""


def hurry() -> None:
    """Make polls of batches immediate, and shorten the wait before a batch counts as not received."""
    batch_poll.FIRST_PAUSE = batch_poll.LONGEST_PAUSE = 0.01
    batch_poll.SETTLE = 0.05


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses of batch polling for every test."""
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "SETTLE"):
        monkeypatch.setattr(batch_poll, name, getattr(batch_poll, name))
    hurry()


@pytest.fixture
def provider() -> Iterator[BatchProvider]:
    """Run a provider with batch APIs."""
    with BatchProvider() as running:
        yield running


def recipe(kind: str = "anthropic", count: int = 1) -> Recipe:
    """Return a recipe of nine short dialogues, times `count`."""
    return Recipe(model=KINDS[kind], num_dialogs_per_intent=count, num_turns_per_dialog=2)


def opened(kind: str, url: str) -> Any:
    """Open a serving that calls the local provider."""
    if kind == "anthropic":
        return Anthropic(base_url=url, api_key=KEY, timeout=5.0)
    return OpenAI(base_url=f"{url}/v1", api_key=KEY, timeout=5.0)


def filled(
    place: str,
    url: str,
    kind: str = "anthropic",
    made: Recipe | None = None,
    options: Mapping[str, Any] | None = None,
    stats: RunStats | None = None,
    limits: Mapping[str, Any] | None = None,
    open_serving: Any = None,
    **options_of_batches: Any,
) -> None:
    """Fill a store with the responses for a recipe, through the batch API of the provider at a URL."""
    made = made or recipe(kind)
    bounds = Limits(**(limits or {}))
    missing = PendingRequests([PlanSlice(made, range(len(Plan(made))))], bounds.max_draws)
    drivers.fill(
        missing,
        ResponseStore(place, options),
        BatchLog(place, options),
        open_serving or (lambda: opened(kind, url)),
        bounds,
        stats or RunStats(),
        Usage(),
        BatchOptions(kind, **options_of_batches),
    )


def replayed(place: str, made: Recipe, options: Mapping[str, Any] | None = None) -> list[Dialogue]:
    """Return the dialogues that a store contains."""
    store = ResponseStore(place, options)
    return list(drivers.run(made, range(len(Plan(made))), store, None, Limits(), RunStats()))


def online(place: str, provider: BatchProvider, kind: str, made: Recipe, count: int | None = None) -> list[Dialogue]:
    """Return the dialogues of a recipe, or the first `count` of them, made with one call per request."""
    indices = range(len(Plan(made)) if count is None else count)
    opener = lambda: opened(kind, provider.url)  # noqa: E731
    return list(drivers.run(made, indices, ResponseStore(place), opener, Limits(), RunStats()))


def without_ids(dialogues: list[Dialogue]) -> list[Dialogue]:
    """Return the dialogues without the provider's ids of failed responses, because these ids count its calls."""
    return [
        dialogue._replace(failed=tuple(f._replace(response=replace(f.response, id="")) for f in dialogue.failed))
        for dialogue in dialogues
    ]


def entries(place: str, options: Mapping[str, Any] | None = None) -> list[Batch]:
    """Return the entries of a store's log of batches."""
    return BatchLog(place, options).read()


class Filler:
    """A separate process that fills a store. With a home folder it acts as a separate machine."""

    def __init__(self, place: str, provider: BatchProvider, kind: str, home: str | None = None, **given: Any) -> None:
        self._process = processes.Process(target=_fill, args=(home, place, provider.url, kind, given), daemon=True)
        self._process.start()

    def kill(self) -> None:
        """Kill the process at once."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        assert self._process.exitcode == -signal.SIGKILL

    def finish(self) -> None:
        """Wait until the process ends without an error."""
        self._process.join(300)
        assert self._process.exitcode == 0


def killed_at(step: str, provider: BatchProvider, place: str, kind: str, **given: Any) -> None:
    """Start a process that fills a store, and kill it when the provider has reached a step."""
    provider.stop_at(step)
    filler = Filler(place, provider, kind, **given)
    assert provider.stopped.wait(120)
    filler.kill()
    provider.go_on()


def _fill(home: str | None, place: str, url: str, kind: str, given: Mapping[str, Any]) -> None:
    hurry()
    if home is not None:
        constants.HF_HOME = home
    filled(place, url, kind, **given)


def each_kind(test: Callable[..., None]) -> Any:
    """Run a test with each protocol. The second protocol runs with the slow tests."""
    return pytest.mark.slow_after(1)(pytest.mark.parametrize("kind", KINDS)(test))


def fated(fate: Fate, place: str, kind: str = "anthropic", **given: Any) -> BatchProvider:
    """Fill a store from a provider with this fate, and return the provider."""
    with BatchProvider(fate) as provider:
        filled(place, provider.url, kind, **given)
    return provider


def first_time(fate: str | Reply) -> Fate:
    """Return a fate that strikes each request the first time it is sent."""
    return lambda call: fate if call.attempt == 0 else None


def some(fate: str | Reply, attempts: int = 1) -> Fate:
    """Return a fate that strikes a third of the prompts, the first `attempts` times they are sent."""

    def befall(call: Call) -> str | Reply | None:
        chosen = call.texts[call.names[0]].rpartition(" ")[2][0] in "01234"
        return fate if chosen and call.attempt < attempts else None

    return befall
