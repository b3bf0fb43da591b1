"""Tests of the response store: every reader finds what was kept, and the rules select one of several responses."""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.errors import DamagedRecord
from consistent_chat.request import Response
from consistent_chat.store import ResponseStore, compact, default_location
from consistent_chat.store.journal import JournalWriter
from consistent_chat.store.location import StoreLocation
from consistent_chat.store.pack import write_pack
from consistent_chat.store.record import Record
from tests.stored import asked, files, fill, forget, kill_a_writer, machine, said

AWKWARD = ['"', "\\", "\n", "\r", "\0", "\ud800", "\udc00", "\\ud800", "\u2028", "😀"]
AWKWARD += ['","response":', '"request":{}', "}}"]
TEXTS = st.lists(st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=())), max_size=8).map("".join)


@pytest.fixture
def remote() -> str:
    """Return the URL of a store in memory, of which this machine has no copies."""
    forget()
    return f"memory://{uuid.uuid4().hex}/responses"


@given(system=TEXTS, text=TEXTS, finish=st.sampled_from(["stop", "length", "refusal", 'a "new" one']))
def test_what_is_kept_is_found_word_for_word(system: str, text: str, finish: str) -> None:
    """A response is found unchanged by the store that kept it, by another meanwhile, and by another after packing."""
    request, response = asked(system=system), Response(text, finish, 1, None)
    with tempfile.TemporaryDirectory() as folder:
        store = ResponseStore(folder)
        assert store.keep(request, response) == response
        assert store.find(request) == ResponseStore(folder).find(request) == response
        store.close()
        assert ResponseStore(folder).find(request) == response
        assert ResponseStore(folder).find(asked(system=system + "!")) is None


def test_a_megabyte_is_found_too(place: str) -> None:
    """A response of a megabyte, with several bytes per character, is found like any other."""
    long = Response("😀\n" * 200_000)
    store = ResponseStore(place)
    store.keep(asked(), long)
    assert store.find(asked()) == ResponseStore(place).find(asked()) == long
    store.close()
    assert ResponseStore(place).find(asked()) == long


def test_a_higher_max_tokens_finds_the_same_response(place: str) -> None:
    """A request with another max_tokens finds the same response, because the limit is not part of the key."""
    fill(place, 1)
    assert ResponseStore(place).find(asked(1, max_tokens=9)) == said(1)


@pytest.mark.parametrize("field", ["model", "system", "messages", "temperature", "schema", "seed", "repeat", "draw"])
def test_a_request_that_differs_in_one_field_is_another(place: str, field: str) -> None:
    """A request that differs from the recorded one in a single field finds no response."""
    others = {"model": "m", "system": "s", "messages": (), "temperature": 1, "schema": {}}
    fill(place, 0)
    assert ResponseStore(place).find(asked(**{field: others.get(field, 1)})) is None


def test_looking_writes_nothing(place: str) -> None:
    """A missing location counts as an empty store, and it is not created until a response is kept."""
    store = ResponseStore(place)
    assert store.find(asked()) is None
    assert list(store.records()) == []
    store.close()
    assert not Path(place).exists()


def test_many_stores_write_to_one_folder(place: str) -> None:
    """Each of several stores on one folder writes its own journal; a reader that is opened later sees all responses."""
    stores = [ResponseStore(place) for _ in range(5)]
    for number in range(50):
        stores[number % 5].keep(asked(number), said(number))
    assert len(files(place, "journals")) == 5
    reader = ResponseStore(place)
    assert [reader.find(asked(number)) for number in range(50)] == [said(number) for number in range(50)]
    assert {record.key for record in reader.records()} == {asked(number).key for number in range(50)}


def test_one_store_serves_many_threads(place: str) -> None:
    """All responses that eight threads keep at the same time are found."""
    store = ResponseStore(place)
    barrier = threading.Barrier(8)

    def keep(first: int) -> None:
        barrier.wait()
        for number in range(first, 200, 8):
            store.keep(asked(number), said(number))
            assert store.find(asked(number)) == said(number)

    threads = [threading.Thread(target=keep, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert len(list(ResponseStore(place).records())) == 200


def test_the_first_layer_is_written_and_all_are_read(tmp_path: Path) -> None:
    """Responses are written to the first location and found in all of them; the other folders are not changed."""
    mine, packed, open_still = (str(tmp_path / name) for name in ("mine", "packed", "open"))
    fill(packed, 1)
    other = ResponseStore(open_still)
    other.keep(asked(2), said(2))
    before = sorted(Path(tmp_path).rglob("*"))
    layers = ResponseStore([mine, packed, open_still])
    layers.keep(asked(3), said(3))
    assert [layers.find(asked(number)) for number in (1, 2, 3)] == [said(1), said(2), said(3)]
    layers.close()
    assert [path for path in sorted(Path(tmp_path).rglob("*")) if Path(mine) not in [path, *path.parents]] == before
    assert ResponseStore(mine).find(asked(3)) == said(3)
    assert ResponseStore(mine).find(asked(1)) is None


def test_a_refresh_asks_again_and_its_response_holds(place: str) -> None:
    """Each refresh finds no older response, increases the generation by one, and keeps what it supersedes."""
    fill(place, 1)
    for generation in (1, 2):
        refresh = ResponseStore(place, refresh=True)
        assert refresh.find(asked(1)) is None
        new = Response(f"refreshed {generation} times")
        refresh.keep(asked(1), new)
        assert refresh.find(asked(1)) == new
        refresh.close()
        assert ResponseStore(place).find(asked(1)) == new
    assert sorted(record.generation for record in ResponseStore(place).records()) == [0, 1, 2]


@given(
    kept=st.lists(st.tuples(st.integers(0, 3), *map(st.sampled_from, ("abc", "wxyz"))), min_size=1, max_size=8),
    shift=st.integers(0, 3),
)
def test_which_record_holds_depends_neither_on_names_nor_on_order(kept: list[tuple[int, str, str]], shift: int) -> None:
    """Stores that were refreshed separately and then merged return the same response, whatever their packs' names."""
    records = [Record.of(asked(), Response(text), generation) for generation, text, _ in kept]
    holds = min(records, key=lambda record: (-record.generation, record.digest))
    packs: dict[str, list[Record]] = {}
    for record, (_, _, name) in zip(records, kept):
        packs.setdefault(name, []).append(record)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in packs.items():
            new_name = "wxyz"[("wxyz".index(name) + shift) % 4]
            packed = Path(folder, "packs")
            write_pack(content, packed).rename(packed / f"{new_name}.parquet")
        assert ResponseStore(folder).find(asked()) == holds.kept.answer()


@given(
    own=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), max_size=2),
    strangers=st.lists(st.tuples(st.integers(0, 2**31 - 1), st.sampled_from("xyz")), min_size=1, max_size=3),
    packed=st.booleans(),
)
def test_ones_own_response_holds_whatever_a_later_place_claims(
    own: list[tuple[int, str]], strangers: list[tuple[int, str]], packed: bool
) -> None:
    """A later location supplies only responses that the first one lacks.

    Its generations and digests do not count, because they are claims of their writer.
    """
    with tempfile.TemporaryDirectory() as folder:
        first, later = str(Path(folder, "own")), str(Path(folder, "strangers"))
        for place, kept in ((first, own), (later, strangers)):
            StoreLocation(place).prepare()
            writer = JournalWriter(Path(place, "journals"))
            for generation, text in kept:
                writer.append(Record.of(asked(), Response(text), generation))
            writer.close()
            if packed:
                compact(place)
        deciding = ResponseStore(first if own else later)
        layered = ResponseStore([first, later])
        assert layered.find(asked()) == deciding.find(asked())
        assert layered.find_all(asked())[0] == deciding.find(asked())
        assert len(layered.find_all(asked())) <= len(own) + len(strangers)


def test_of_two_responses_that_one_store_keeps_the_later_holds(place: str) -> None:
    """If a store keeps several responses to a request, the last one is found, both in the journal and after packing."""
    store = ResponseStore(place)
    for text in ("one", "two", "three"):
        store.keep(asked(), Response(text))
        assert store.find(asked()) == ResponseStore(place).find(asked()) == Response(text)
    store.close()
    assert ResponseStore(place).find(asked()) == Response("three")


def test_a_remote_store_gets_packs_alone(remote: str) -> None:
    """A remote store receives one pack for many responses, and afterwards the spool on this machine is empty."""
    fill(remote, *range(20))
    there = fsspec.filesystem("memory")
    names = sorted(path.rpartition("/responses/")[2] for path in there.find(remote))
    assert len(names) == 2
    assert names[0].startswith("packs/")
    assert names[1] == "store.json"
    assert machine() == machine("packs")


def test_a_remote_store_is_read_elsewhere(remote: str) -> None:
    """A machine without copies finds the responses that were sent, and copies each pack once."""
    fill(remote, 1)
    fill(remote, 2)
    forget()
    store = ResponseStore(remote)
    assert [store.find(asked(number)) for number in (1, 2)] == [said(1), said(2)]
    copies = {path: path.stat().st_mtime_ns for path in machine()}
    assert len(copies) == 2
    assert ResponseStore(remote).find(asked(1)) == said(1)
    assert {path: path.stat().st_mtime_ns for path in machine()} == copies


@pytest.mark.slow
def test_what_a_killed_writer_spooled_is_found_and_sent_next_time(remote: str) -> None:
    """Responses that a killed writer has left in the spool are found by the next run and sent to the remote store."""
    reported = kill_a_writer(remote, after=5)
    store = ResponseStore(remote)
    assert [store.find(asked(number)) for number in reported] == [said(number) for number in reported]
    store.prepare()
    store.close()
    forget()
    found = {record.key for record in ResponseStore(remote).records()}
    assert {asked(number).key for number in reported} <= found


def test_a_damaged_pack_of_a_remote_store_is_named_by_its_address(remote: str) -> None:
    """A damaged remote pack is noticed while it is copied; the error gives its URL, and no copy is left."""
    fill(remote, 1)
    forget()
    there = fsspec.filesystem("memory")
    (pack,) = there.glob(f"{remote}/packs/*.parquet")
    there.pipe_file(pack, b"x" + there.cat_file(pack)[1:])
    with pytest.raises(DamagedRecord) as caught:
        ResponseStore(remote)
    name = pack.rpartition("/")[2]
    assert str(caught.value) == (
        f"{remote}/packs/{name} is damaged: its bytes do not match its name. "
        "Restore the file from a copy, or delete the file to request its responses again."
    )
    assert machine() == []


def test_responses_are_kept_in_hf_home_unless_told_otherwise() -> None:
    """By default, responses are stored in HF_HOME, beside the files of `datasets`, and move with it."""
    assert default_location() == os.path.join(os.environ["HF_HOME"], "consistent_chat", "responses")
