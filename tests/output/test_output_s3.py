"""Test output to a bucket, with the real s3fs against a server on this machine."""

from __future__ import annotations

import json

import pytest

from consistent_chat.cli import main
from consistent_chat.errors import RecipeError
from consistent_chat.output import parse_output
from tests.provider import Provider

pytest.importorskip("moto.server")
pytest.importorskip("s3fs")

from tests import buckets
from tests.buckets import EVERYTHING, SECRET, WRITES, Bucket
from tests.s3 import ACCESS_DENIED, UNKNOWN_KEY, Fault, always

server, bucket, machine, without_pauses = buckets.server, buckets.bucket, buckets.machine, buckets.without_pauses


def build(bucket: Bucket, *options: str) -> int:
    """Build the demo with the options of the bucket."""
    return main(["build", "demo", "--storage-options", json.dumps({"s3": bucket.options}), *options])


@pytest.mark.usefixtures("folder")
def test_rows_and_failures_in_a_bucket(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    """A build writes to a file, a folder and the bucket itself, and leaves nothing else in the bucket."""
    url = f"s3://{bucket.name}"
    assert build(bucket, "--output", f"{url}/a b/50%?#1.jsonl", "--failures", f"{url}/failures.parquet") == 0
    assert build(bucket, "--output", f"{url}/made.parquet/") == 0
    assert build(bucket, "--output", url) == 0
    found = {path.removeprefix(f"{bucket.name}/") for path in bucket.files.find(bucket.name)}
    assert found == {"a b/50%?#1.jsonl", "failures.parquet", "made.parquet/train.parquet", "train.parquet"}
    assert len(bucket.files.cat_file(f"{bucket.name}/a b/50%?#1.jsonl").splitlines()) == 18
    assert f"{url}/a b/50%?#1.jsonl: 18 rows of train" in capsys.readouterr().err


REFUSED = {
    "wrong key": (EVERYTHING, UNKNOWN_KEY),
    "no right to write": (WRITES, ACCESS_DENIED),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("why", REFUSED)
def test_a_bucket_that_refuses_is_said_before_any_call(
    bucket: Bucket, provider: Provider, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bucket that refuses access is an error before any call.

    The message has the address and the reason, and no secret.
    """
    kinds, fault = REFUSED[why]
    bucket.s3.begin(always(*kinds, fault=fault))
    called = ("--serving", "anthropic", "--base-url", provider.url, "--api-key", "a-key", "--model", "claude-haiku-4-5")
    options = ("--storage-options", json.dumps({"s3": bucket.options}), "--responses", "responses")
    assert main(["build", *called, *options, "--output", f"s3://{bucket.name}/made.jsonl"]) == 2
    said = capsys.readouterr().err
    assert f"--output s3://{bucket.name}/made.jsonl cannot be written: " in said
    assert SECRET not in said
    assert provider.requests == []


def test_a_mistyped_bucket_is_not_made(bucket: Bucket) -> None:
    """A bucket that does not exist is an error before any call and is not created."""
    with pytest.raises(RecipeError, match=r"s3://mistyped/made\.jsonl cannot be written"):
        parse_output("s3://mistyped/made.jsonl", "--output", bucket.options).check()
    assert "mistyped" not in bucket.files.ls("")


def test_a_file_that_arrives_short_is_noticed(bucket: Bucket) -> None:
    """A file that is shorter when it is read back is an error, because its digest differs."""
    place = parse_output(f"s3://{bucket.name}/made.jsonl", "--output", bucket.options)
    bucket.s3.begin(always("GET", fault=Fault("short", ending="short")))
    with pytest.raises(Exception, match=r"made\.jsonl (differs|.*cannot be written)"), place.write() as file:
        file.write(b"x" * 1000)
