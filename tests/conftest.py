"""Fixtures that all tests share: a separate HF_HOME, no network except loopback, and no API keys."""

from __future__ import annotations

import gc
import os
import socket
import sys
import tempfile

gc.disable()  # until the tests are collected: almost no imported object becomes garbage

# datasets and huggingface_hub read these when they are imported, so they are set before any test module is imported.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="consistent_chat-tests-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
for name in (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "HF_TOKEN",
):
    os.environ.pop(name, None)

# Without bytecode, each process that tests start compiles the whole package, which takes as long as importing it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from consistent_chat.serving import negotiate
from tests.provider import Provider

negotiate.HEAD_START = 5.0  # seconds: a busy machine must not change how many calls a server gets
_connect = socket.socket.connect
# On a busy machine any example may take seconds.
settings.register_profile("tests", deadline=None, max_examples=20)
settings.register_profile("thorough", deadline=None, max_examples=60)  # pytest --hypothesis-profile=thorough
settings.load_profile("tests")


LONGEST = (
    *("test_docs", "test_pack", "test_faults", "test_warm", "test_machine", "test_flush_killed", "test_command_line"),
    *("test_publish_refused", "test_registration", "test_publish", "test_batches_killed", "test_determinism"),
    *("test_batches_faults", "test_writers", "test_terminal", "test_journal", "test_hub_store", "test_prove"),
)
"""The files that take longest with the slow tests, the longest first."""


@pytest.hookimpl(tryfirst=True)  # before pytest deselects slow tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow the cases of a test that come after the first n of `slow_after(n)`.

    The files that take longest start first.
    """
    first = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path.stem, len(first)))
    seen: Counter[str] = Counter()
    for item in items:
        if mark := item.get_closest_marker("slow_after"):
            test = item.nodeid.partition("[")[0]
            seen[test] += 1
            if seen[test] > mark.args[0]:
                item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Exclude imported objects from garbage collection, which saves a twelfth of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at once, with the address, when a test connects to another machine."""

    def connect(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test connects to {address}")
        _connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace `fsync`, which takes milliseconds. Tests kill processes, but never cut the power."""
    monkeypatch.setattr(os, "fsync", os.fstat)  # like fsync, it raises an error if the file is not open


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Run a provider of models that answers every request well, without delay."""
    with Provider() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Return a location for a response store that does not exist yet."""
    return str(tmp_path / "responses")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a separate working directory and a separate cache of datasets."""
    import datasets  # takes 2 s, and most tests do without

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create an empty working directory in the test's folder, next to a separate cache of datasets."""
    import datasets  # takes 2 s, and most tests do without

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    made = tmp_path / "work"
    made.mkdir()
    monkeypatch.chdir(made)
    return made
