"""Tests of flushes, which pack responses during a run: every stored response can be found at any time."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.errors import StoreError
from consistent_chat.store import Flush, ResponseStore, verify
from consistent_chat.store.location import StoreLocation
from consistent_chat.store.pack import Pack
from tests.stored import Moody, asked, files, fill, forget, keep, kill_a_writer, lacks, until

EVERY_FIVE = Flush(records=5, seconds=None)


def packed(place: str) -> list[int]:
    """Return the number of responses in each pack of a local store, in ascending order."""
    return sorted(len(Pack(path)) for path in files(place, "packs") if path.suffix == ".parquet")


def test_a_store_packs_every_so_many_responses_while_it_is_open(place: str) -> None:
    """An open store packs its journal after every five responses, so others see packs and the journal stays short."""
    store = ResponseStore(place, flush=EVERY_FIVE)
    for round_ in range(4):
        keep(store, *range(5 * round_, 5 * round_ + 5))
        until(lambda: files(place, "journals") == [])
        assert packed(place) == [5] * (round_ + 1)
    keep(store, 20, 21)
    assert len(files(place, "journals")) == 1
    assert lacks(store, *range(22)) == lacks(ResponseStore(place), *range(22)) == []
    store.close()
    assert packed(place) == [2, 5, 5, 5, 5]


def test_a_remote_store_is_sent_to_while_the_run_goes_on(remote: str) -> None:
    """A remote store receives packs during the run, and another machine finds each response once."""
    store = ResponseStore(remote, flush=EVERY_FIVE)
    keep(store, *range(5))
    until(lambda: StoreLocation(remote).names() != [])
    keep(store, *range(5, 10))
    until(lambda: len(StoreLocation(remote).names()) == 2)
    store.close()
    forget()
    elsewhere = ResponseStore(remote)
    assert lacks(elsewhere, *range(10)) == []
    assert len(list(elsewhere.records())) == 10


@pytest.mark.slow
@given(
    numbers=st.lists(st.integers(0, 40).filter(lambda number: number % 7 != 3), unique=True, max_size=15),
    records=st.integers(1, 4),
    refresh=st.booleans(),
)
def test_what_a_store_has_kept_it_finds_at_every_instant(numbers: list[int], records: int, refresh: bool) -> None:
    """A store finds its responses before, during and after packing; in a refresh it finds only those it kept itself."""
    with tempfile.TemporaryDirectory() as folder:
        fill(folder, *range(0, 42, 7))
        there = [] if refresh else list(range(0, 42, 7))
        store = ResponseStore(folder, refresh=refresh, flush=Flush(records, None))
        for at, number in enumerate(numbers):
            keep(store, number)
            assert lacks(store, *range(42)) == sorted({*range(42)} - {*there, *numbers[: at + 1]})
        store.close()
        assert lacks(store, *numbers) == lacks(ResponseStore(folder), *numbers) == []
        assert files(folder, "journals") == []
        assert {record.generation for record in ResponseStore(folder).records()} <= {0, int(refresh)}


def test_what_was_kept_is_packed_when_its_time_has_come(place: str) -> None:
    """A response is packed after the configured number of seconds, even if no further response arrives."""
    store = ResponseStore(place, flush=Flush(records=1000, seconds=0.02))
    keep(store, 1)
    until(lambda: packed(place) == [1] and files(place, "journals") == [])
    assert lacks(store, 1) == []
    keep(store, 2)
    until(lambda: packed(place) == [1, 1] and files(place, "journals") == [])
    store.close()
    assert lacks(ResponseStore(place), 1, 2) == []


def test_nothing_new_makes_no_pack(place: str) -> None:
    """A flush without new responses writes no pack, however often its interval elapses."""
    store = ResponseStore(place, flush=Flush(records=1000, seconds=0.001))
    store.prepare()
    keep(store, 1)
    until(lambda: packed(place) == [1])
    store.prepare()
    store.close()
    assert packed(place) == [1]
    assert files(place, "journals") == []


def test_a_store_that_is_closed_keeps_again_and_flushes_again(place: str) -> None:
    """A store that was closed can keep and flush further responses."""
    store = ResponseStore(place, flush=EVERY_FIVE)
    for first in (0, 6):
        keep(store, *range(first, first + 5))
        until(lambda: files(place, "journals") == [])
        keep(store, first + 5)
        store.close()
    assert packed(place) == [1, 1, 5, 5]
    assert lacks(store, *range(12)) == []


@pytest.mark.parametrize("again", ["the next flush", "closing"])
def test_a_flush_that_fails_is_said_and_tried_again(place: str, caplog: pytest.LogCaptureFixture, again: str) -> None:
    """A flush that fails logs one warning and is retried by the next flush or when the store is closed.

    It fails because a file has the name of the packs folder. The responses stay in their journal and can be found.
    """
    store = ResponseStore(place, flush=EVERY_FIVE)
    store.prepare()
    in_the_way = Path(place, "packs")
    in_the_way.rmdir()
    in_the_way.write_text("mine")
    with caplog.at_level(logging.WARNING, "consistent_chat"):
        keep(store, *range(5))
        until(lambda: caplog.messages != [])
        assert caplog.messages[0].startswith(f"A pack cannot be written to {in_the_way}: File exists. ")
        assert caplog.messages[0].endswith("It will be retried.")
        assert lacks(store, *range(5)) == []
        in_the_way.unlink()
        keep(store, *range(5, 10 if again == "the next flush" else 6))
        if again == "the next flush":
            until(lambda: sum(packed(place)) == 10)
        store.close()
    assert len(caplog.messages) == 1
    assert sum(packed(place)) == (10 if again == "the next flush" else 6)
    assert files(place, "journals") == []


def test_journals_that_cannot_be_removed_are_said_too(caplog: pytest.LogCaptureFixture) -> None:
    """If packed journals cannot be removed, a warning is logged, the packs stay valid and later flushes continue."""
    with tempfile.TemporaryDirectory() as folder:
        store = ResponseStore(folder, flush=EVERY_FIVE)
        keep(store, *range(4))
        with unremovable(Path(folder), "journals"), caplog.at_level(logging.WARNING, "consistent_chat"):
            keep(store, 4)
            until(lambda: caplog.messages != [])
            assert os.strerror(errno.EACCES) in caplog.messages[0]
            assert packed(folder) == [5]
            assert lacks(store, *range(5)) == []
        keep(store, *range(5, 10))
        until(lambda: sum(packed(folder)) >= 10)
        store.close()
        assert lacks(ResponseStore(folder), *range(10)) == []
        assert verify(folder).faults == []


@contextlib.contextmanager
def unremovable(folder: Path, name: str) -> Iterator[None]:
    """Let no user, not even root, remove the files in one of the folders; the other folders stay writable."""
    user = os.geteuid()
    for path in (folder, *folder.rglob("*")):
        os.chmod(path, 0o555 if path.name == name else 0o777)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        os.chmod(folder / name, 0o755)


def refuse(times: int) -> Callable[[str], None]:
    """Return a hook that makes the test filesystem reject the first `times` files sent to it."""
    left = iter(range(times))

    def put(path: str) -> None:
        if next(left, None) is not None:
            raise PermissionError(13, "Slow down")

    return staticmethod(put)


def test_a_store_that_cannot_be_reached_for_a_while_gets_all_later(
    remote: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failed upload logs one warning; the responses can be found meanwhile and are all sent later, each once."""
    Moody.put = refuse(3)
    store = ResponseStore(remote, flush=EVERY_FIVE)
    with caplog.at_level(logging.WARNING, "consistent_chat"):
        for failures in (1, 2, 3):
            keep(store, *range(5 * failures - 5, 5 * failures))
            until(lambda: len(caplog.messages) == failures)  # noqa: B023
            assert lacks(store, *range(5 * failures)) == []
        assert all(repr(remote) in message and "Slow down. " in message for message in caplog.messages)
        assert StoreLocation(remote).names() == []
        keep(store, *range(15, 20))
        until(lambda: len(StoreLocation(remote).names()) == 1)
        store.close()
    assert len(caplog.messages) == 3
    forget()
    assert sorted(record.key for record in ResponseStore(remote).records()) == sorted(asked(n).key for n in range(20))


def test_closing_that_fails_is_one_clear_error_and_the_next_run_sends(remote: str) -> None:
    """If closing cannot send the responses, it raises one StoreError.

    The responses stay on this machine, where the next run finds them and then sends them.
    """
    store = ResponseStore(remote)
    keep(store, 1, 2)
    Moody.put = refuse(1)
    with pytest.raises(StoreError) as caught:
        store.close()
    assert str(caught.value).startswith(f"Responses cannot be sent to {remote!r}: Slow down. They are kept ")
    assert caught.value.__cause__ is None
    assert StoreLocation(remote).names() == []
    following = ResponseStore(remote)
    assert lacks(following, 1, 2) == []
    keep(following, 4)
    following.close()
    assert len(StoreLocation(remote).names()) == 1
    forget()
    assert lacks(ResponseStore(remote), 1, 2, 4) == []


def test_what_others_left_and_cannot_be_removed_closes_nothing_twice(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If an abandoned journal cannot be removed, closing raises StoreError and closes no file descriptor twice.

    The store's own journals are packed and closed by then; their descriptors may already belong to other files.
    """
    fill_left = ResponseStore(place)
    keep(fill_left, 1)
    fill_left._writer.close()  # type: ignore[union-attr]  # as if its process had ended
    (left,) = files(place, "journals")
    store = ResponseStore(place)
    keep(store, 2)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == left:
            raise PermissionError(1, "Operation not permitted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StoreError, match=f"{left} cannot be removed: Operation not permitted"):
        store.close()
    assert lacks(ResponseStore(place), 1, 2) == []


def test_a_pack_that_is_sent_by_halves_is_none(remote: str) -> None:
    """A partly uploaded pack does not disturb readers, and the next run replaces it.

    Not every filesystem writes files atomically.
    """

    def put(path: str) -> None:
        fsspec.filesystem("moody").pipe_file(path, b"PAR1 and no more")
        raise ConnectionResetError(104, "Connection reset by peer")

    store = ResponseStore(remote)
    keep(store, 1)
    Moody.put = staticmethod(put)
    with pytest.raises(StoreError, match="Connection reset by peer"):
        store.close()
    Moody.put = refuse(0)
    following = ResponseStore(remote)
    assert lacks(following, 1) == []
    keep(following, 2)
    following.close()
    assert verify(remote).faults == []


def test_a_store_that_is_opened_while_another_sends_leaves_it_alone(remote: str) -> None:
    """A store that is opened during an upload does not delete the local pack that is being sent.

    A pack that has not arrived yet must not be treated as a copy of a deleted pack.
    """

    def put(path: str) -> None:
        Moody.put = refuse(0)
        assert lacks(ResponseStore(remote), 1) == []

    store = ResponseStore(remote)
    keep(store, 1)
    Moody.put = staticmethod(put)
    store.close()
    assert lacks(store, 1) == []
    assert len(StoreLocation(remote).names()) == 1


def test_a_refresh_that_packs_what_others_left_asks_for_it_all_the_same(place: str) -> None:
    """A store in refresh mode finds only its own responses, even if one pack also has responses of other writers."""
    left = kill_a_writer(place, after=3)
    store = ResponseStore(place, refresh=True)
    keep(store, 500)
    store.close()
    assert lacks(store, 500) == []
    assert [store.find(asked(number)) for number in left] == [None] * len(left)
    assert lacks(ResponseStore(place), 500, *left) == []
