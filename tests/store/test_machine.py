"""Stateful tests that compare a store with a dictionary: after any operations, it returns exactly what was stored.

The rules are those of the documentation: the first location that has a response to a request decides. Of several
responses in one location, the one with the highest generation is used, and among those the one with the smallest
digest.
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
    """A state machine with two locations and at most one open store, which writes to the first of its locations."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.kept: dict[str, dict[int, list[Record]]] = {name: {} for name in PLACES}
        self.order: tuple[str, ...] = PLACES
        self.store: ResponseStore | None = None
        self.refresh = False
        self.own: dict[int, Record] = {}

    def teardown(self) -> None:
        """Stop the open store, if there is one, and delete all files."""
        self.crash(0, 0) if self.store else None
        shutil.rmtree(self.root)

    def place(self, name: str) -> str:
        """Return the path of a location."""
        return str(self.root / name)

    def expected(self, number: int) -> Record | None:
        """Return the record that the open store must find for a request, or None."""
        if self.refresh:
            return self.own.get(number)
        return self.recorded(number)

    def recorded(self, number: int) -> Record | None:
        """Return the record that a new reader must find for a request, or None."""
        found = [self.kept[name][number] for name in self.order if number in self.kept[name]]
        if not found:
            return None
        return min(found[0], key=lambda record: (-record.generation, record.digest))

    @initialize(response=RESPONSES)
    def begin(self, response: Response) -> None:
        """Create a store in both locations, because a location that is only read must exist."""
        for name in PLACES:
            store = ResponseStore(self.place(name))
            store.keep(asked(99), response)
            store.close()
            self.kept[name][99] = [Record.of(asked(99), response)]

    @precondition(lambda self: self.store is None)
    @rule(order=st.permutations(PLACES), layers=st.integers(1, 2), refresh=st.booleans())
    def open(self, order: list[str], layers: int, refresh: bool) -> None:
        """Open a store over one location, or over both in either order."""
        self.order, self.refresh, self.own = tuple(order[:layers]), refresh, {}
        self.store = ResponseStore([self.place(name) for name in self.order], refresh=refresh)

    @precondition(lambda self: self.store is not None)
    @rule(number=NUMBERS, response=RESPONSES)
    def keep(self, number: int, response: Response) -> None:
        """Keep a response, as drivers do, if none is found, and check that the kept response is returned."""
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
        """Check that the store finds the expected response, or none."""
        assert self.store is not None
        expected = self.expected(number)
        assert self.store.find(asked(number)) == (expected and expected.kept.answer())

    @precondition(lambda self: self.store is not None)
    @rule()
    def close(self) -> None:
        """Close the store, which packs its responses."""
        assert self.store is not None
        self.store.close()
        self.store, self.refresh, self.order = None, False, PLACES

    @precondition(lambda self: self.store is not None)
    @rule(number=NUMBERS, torn=st.integers(0, 200))
    def crash(self, number: int, torn: int) -> None:
        """Simulate a killed writer: write at most 200 bytes of a line, release the lock, and pack nothing."""
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
        """Pack the responses while the store stays open."""
        assert self.store is not None
        self.store.pack()

    @precondition(lambda self: self.store is None)
    @rule(name=st.sampled_from(PLACES))
    def compact(self, name: str) -> None:
        """Compact a location: pack its abandoned journals and merge its packs."""
        compact(self.place(name))

    @precondition(lambda self: self.store is None)
    @rule(into=st.sampled_from(PLACES))
    def merge(self, into: str) -> None:
        """Copy the packs of one location into the other; this may happen any number of times."""
        (source,) = set(PLACES) - {into}
        compact(self.place(source))
        for pack in (self.root / source / "packs").glob("*.parquet"):
            shutil.copy(pack, self.root / into / "packs" / pack.name)
        for number, records in self.kept[source].items():
            own = self.kept[into].setdefault(number, [])
            own += [record for record in records if record not in own]

    @invariant()
    def nothing_is_lost(self) -> None:
        """Check that new stores find everything that was ever kept, and that `verify` finds no fault."""
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
    """A few short runs of the state machine; `-m slow` adds many long ones."""

    settings = settings(max_examples=3, stateful_step_count=8, deadline=None)


@pytest.mark.slow
class TestManyStores(Stores.TestCase):
    """Many long runs of the state machine."""

    settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
