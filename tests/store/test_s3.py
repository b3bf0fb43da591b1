"""Tests of a response store in a bucket, with the real s3fs and an S3 server on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from consistent_chat.errors import StoreError
from consistent_chat.store import ResponseStore
from tests.provider import Provider
from tests.stored import asked, fill, said

pytest.importorskip("moto.server")
pytest.importorskip("s3fs")

from tests import buckets
from tests.buckets import EVERYTHING, KEY, NUMBERS, SECRET, WRITES, Bucket, Machine, load
from tests.s3 import ACCESS_DENIED, INTERNAL_ERROR, UNKNOWN_KEY, Fault, always

MODEL = "claude-haiku-4-5"

server, bucket, machine, without_pauses = buckets.server, buckets.bucket, buckets.machine, buckets.without_pauses


def test_what_one_machine_keeps_another_replays(bucket: Bucket, machine: Machine, tmp_path: Path) -> None:
    """A build sends its packs in at most three write requests, and a machine without copies replays the same rows."""
    made = load(bucket, tmp_path / "a", serving="rehearsal")
    assert bucket.s3.count(*WRITES) <= 3
    machine("two")
    assert load(bucket, tmp_path / "b", mode="replay")[:] == made[:]
    names = [path.split("/")[2] for path in bucket.files.find(bucket.name)]
    assert sorted(names) == ["packs", "store.json"]


def test_a_thousand_responses_cost_few_write_requests(bucket: Bucket, machine: Machine) -> None:
    """Storing 1,000 responses takes at most ten write requests, each of which costs money."""
    bucket.keep(range(1000))
    assert 0 < bucket.s3.count(*WRITES) <= 10
    machine("two")
    assert bucket.lacks(range(1000)) == []


def test_each_pack_is_fetched_once_per_machine(bucket: Bucket, machine: Machine) -> None:
    """A machine fetches each pack once, and the machine that made a pack does not fetch it."""
    for number in NUMBERS:
        bucket.keep([number])
    assert bucket.s3.count("GET", under="/packs/") == 0
    machine("two")
    for _ in range(2):
        assert bucket.lacks(NUMBERS) == []
        assert bucket.s3.count("GET", under="/packs/") == len(bucket.packs()) == 3


def test_two_machines_may_write_at_the_same_time(bucket: Bucket, machine: Machine) -> None:
    """Two machines can write at the same time without seeing each other; later each finds the responses of both."""
    stores = {}
    for name in ("one", "two"):
        machine(name)
        stores[name] = bucket.store()
        stores[name].prepare()
    for number, (name, store) in enumerate(stores.items()):
        machine(name)
        store.keep(asked(number), said(number))
    for name, store in stores.items():
        machine(name)
        store.close()
    for name in ("one", "two", "three"):
        machine(name)
        assert bucket.lacks([0, 1]) == []


def test_stores_are_merged_by_copying_their_packs_together(bucket: Bucket, machine: Machine, tmp_path: Path) -> None:
    """Packs copied from another prefix of the bucket and from a folder are found by every machine."""
    bucket.keep([1])
    machine("two")
    other = ResponseStore(f"s3://{bucket.name}/other", bucket.options)
    other.keep(asked(2), said(2))
    other.close()
    fill(str(tmp_path / "local"), 3)
    packs = f"{bucket.name}/responses/packs/"
    bucket.files.cp(bucket.files.glob(f"{bucket.name}/other/packs/*"), packs)
    bucket.files.put([str(path) for path in (tmp_path / "local" / "packs").glob("*")], packs)
    for name in ("one", "two", "three"):
        machine(name)
        assert bucket.lacks(NUMBERS) == []


def test_two_machines_replay_what_both_have_paid(bucket: Bucket, machine: Machine, tmp_path: Path) -> None:
    """A third machine replays a dataset without calls after two machines have each made one half of it."""
    for name, intent in (("one", "simulation"), ("two", "educational")):
        machine(name)
        load(bucket, tmp_path / name, serving="rehearsal", intents=[intent])
    machine("three")
    assert len(load(bucket, tmp_path / "three", mode="replay", intents=["simulation", "educational"])) == 2


def test_a_machine_drops_its_copies_of_what_was_deleted_elsewhere(bucket: Bucket, machine: Machine) -> None:
    """A pack that is deleted from the bucket is deleted for every machine, including machines that have a copy."""
    bucket.keep([1])
    machine("two")
    assert bucket.lacks([1]) == []
    bucket.files.rm(bucket.packs())
    for name in ("one", "two"):
        machine(name)
        assert bucket.lacks([1]) == [1]


def test_credentials_are_written_nowhere(
    bucket: Bucket, machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Credentials appear neither in the spool, the packs, the dataset and its cache, nor in messages."""
    caplog.set_level("INFO")
    load(bucket, tmp_path / "cache", serving="rehearsal")
    store = bucket.store()
    store.keep(asked(1), said(1))
    messages = []
    bucket.s3.begin(always("PUT", fault=INTERNAL_ERROR))
    with pytest.raises(StoreError) as caught:
        store.close()
    messages.append(str(caught.value))
    bucket.s3.begin(always(*EVERYTHING, fault=UNKNOWN_KEY))
    with pytest.raises(StoreError) as caught:
        bucket.store()
    messages.append(str(caught.value))
    bucket.s3.begin()
    here = [path for path in tmp_path.rglob("*") if path.is_file()]
    there = bucket.files.find(bucket.name)
    contents = [path.read_bytes() for path in here] + [bucket.files.cat_file(path) for path in there]
    texts = [*messages, caplog.text, *map(str, here), *there]
    written = b"\n".join([*contents, *map(str.encode, texts)])
    assert said(1).text.encode() in written  # in the journal, which was not sent
    assert there
    assert [word for word in (KEY, SECRET) if word.encode() in written] == []


UNUSABLE: dict[str, tuple[Iterable[str], Fault]] = {
    "wrong key": (EVERYTHING, UNKNOWN_KEY),
    "no right to write": (WRITES, ACCESS_DENIED),
    "no right to list": (["LIST"], ACCESS_DENIED),
    "no right to read": (["GET", "HEAD"], ACCESS_DENIED),
    "out of order": (EVERYTHING, INTERNAL_ERROR),
}


@pytest.mark.parametrize("begun", [False, True], ids=["new", "begun"])
@pytest.mark.parametrize("why", UNUSABLE)
def test_a_store_that_cannot_be_used_is_said_before_anything_is_paid(
    bucket: Bucket, provider: Provider, tmp_path: Path, why: str, begun: bool
) -> None:
    """A store that cannot be used, whether new or in use, raises an error with its URL before any paid call."""
    if begun:
        bucket.keep([1])
    kinds, fault = UNUSABLE[why]
    bucket.s3.begin(always(*kinds, fault=fault))
    called = {"serving": "anthropic", "base_url": provider.url, "api_key": "a-key", "model": MODEL}
    with pytest.raises(StoreError) as caught:
        load(bucket, tmp_path / "cache", **called)
    assert bucket.url in str(caught.value)
    assert provider.requests == []


def test_a_mistyped_bucket_is_said_and_not_made(bucket: Bucket, provider: Provider, tmp_path: Path) -> None:
    """A missing bucket is an error before any paid call and is not created."""
    called = {"serving": "anthropic", "base_url": provider.url, "api_key": "a-key", "model": MODEL}
    with pytest.raises(StoreError, match="s3://mistyped/responses"):
        load(bucket, tmp_path, responses="s3://mistyped/responses", **called)
    assert "mistyped" not in bucket.files.ls("")
    assert provider.requests == []


def test_what_is_recorded_can_be_read_without_the_right_to_write(
    bucket: Bucket, machine: Machine, tmp_path: Path
) -> None:
    """Without write access, a replay works, and so does a run that finds all its responses."""
    made = load(bucket, tmp_path / "a", serving="rehearsal")
    machine("two")
    bucket.s3.begin(always(*WRITES, fault=ACCESS_DENIED))
    assert load(bucket, tmp_path / "b", mode="replay")[:] == made[:]
    assert load(bucket, tmp_path / "c", serving="rehearsal")[:] == made[:]


def test_the_second_of_two_places_is_only_read(bucket: Bucket, machine: Machine, tmp_path: Path) -> None:
    """The second location, such as another user's bucket, is only read; new responses go to the first location."""
    bucket.keep([1])
    machine("two")
    bucket.s3.begin()
    store = ResponseStore([str(tmp_path / "own"), bucket.url], bucket.options)
    assert store.find(asked(1)) == said(1)
    store.keep(asked(2), said(2))
    store.close()
    assert bucket.s3.count(*WRITES) == 0
    assert ResponseStore(str(tmp_path / "own")).find(asked(2)) == said(2)
