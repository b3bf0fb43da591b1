"""Tests of a store in a bucket whose server has faults: nothing is lost, and nothing is requested twice."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from consistent_chat.errors import StoreError
from consistent_chat.store import ResponseStore
from consistent_chat.store.location import Flush, home
from consistent_chat.store.pack import Pack, write_pack
from tests.stored import asked, said

pytest.importorskip("moto.server")
pytest.importorskip("s3fs")

from tests import buckets
from tests.buckets import NUMBERS, Bucket, Machine
from tests.s3 import ACCESS_DENIED, CUT, INTERNAL_ERROR, LOST, RESET, SHORT, SLOW, SLOW_DOWN, STALE, Fault, always, once

server, bucket, machine, without_pauses = buckets.server, buckets.bucket, buckets.machine, buckets.without_pauses


def copies() -> list[str]:
    """Return the names of all files in this machine's packs folders, including partly fetched ones."""
    return sorted(path.name for path in home().rglob("*") if path.is_file() and path.parent.name == "packs")


@pytest.mark.parametrize("fault", [INTERNAL_ERROR, SLOW_DOWN, RESET, LOST, SLOW], ids=lambda fault: fault.name)
@pytest.mark.parametrize("kind", ["PUT", "LIST", "GET"])
def test_a_fault_that_passes_is_not_seen(bucket: Bucket, machine: Machine, kind: str, fault: Fault) -> None:
    """If the first request of a kind for each path fails and the next succeeds, no response is missing."""
    bucket.s3.begin(once(kind, fault))
    bucket.keep(NUMBERS)
    machine("two")
    assert bucket.lacks(NUMBERS) == []
    bucket.keep([4])
    machine("three")
    assert bucket.lacks([*NUMBERS, 4]) == []
    assert bucket.s3.faults


@pytest.mark.parametrize("fault", [INTERNAL_ERROR, SLOW_DOWN, RESET, LOST, ACCESS_DENIED], ids=lambda fault: fault.name)
def test_what_cannot_be_sent_is_kept_here_and_sent_next_time(bucket: Bucket, machine: Machine, fault: Fault) -> None:
    """If responses cannot be sent, the error says so.

    The next run finds and sends them, and then another machine finds them.
    """
    store = bucket.store()
    for number in NUMBERS:
        store.keep(asked(number), said(number))
    bucket.s3.begin(always("PUT", fault=fault))
    with pytest.raises(StoreError, match=r"(?s)kept on this machine.*next run") as caught:
        store.close()
    assert bucket.url in str(caught.value)
    assert fault.code in str(caught.value)
    assert (bucket.packs() == []) is (fault is not LOST)
    assert bucket.lacks(NUMBERS) == []
    bucket.s3.begin()
    bucket.keep([4])
    machine("two")
    assert bucket.lacks([*NUMBERS, 4]) == []


def test_what_could_not_be_sent_goes_out_though_nothing_new_is_kept(bucket: Bucket, machine: Machine) -> None:
    """A run that keeps nothing new still sends the responses that an earlier run could not send."""
    store = bucket.store()
    store.keep(asked(1), said(1))
    bucket.s3.begin(always("PUT", fault=INTERNAL_ERROR))
    with pytest.raises(StoreError):
        store.close()
    bucket.s3.begin()
    again = bucket.store()
    again.prepare()
    again.close()
    machine("two")
    assert bucket.lacks([1]) == []


def test_a_server_that_is_down_for_a_part_of_a_run_costs_nothing(
    bucket: Bucket, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """If the server is down for part of a run, a warning is logged and the responses are sent at the end."""
    store = ResponseStore(bucket.url, bucket.options, flush=Flush(records=2, seconds=None))
    store.prepare()
    bucket.s3.begin(always("PUT", fault=INTERNAL_ERROR))
    for number in NUMBERS:
        store.keep(asked(number), said(number))
    wait_until(lambda: "InternalError" in caplog.text)
    assert [number for number in NUMBERS if store.find(asked(number)) != said(number)] == []
    bucket.s3.begin()
    store.keep(asked(4), said(4))
    store.close()
    machine("two")
    assert bucket.lacks([*NUMBERS, 4]) == []


def wait_until(holds: Callable[[], object], seconds: float = 120) -> None:
    """Wait until another thread has made the condition true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_machine_finds_what_it_has_sent_though_a_listing_is_old(bucket: Bucket, machine: Machine) -> None:
    """If a listing is stale, a machine still finds the packs it has sent and sends nothing a second time."""
    machine("two")
    bucket.keep([0])
    machine("one")
    store = bucket.store()
    bucket.s3.begin(always("LIST", fault=STALE))
    for number in NUMBERS:
        store.keep(asked(number), said(number))
    store.close()
    assert len(bucket.packs()) == 2
    for _ in range(2):
        assert bucket.lacks([0, *NUMBERS]) == []
    again = bucket.store()
    again.prepare()
    again.close()
    assert "LIST" in {met.kind for met in bucket.s3.faults}
    assert bucket.s3.count("PUT", under="/packs/") == 1


@pytest.mark.parametrize("fault", [CUT, SHORT], ids=lambda fault: fault.name)
def test_half_a_pack_is_fetched_again(bucket: Bucket, machine: Machine, fault: Fault) -> None:
    """A download that ends early is noticed and repeated.

    If the pack were called damaged, the user would be told to delete it.
    """
    bucket.keep(NUMBERS)
    (pack,) = bucket.packs()
    machine("two")
    bucket.s3.begin(once("GET", fault, under="/packs/"))
    assert bucket.lacks(NUMBERS) == []
    assert bucket.s3.faults
    assert copies() == [pack.rpartition("/")[2]]


@pytest.mark.parametrize("fault", [CUT, SHORT, INTERNAL_ERROR, RESET], ids=lambda fault: fault.name)
def test_a_pack_that_cannot_be_fetched_is_named(bucket: Bucket, machine: Machine, fault: Fault) -> None:
    """A pack that cannot be fetched raises one error with its URL, and no part of it stays on this machine."""
    bucket.keep(NUMBERS)
    (pack,) = bucket.packs()
    machine("two")
    bucket.s3.begin(always("GET", fault=fault, under="/packs/"))
    with pytest.raises(StoreError) as caught:
        bucket.store()
    assert f"s3://{pack}" in str(caught.value)
    assert copies() == []


def merge(bucket: Bucket, folder: Path) -> None:
    """Merge all packs of a store into one and delete the old ones, as another machine may do."""
    old, files = bucket.packs(), bucket.files
    for path in old:
        files.get_file(path, str(folder / path.rpartition("/")[2]))
    content = itertools.chain(*[Pack(path) for path in sorted(folder.glob("*.parquet"))])
    new = write_pack(content, folder / "merged")
    files.put_file(str(new), f"{bucket.name}/responses/packs/{new.name}")
    files.rm(old)


def test_packs_that_are_merged_while_a_store_is_opened_are_no_failure(
    bucket: Bucket, machine: Machine, tmp_path: Path
) -> None:
    """A store opens although the listed packs are gone, because their records are in a new pack."""
    for number in NUMBERS:
        bucket.keep([number])
    assert bucket.lacks(NUMBERS) == []
    merge(bucket, tmp_path)
    machine("two")
    bucket.s3.begin(once("LIST", STALE))
    assert bucket.lacks(NUMBERS) == []
    assert bucket.s3.faults
    machine("one")
    assert bucket.lacks(NUMBERS) == []


def test_a_pack_that_stays_listed_but_is_gone_is_named(bucket: Bucket, machine: Machine) -> None:
    """A listed pack that is gone is an error; if it were skipped, its responses would be paid for again."""
    bucket.keep([1])
    assert bucket.lacks([1]) == []
    (pack,) = bucket.packs()
    bucket.files.rm(pack)
    machine("two")
    bucket.s3.begin(always("LIST", fault=STALE))
    with pytest.raises(StoreError) as caught:
        bucket.store()
    assert pack.rpartition("/")[2] in str(caught.value)
