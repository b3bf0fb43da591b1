"""A response store in a bucket: the real s3fs against a server on this machine that speaks S3's protocol."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.errors import StoreError
from consistent_chat.store.place import home

moto = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, Any]]:
    """The options of an S3 filesystem with one bucket."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "key": "anything", "secret": "anything"}
    s3fs.S3FileSystem(**options).mkdir("bucket")
    yield options
    server.stop()


def load(options: dict[str, Any], folder: Path, **given: Any) -> Any:
    """Load nine dialogues over a store in the bucket, in a cache of its own."""
    place = {"responses": "s3://bucket/responses", "storage_options": {**options}, "cache_dir": str(folder)}
    return load_dataset("consistent_chat", split="train", num_dialogs_per_intent=1, **{**place, **given})


def test_what_one_machine_keeps_another_replays(options: dict[str, Any], tmp_path: Path) -> None:
    """Packs go out at the end, in few requests, and are fetched by whoever has none of them."""
    made = load(options, tmp_path / "one", serving="rehearsal")
    for folder in ("spool", "packs"):
        shutil.rmtree(home() / folder)
    again = load(options, tmp_path / "two", model="rehearsal", mode="replay")
    assert again[:] == made[:]
    names = [path.split("/")[2] for path in s3fs.S3FileSystem(**options).find("bucket")]
    assert sorted(names) == ["packs", "store.json"]


def test_a_mistyped_bucket_is_said_and_not_made(options: dict[str, Any], tmp_path: Path) -> None:
    """Before anything is paid."""
    with pytest.raises(StoreError, match="The specified bucket does not exist"):
        load(options, tmp_path, serving="rehearsal", responses="s3://mistyped/responses")
    assert s3fs.S3FileSystem(**options).ls("") == ["bucket"]
