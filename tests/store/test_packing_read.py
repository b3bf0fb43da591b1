"""Tests that runs and readers continue while their store is compacted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from consistent_chat.request import Response
from consistent_chat.store import ResponseStore, compact, verify
from consistent_chat.store.index import StoreReader
from consistent_chat.store.location import StoreLocation
from consistent_chat.store.store import explain_miss
from tests.stored import asked, fill, lacks, said

WAYS_TO_READ: dict[str, Callable[[ResponseStore], object]] = {
    "finding": lambda store: lacks(store, 0, 1, 2) or None,
    "listing": lambda store: len(list(store.records())) == 3 or "records are missing",
    "saying what is nearest": lambda store: "Topic 9" not in explain_miss(asked(8), 0, store) or None,
}


@pytest.mark.parametrize("way", WAYS_TO_READ)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["local", "remote"])
def test_a_store_that_is_open_while_packs_vanish_goes_on(place: str, remote: str, way: str, elsewhere: bool) -> None:
    """An open store finds its records in the new packs after compaction has removed the old ones."""
    url = remote if elsewhere else place
    for number in range(3):
        fill(url, number)
    store = ResponseStore(url)
    compact(url)
    assert WAYS_TO_READ[way](store) in (None, True)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("refresh", [False, True], ids=["record", "refresh"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["local", "remote"])
def test_a_run_goes_on_while_its_store_is_tidied(place: str, remote: str, refresh: bool, elsewhere: bool) -> None:
    """During compactions, a run finds all responses it has kept; a refresh finds only those."""
    url = remote if elsewhere else place
    fill(url, 0, 1)
    store = ResponseStore(url, refresh=refresh)
    for number in range(2, 8):
        store.keep(asked(number), said(number))
        store.pack()
        compact(url)
        assert lacks(store, *range(2, number + 1)) == []
        assert lacks(store, 0, 1) == ([0, 1] if refresh else [])
    new = asked(0 if refresh else 8)
    store.keep(new, Response("new"))
    compact(url)
    store.close()
    compact(url)
    assert store.find(new) == ResponseStore(url).find(new) == Response("new")
    assert lacks(ResponseStore(url), *range(1, 8)) == []
    assert verify(url).faults == []


def test_a_run_that_ends_as_its_store_is_tidied_ends_well(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends without an error if its last pack is replaced before the store has opened it."""
    fill(place, 1)
    store = ResponseStore(place)
    store.keep(asked(2), said(2))
    send = StoreLocation.send

    def and_tidy(self: StoreLocation, path: Path) -> None:
        send(self, path)
        monkeypatch.setattr(StoreLocation, "send", send)
        compact(place)

    monkeypatch.setattr(StoreLocation, "send", and_tidy)
    store.close()
    assert lacks(store, 1, 2) == lacks(ResponseStore(place), 1, 2) == []
    assert list(Path(place).glob("journals/*.jsonl")) == []


class Overtaken(StoreReader):
    """A reader whose store is compacted again after each of its first three readings."""

    numbers: Sequence[int] = (1, 2, 3)

    def _read(self) -> None:
        super()._read()
        if self.numbers:
            first, *self.numbers = self.numbers
            pack_anew(self._places[0].url, first)


def test_a_reader_follows_a_store_that_is_packed_anew_again_and_again(place: str) -> None:
    """A reader finds a record although the packs are replaced after its first, second and third reading."""
    fill(place, 0)
    reader = Overtaken([StoreLocation(place)])
    found = reader.find(asked(0).key)
    assert found is not None
    assert found.answer() == said(0)
    assert reader.numbers == []


def pack_anew(place: str, number: int) -> None:
    """Add a response, and compact all responses into one new pack."""
    fill(place, number)
    compact(place)
