"""A store against a dictionary: whatever is done to it, in any order, it gives back what was kept, to the last byte.

The rules are those of its documentation: the first place that has a response to a request decides; of several responses
of a place the one with the highest generation holds, and among those the one with the smallest digest.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consistent_chat.request import Response
from consistent_chat.store import ResponseStore, compact, verify
from consistent_chat.store.record import Record, to_line
from tests.store.test_record import RESPONSES
from tests.stored import asked

NUMBERS = st.integers(0, 4)
PLACES = ("one", "other")


class Stores(RuleBasedStateMachine):
    """Two places, and at most one store that is open over them, the first of which it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.kept: dict[str, dict[int, list[Record]]] = {name: {} for name in PLACES}
        self.order: tuple[str, ...] = PLACES
        self.store: ResponseStore | None = None
        self.refresh = False
        self.own: dict[int, Record] = {}

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.crash(0, 0) if self.store else None
        shutil.rmtree(self.root)

    def place(self, name: str) -> str:
        """Return a place's path."""
        return str(self.root / name)

    def expected(self, number: int) -> Record | None:
        """Return the record that holds for a request."""
        if self.refresh:
            return self.own.get(number)
        return self.recorded(number)

    def recorded(self, number: int) -> Record | None:
        """Return the same of all that is recorded, for every reader."""
        found = [self.kept[name][number] for name in self.order if number in self.kept[name]]
        if not found:
            return None
        return min(found[0], key=lambda record: (-record.generation, record.digest))

    @initialize(response=RESPONSES)
    def begin(self, response: Response) -> None:
        """Both places are stores: one that a store only reads must be there."""
        for name in PLACES:
            store = ResponseStore(self.place(name))
            store.keep(asked(99), response)
            store.close()
            self.kept[name][99] = [Record.of(asked(99), response)]

    @precondition(lambda self: self.store is None)
    @rule(order=st.permutations(PLACES), layers=st.integers(1, 2), refresh=st.booleans())
    def open(self, order: list[str], layers: int, refresh: bool) -> None:
        """Over one place, or over both in either order."""
        self.order, self.refresh, self.own = tuple(order[:layers]), refresh, {}
        self.store = ResponseStore([self.place(name) for name in self.order], refresh=refresh)

    @precondition(lambda self: self.store is not None)
    @rule(number=NUMBERS, response=RESPONSES)
    def keep(self, number: int, response: Response) -> None:
        """Keep a response as drivers do, where none is found; what comes back is what was kept."""
        assert self.store is not None
        if self.store.find(asked(number)) is not None:
            return
        before = self.recorded(number) if self.refresh else None
        record = Record.of(asked(number), response, before.generation + 1 if before else 0)
        assert self.store.keep(asked(number), response) == response
        self.kept[self.order[0]].setdefault(number, []).append(record)
        self.own[number] = record

    @precondition(lambda self: self.store is not None)
    @rule(number=NUMBERS)
    def read(self, number: int) -> None:
        """Find a response, or none."""
        assert self.store is not None
        expected = self.expected(number)
        assert self.store.find(asked(number)) == (expected and expected.kept.answer())

    @precondition(lambda self: self.store is not None)
    @rule()
    def close(self) -> None:
        """Close the store, which packs what it has kept."""
        assert self.store is not None
        self.store.close()
        self.store, self.refresh, self.order = None, False, PLACES

    @precondition(lambda self: self.store is not None)
    @rule(number=NUMBERS, torn=st.integers(0, 200))
    def crash(self, number: int, torn: int) -> None:
        """Kill the writer, in the middle of a line or after it: its lock goes, and nothing is packed."""
        assert self.store is not None
        self.store._flusher.stop()
        writer = self.store._writer
        if writer is not None:
            os.write(writer._file, to_line(Record.of(asked(number), Response("torn")))[:torn])
            writer._release()
            os.close(writer._file)
        self.store, self.refresh, self.order = None, False, PLACES

    @precondition(lambda self: self.store is not None)
    @rule()
    def pack(self) -> None:
        """Pack while the store goes on."""
        assert self.store is not None
        self.store.pack()

    @precondition(lambda self: self.store is None)
    @rule(name=st.sampled_from(PLACES))
    def compact(self, name: str) -> None:
        """Pack what is abandoned, and merge packs."""
        compact(self.place(name))

    @precondition(lambda self: self.store is None)
    @rule(into=st.sampled_from(PLACES))
    def merge(self, into: str) -> None:
        """Copy the packs of one place into the other, as often as one likes."""
        (source,) = set(PLACES) - {into}
        compact(self.place(source))
        for pack in (self.root / source / "packs").glob("*.parquet"):
            shutil.copy(pack, self.root / into / "packs" / pack.name)
        for number, records in self.kept[source].items():
            own = self.kept[into].setdefault(number, [])
            own += [record for record in records if record not in own]

    @invariant()
    def nothing_is_lost(self) -> None:
        """A store that is opened now finds all that was ever kept, and verify has no fault with it."""
        if self.store is not None:
            return
        for order in (PLACES, PLACES[::-1]):
            self.order = order
            store = ResponseStore([self.place(name) for name in order])
            for number in (*range(5), 99):
                expected = self.recorded(number)
                assert store.find(asked(number)) == (expected and expected.kept.answer())
        for name in PLACES:
            assert verify(self.place(name)).faults == []


class TestStores(Stores.TestCase):
    """A few walks; `-m slow` takes many long ones."""

    settings = settings(max_examples=3, stateful_step_count=8, deadline=None)


@pytest.mark.slow
class TestManyStores(Stores.TestCase):
    """The same at length."""

    settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
