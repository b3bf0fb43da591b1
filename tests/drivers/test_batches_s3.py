"""Batches with a store in a bucket work on several machines, tested with the real s3fs and a local server."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("moto.server")
pytest.importorskip("s3fs")

from consistent_chat.errors import StoreError
from consistent_chat.store import Batch, BatchLog, ResponseStore
from tests import buckets, filling
from tests.batches import BatchProvider
from tests.buckets import Bucket, Machine
from tests.filling import KINDS, STEPS, Filler, entries, filled, killed_at, recipe, replayed
from tests.s3 import ACCESS_DENIED, always

server, bucket, machine, without_pauses = buckets.server, buckets.bucket, buckets.machine, buckets.without_pauses


hurried, provider = filling.hurried, filling.provider


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_on_one_machine_collected_on_another(
    bucket: Bucket, machine: Machine, provider: BatchProvider, tmp_path: Path, kind: str, step: str
) -> None:
    """A run that is killed on one machine is continued on another that shares only the bucket with it."""
    killed_at(step, provider, bucket.url, kind, home=str(tmp_path / "one"), options=bucket.options)
    machine("two")
    filled(bucket.url, provider.url, kind, options=bucket.options)
    assert len(set(provider.digests)) == len(provider.digests) == 18
    machine("three")
    assert len(replayed(bucket.url, recipe(kind), bucket.options)) == 9
    assert len(list(ResponseStore(bucket.url, bucket.options).records())) == 18


def test_two_machines_at_the_same_time_submit_once(
    bucket: Bucket, machine: Machine, provider: BatchProvider, tmp_path: Path
) -> None:
    """Two machines at the same time submit each request once, because S3 lets only one of them create a log entry."""
    homes = [str(tmp_path / name) for name in ("one", "two")]
    fillers = [Filler(bucket.url, provider, "anthropic", home=home, options=bucket.options) for home in homes]
    for filler in fillers:
        filler.finish()
    assert len(set(provider.digests)) == len(provider.digests) == 18


def test_the_number_of_an_entry_is_taken_once(bucket: Bucket, tmp_path: Path) -> None:
    """Only one of two entries with the same number can be created, even by runs that have not read the log."""
    (tmp_path / "requests.jsonl").write_text("")
    first, second = (Batch(1, "anthropic", "a-model", 0) for _ in range(2))
    assert BatchLog(bucket.url, bucket.options).begin(first, tmp_path / "requests.jsonl")
    assert not BatchLog(bucket.url, bucket.options).begin(second, tmp_path / "requests.jsonl")
    assert entries(bucket.url, bucket.options) == [first]


def test_a_bucket_that_may_not_be_written_is_refused_before_submission(bucket: Bucket, provider: BatchProvider) -> None:
    """A bucket without write access raises an error before submission, because the batch could not be found again."""
    bucket.s3.begin(always("PUT", fault=ACCESS_DENIED))
    with pytest.raises(StoreError, match="cannot be written to"):
        filled(bucket.url, provider.url, options=bucket.options)
    assert provider.submitted == []
