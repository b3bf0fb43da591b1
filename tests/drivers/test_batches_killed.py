"""After a batch build is killed, the next run continues on any machine and submits no request twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from consistent_chat.store import ResponseStore
from tests import filling
from tests.batches import BatchProvider
from tests.filling import KINDS, STEPS, entries, filled, hurry, killed_at, processes, recipe, replayed
from tests.stored import is_killed

each_kind = pytest.mark.parametrize("kind", KINDS)


hurried, provider = filling.hurried, filling.provider


def assert_asked_once(provider: BatchProvider, place: str, kind: str) -> None:
    """Assert that each request was in one batch, and that each answer is stored once."""
    assert len(replayed(place, recipe(kind))) == 9
    assert len(set(provider.digests)) == len(provider.digests) == 18
    assert len(list(ResponseStore(place).records())) == 18
    assert not any(entry.is_open for entry in entries(place))


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("machine", ["same", "other"])
def test_killed_at_a_step_of_the_provider(
    provider: BatchProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, step: str, machine: str
) -> None:
    """A run killed while it submits, waits or fetches is continued by the next run on the same or another machine."""
    place = str(tmp_path / "responses")
    killed_at(step, provider, place, kind)
    if machine == "other":
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "other"))
    filled(place, provider.url, kind)
    assert_asked_once(provider, place, kind)


@pytest.mark.slow
@each_kind
def test_killed_again_and_again(provider: BatchProvider, tmp_path: Path, kind: str) -> None:
    """A build that is killed at every step in turn still submits each request once."""
    place = str(tmp_path / "responses")
    for step in STEPS:
        killed_at(step, provider, place, kind)
    filled(place, provider.url, kind)
    assert_asked_once(provider, place, kind)


@pytest.mark.slow
def test_a_batch_of_another_user_is_not_taken_for_ours(provider: BatchProvider, tmp_path: Path) -> None:
    """Another user's batch with the same size, time and account is not mistaken for the run's own."""
    place = str(tmp_path / "responses")
    killed_at("received", provider, place, "anthropic")
    other = recipe().__class__(model=recipe().model, num_dialogs_per_intent=1, num_turns_per_dialog=2, seed=1)
    filled(str(tmp_path / "theirs"), provider.url, made=other)
    filled(place, provider.url)
    assert len(set(provider.digests)) == len(provider.digests) == 36
    assert len(replayed(place, recipe())) == 9


@pytest.mark.slow
@each_kind
def test_killed_as_it_begins_to_touch_any_file_of_the_store(tmp_path: Path, kind: str) -> None:
    """A run killed at a file operation of the store is continued; each protocol tests every fourteenth operation."""
    step, was_killed = 7 * [*KINDS].index(kind), True
    while was_killed:
        place = str(tmp_path / str(step) / "responses")
        with BatchProvider() as provider:
            was_killed = is_killed(step, place, _filled, place, provider.url, kind, processes=processes)
            filled(place, provider.url, kind)
            assert_asked_once(provider, place, kind)
        step += 14
    assert step > 60


def _filled(place: str, url: str, kind: str) -> None:
    hurry()
    filled(place, url, kind)
