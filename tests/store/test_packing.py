"""Tests of compaction: it merges small packs and journals into few large packs and loses nothing at any time."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consistent_chat.errors import DamagedRecord, StoreError
from consistent_chat.request import Response
from consistent_chat.store import ResponseStore, compact, maintenance, verify
from consistent_chat.store.location import StoreLocation
from consistent_chat.store.pack import Pack, write_pack
from consistent_chat.store.record import Record
from tests.stored import Moody, asked, calm, files, fill, forget, is_killed, kill_a_writer, lacks, processes, said

RECORDS = st.builds(
    lambda number, text, generation: Record.of(asked(number), Response(text), generation),
    st.integers(0, 5),
    st.sampled_from(["one", "two", "three"]),
    st.integers(0, 2),
)
PACKS = st.lists(st.lists(RECORDS, min_size=1, max_size=4), max_size=6)


def pack(place: str, *contents: Sequence[Record]) -> None:
    """Write one pack into a store for each of these lists of records."""
    for content in contents:
        write_pack(content, Path(place, "packs"))


def sizes(place: str) -> list[int]:
    """Return the number of records in each pack of a store, in ascending order."""
    return sorted(len(Pack(path)) for path in Path(place).glob("packs/[!.]*"))


def digests(place: str) -> list[str]:
    """Return the digests of all records, sorted."""
    return sorted(record.digest for record in ResponseStore(place).records())


def holding(place: str) -> list[Response | None]:
    """Return the response that a reader finds for each of the requests 0 to 5."""
    store = ResponseStore(place)
    return [store.find(asked(number)) for number in range(6)]


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(contents=PACKS, journal=st.lists(RECORDS, max_size=3))
def test_tidying_makes_one_pack_of_many_and_changes_no_answer(
    contents: list[list[Record]], journal: list[Record]
) -> None:
    """Compaction makes one pack that has every record once, including superseded ones, and changes no lookup.

    A second compaction changes nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        fill(folder, 9)
        pack(folder, *contents)
        store = ResponseStore(folder)
        for record in journal:
            store.keep(asked(int(record.asked()["messages"][0]["content"].split()[1][:-1])), record.kept.answer())
        store._writer and store._writer.close()  # as a killed writer leaves it
        before, answers = set(digests(folder)), holding(folder)
        compact(folder)
        assert digests(folder) == sorted(before)
        assert len(files(folder, "packs")) == 1
        assert files(folder, "journals") == []
        assert holding(folder) == answers
        after = files(folder, "packs")
        compact(folder)
        assert files(folder, "packs") == after


@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), max_size=8))
@example(lengths=[2, 9, 2, 5, 12])
@example(lengths=[1, 1, 1, 1, 9])
def test_full_packs_are_left_and_others_come_together_once_and_for_all(lengths: list[int]) -> None:
    """Full packs are not touched, no merged pack exceeds the limit, and no two remaining packs fit into one."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(maintenance, "FULL", 10)
        Path(folder, "packs").mkdir()
        for number, length in enumerate(lengths):
            pack(folder, [Record.of(asked(100 * number + row), Response("")) for row in range(length)])
        full = [path for path in files(folder, "packs") if len(Pack(path)) >= 10]
        if lengths:
            compact(folder)
        assert set(full) <= set(files(folder, "packs"))
        assert sum(sizes(folder)) == sum(lengths)
        assert max(sizes(folder), default=0) <= max(10, *lengths, 0)
        assert all(one + other > 10 for one, other in zip(sizes(folder), sizes(folder)[1:]))


def test_what_was_done_is_told(place: str) -> None:
    """The result gives the counts before and after; a journal in use is left to its writer."""
    for number in range(3):
        fill(place, number)
    kill_a_writer(place, after=2)
    writer = ResponseStore(place)
    writer.keep(asked(50), said(50))
    assert str(compact(place)) == "3 packs and 2 journals are now 1 packs and 1 journals still being written."
    assert lacks(ResponseStore(place), 0, 1, 2, 50) == []
    writer.close()
    assert lacks(ResponseStore(place), 0, 1, 2, 50) == []


def test_no_store_is_none_to_tidy(tmp_path: Path) -> None:
    """Compacting a location without a store is an error and creates nothing, because the name may be mistyped."""
    with pytest.raises(StoreError) as caught:
        compact(str(tmp_path / "respones"))
    assert str(caught.value) == (f"There is no response store at '{tmp_path}/respones'. Check the path for typos.")
    assert list(tmp_path.iterdir()) == []


def test_a_newer_store_is_left_as_it_is(place: str) -> None:
    """Compaction leaves a store of a newer format unchanged, because this version cannot interpret it."""
    fill(place, 1)
    fill(place, 2)
    Path(place, "store.json").write_text('{"consistent_chat_store":2}\n')
    before = files(place, "packs")
    with pytest.raises(StoreError, match="Update consistent_chat"):
        compact(place)
    assert files(place, "packs") == before


def test_a_damaged_pack_is_named_and_nothing_is_replaced(place: str) -> None:
    """If a pack is damaged, compaction raises an error that names it and replaces no pack."""
    for number in range(3):
        fill(place, number)
    before = files(place, "packs")
    data = bytearray(before[1].read_bytes())
    data[len(data) // 3] ^= 1
    before[1].write_bytes(data)
    with pytest.raises(DamagedRecord, match=str(before[1])):
        compact(place)
    assert files(place, "packs") == before


def test_a_remote_store_is_tidied_where_it_lies(remote: str) -> None:
    """Compacting a remote store leaves one pack there, and this machine drops its copies of the deleted packs."""
    for number in range(4):
        fill(remote, number)
    forget()
    compact(remote)
    (name,) = StoreLocation(remote).names()
    assert [path.name for path in StoreLocation(remote).packs.iterdir()] == [name]
    forget()
    assert lacks(ResponseStore(remote), 0, 1, 2, 3) == []
    assert verify(remote).responses == 4


@pytest.mark.slow
@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_tidying_that_is_killed_at_any_step_loses_nothing(place: str, stride: int) -> None:
    """Compaction that is killed before any file is opened, created, renamed or removed loses nothing.

    The next compaction completes the work.
    """
    step = 0
    while is_killed(step, prepared(f"{place} {step}"), compact, f"{place} {step}"):
        assert lacks(ResponseStore(f"{place} {step}"), 0, 1, 2, 4) == []
        compact(f"{place} {step}")
        assert sizes(f"{place} {step}") == [4]
        assert lacks(ResponseStore(f"{place} {step}"), 0, 1, 2, 4) == []
        step += stride
    assert step > 8


def prepared(place: str) -> str:
    """Fill a store with three packs and an abandoned journal, and return its location."""
    for number in range(3):
        fill(place, number)
    store = ResponseStore(place)
    store.keep(asked(4), said(4))
    assert store._writer is not None
    store._writer.close()
    return place


@pytest.mark.slow_after(3)
@pytest.mark.parametrize("act", ["put", "get", "removal"])
@pytest.mark.parametrize("number", range(3))
def test_a_remote_store_that_fails_at_any_step_loses_nothing(remote: str, act: str, number: int) -> None:
    """If a remote operation fails, compaction raises StoreError and loses nothing, and the next one succeeds."""
    prepared(remote)
    forget_copies(remote)
    seen: list[object] = []

    def fail(path: object) -> None:
        seen.append(path)
        if len(seen) > number:
            raise ConnectionResetError(104, "Connection reset by peer")

    setattr(Moody, act, staticmethod(fail))
    try:
        compact(remote)
    except StoreError as error:
        assert "Connection reset by peer" in str(error)  # noqa: PT017
    else:
        assert len(seen) <= number
    calm()
    assert lacks(ResponseStore(remote), 0, 1, 2, 4) == []
    compact(remote)
    assert len(StoreLocation(remote).names()) == 1
    forget()
    assert lacks(ResponseStore(remote), 0, 1, 2, 4) == []


def forget_copies(remote: str) -> None:
    """Remove this machine's copies of packs, but leave the journals that have not been sent."""
    for path in StoreLocation(remote).packs.glob("*"):
        path.unlink()


def test_another_tidying_in_the_midst_of_one_is_no_harm(remote: str) -> None:
    """If a second compaction removes the packs that the first one reads, the first one lists the store again."""
    for number in range(4):
        fill(remote, number)
    forget()

    def meanwhile(path: str) -> None:
        calm()
        compact(remote)
        forget()

    Moody.get = staticmethod(meanwhile)
    compact(remote)
    assert len(StoreLocation(remote).names()) == 1
    assert lacks(ResponseStore(remote), 0, 1, 2, 3) == []


@pytest.mark.slow
def test_two_tidyings_at_once_are_no_harm(place: str) -> None:
    """Three processes that compact a store at the same time succeed and lose nothing."""
    numbers = [number for number in range(16) if number % 7 != 3]
    for number in numbers:
        pack(place, [Record.of(asked(number), said(number))])
    barrier = processes.Barrier(3)
    both = [processes.Process(target=tidy_at, args=(barrier, place), daemon=True) for _ in range(3)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0, 0]
    assert lacks(ResponseStore(place), *numbers) == []
    compact(place)
    assert sizes(place) == [len(numbers)]


def tidy_at(barrier: threading.Barrier, place: str) -> None:
    """Compact a store at the same time as other processes."""
    barrier.wait()
    compact(place)


def test_a_torn_line_is_reported_as_it_is_set_aside(place: str, caplog: pytest.LogCaptureFixture) -> None:
    """Compaction warns of an incomplete line when it sets the line aside; before that, `verify` counts the line."""
    kill_a_writer(place, 3)
    (left,) = files(place, "journals")
    with open(left, "ab") as file:
        file.write(b'{"sha256":"')
    assert verify(place).torn == 1
    assert "1 incomplete lines of killed writers" in str(verify(place))
    with caplog.at_level(logging.WARNING, "consistent_chat"):
        compact(place)
    assert [entry.getMessage() for entry in caplog.records if "is incomplete" in entry.getMessage()]
    assert len(files(place, "torn")) == 1


def test_what_a_killed_packer_has_left_goes_after_a_day(place: str) -> None:
    """Temporary files of a killed packer are removed after a day; another process may still be writing a newer file."""
    fill(place, 1)
    for name, age in (("old", 2 * 86_400), ("new", 60)):
        half = Path(place, "packs", f".{name}.tmp")
        half.write_bytes(b"half")
        os.utime(half, (time.time() - age, time.time() - age))
    compact(place)
    assert [path.name for path in files(place, "packs") if path.suffix == ".tmp"] == [".new.tmp"]
