"""Tests that a writer killed during a flush loses no response."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistent_chat.store import ResponseStore, verify
from tests.store.test_flush import EVERY_FIVE
from tests.stored import fill, is_killed, keep, kill_a_writer, lacks


def check_a_kill(place: str, after: int) -> None:
    """Kill a writer that flushes, and check that all responses it reported are found before and after packing.

    Also check that each key has one response only, and that `verify` finds no fault.
    """
    reported = kill_a_writer(place, after, EVERY_FIVE)
    assert lacks(ResponseStore(place), *reported) == []
    fill(place, -1)
    assert list(Path(place).glob("journals/*.jsonl")) == []
    store = ResponseStore(place)
    assert lacks(store, *reported) == []
    records = {(record.key, record.digest) for record in store.records()}
    assert len(records) == len({key for key, _ in records}) <= len(reported) + 2
    assert verify(place).faults == []


@pytest.mark.slow_after(4)
@pytest.mark.parametrize("after", range(4, 64, 3))
def test_a_writer_that_is_killed_while_it_flushes_loses_nothing(place: str, after: int) -> None:
    """A writer that flushes loses no reported response to `kill -9` at a random point."""
    check_a_kill(place, after)


@pytest.mark.slow
@pytest.mark.parametrize("after", range(200))
def test_two_hundred_writers_that_are_killed_while_they_flush_lose_nothing(place: str, after: int) -> None:
    """200 writers that are killed while they flush lose no reported response; so many kills also hit rare moments."""
    check_a_kill(place, 4 + after % 50)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_writer_that_is_killed_at_any_step_of_a_flush_loses_nothing(place: str, stride: int) -> None:
    """A writer that is killed before any file is opened, created, renamed or removed loses no reported response."""
    step = 0
    while is_killed(step, f"{place} {step}", keep_and_pack, f"{place} {step}"):
        check_that_all_reported_is_there(f"{place} {step}")
        step += stride
    assert step > 10


def check_that_all_reported_is_there(place: str) -> None:
    """Check that all reported responses are found before and after the next run packs them, without any fault."""
    reported = [number for number in range(5) if Path(place, f"reported {number}").exists()]
    assert lacks(ResponseStore(place), *reported) == []
    fill(place, -1)
    assert list(Path(place).glob("journals/*.jsonl")) == []
    assert lacks(ResponseStore(place), -1, *reported) == []
    assert verify(place).faults == []


def keep_and_pack(place: str) -> None:
    """Keep five responses, create a file to report each one, and pack them."""
    store = ResponseStore(place)
    for number in range(5):
        keep(store, number)
        Path(place, f"reported {number}").touch()
    store.pack()
