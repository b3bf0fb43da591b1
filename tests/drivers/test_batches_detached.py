"""Detached runs submit batches, and later runs collect them."""

from __future__ import annotations

import pytest

from consistent_chat.errors import BatchesPending
from consistent_chat.store import ResponseStore
from tests import filling
from tests.batches import BatchProvider
from tests.filling import (
    KINDS,
    each_kind,
    entries,
    filled,
    recipe,
    replayed,
)

hurried, provider = filling.hurried, filling.provider


@each_kind
def test_detached_a_run_submits_and_another_collects(provider: BatchProvider, place: str, kind: str) -> None:
    """Each detached run collects the previous stage and submits the next, until the dataset is complete."""
    with pytest.raises(BatchesPending, match=r"9 requests are submitted.*batch_0000.*Rerun the same command"):
        filled(place, provider.url, kind, waits=False)
    assert provider.asked["look"] == 0
    for requests in (9, 9):
        provider.submitted[-1].looks = 1
        if len(provider.submitted) == 1:
            with pytest.raises(BatchesPending, match=f"{requests} requests are submitted"):
                filled(place, provider.url, kind, waits=False)
    filled(place, provider.url, kind, waits=False)
    assert len(provider.submitted) == 2
    assert len(replayed(place, recipe(kind))) == 9


@each_kind
def test_detached_a_batch_that_has_not_ended_is_left_alone(place: str, kind: str) -> None:
    """A detached run with an unfinished batch raises `BatchesPending` again and submits nothing."""
    with BatchProvider(looks=3) as provider:
        for _ in range(2):
            with pytest.raises(BatchesPending, match="batch_0000"):
                filled(place, provider.url, kind, waits=False)
    assert len(provider.submitted) == 1


@each_kind
def test_who_only_collects_submits_nothing(provider: BatchProvider, place: str, kind: str) -> None:
    """With `submits=False`, a run only collects batches, so an online build can send the remaining requests."""
    filled(place, "http://127.0.0.1:9", kind, submits=False)
    with pytest.raises(BatchesPending):
        filled(place, provider.url, kind, waits=False, limits=None)
    filled(place, provider.url, kind, submits=False)
    assert len(list(ResponseStore(place).records())) == 9
    assert len(provider.submitted) == 1


@each_kind
def test_another_recipe_leaves_a_batch_alone_that_it_does_not_need(
    provider: BatchProvider, place: str, kind: str
) -> None:
    """Another recipe ignores an open batch that it does not need, and shares one that it needs in part."""
    with pytest.raises(BatchesPending):
        filled(place, provider.url, kind, waits=False)
    other = recipe(kind).__class__(model=KINDS[kind], num_dialogs_per_intent=1, num_turns_per_dialog=2, seed=1)
    filled(place, provider.url, kind, other)
    assert [entry.is_open for entry in entries(place)] == [True, False, False]
    filled(place, provider.url, kind, recipe(kind, 2))
    assert len(set(provider.digests)) == len(provider.digests) == 18 + 36
