"""Buckets that contain a response store, and machines that use them, for the tests of stores in S3.

A test module imports the fixtures by `server, bucket, machine = buckets.server, buckets.bucket, buckets.machine`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import s3fs
from datasets import load_dataset
from huggingface_hub import constants

from consistent_chat.store import ResponseStore
from tests.s3 import S3
from tests.stored import asked, said

KEY, SECRET = "PLANTEDKEYAKIA", "planted/secret+of/the+user"
WRITES = ("PUT", "POST", "DELETE")
EVERYTHING = (*WRITES, "GET", "LIST", "HEAD")
NUMBERS = (1, 2, 3)
COUNTER = itertools.count()

Machine = Callable[[str], None]


@dataclass(frozen=True)
class Bucket:
    """A bucket and the response store in it."""

    s3: S3
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}/responses"

    @property
    def options(self) -> dict[str, Any]:
        return {"endpoint_url": self.s3.url, "key": KEY, "secret": SECRET}

    @property
    def files(self) -> Any:
        """Return the bucket as another program that copies files sees it, without cached listings."""
        return s3fs.S3FileSystem(**self.options, use_listings_cache=False)

    def store(self) -> ResponseStore:
        return ResponseStore(self.url, self.options)

    def keep(self, numbers: Iterable[int]) -> None:
        """Store the responses of these numbers, and close the store."""
        store = self.store()
        for number in numbers:
            store.keep(asked(number), said(number))
        store.close()

    def lacks(self, numbers: Iterable[int]) -> list[int]:
        """Return the numbers whose responses a newly opened store does not find."""
        store = self.store()
        return [number for number in numbers if store.find(asked(number)) != said(number)]

    def packs(self) -> list[str]:
        """Return the paths of all packs that the server has."""
        return [path for path in self.files.find(self.name) if path.endswith(".parquet")]


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    """Run one S3 server for all tests of a module."""
    with S3() as running:
        yield running


@pytest.fixture
def bucket(server: S3) -> Bucket:
    """Create an empty bucket for one test."""
    server.begin()
    made = Bucket(server, f"bucket-{next(COUNTER)}")
    made.files.mkdir(made.name)
    server.begin()
    return made


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a function that moves the test to another machine, by name.

    A machine has its own HF_HOME and no cached listings. The first machine is "one".
    """

    def move(name: str) -> None:
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / name))
        for files in s3fs.S3FileSystem._cache.values():
            files.invalidate_cache()

    move("one")
    return move


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let S3's client retry as often as usual, but without pauses."""
    pause = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds, *given: pause(0, *given))


def load(bucket: Bucket, folder: Path, **given: Any) -> Any:
    """Load dialogues from the store in the bucket, with a separate cache of datasets."""
    place = {"responses": bucket.url, "storage_options": bucket.options, "cache_dir": str(folder)}
    few = {"model": "rehearsal", "num_dialogs_per_intent": 1, "intents": ["simulation"], "split": "train"}
    return load_dataset("consistent_chat", **{**place, **few, **given})
