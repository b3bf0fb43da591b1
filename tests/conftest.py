"""Fixtures that all tests share: a home of their own, no network but the loopback, no keys."""

from __future__ import annotations

import gc
import os
import socket
import sys
import tempfile

gc.disable()  # until the tests are collected: next to nothing of what is imported becomes rubbish

# Read by datasets and huggingface_hub when they are imported, so before any test module is.
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

# Else each process that tests start compiles all of the package, which takes as long again as importing it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.provider import Provider

_connect = socket.socket.connect
# On a busy machine any example may take seconds.
settings.register_profile("tests", deadline=None, max_examples=20)
settings.register_profile("thorough", deadline=None, max_examples=60)  # pytest --hypothesis-profile=thorough
settings.load_profile("tests")


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cases of a test after the first ones as slow, where it says `slow_after`; let the docs' pages begin."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")  # they take longest, which no core should wait for
    seen: Counter[str] = Counter()
    for item in items:
        if mark := item.get_closest_marker("slow_after"):
            test = item.nodeid.partition("[")[0]
            seen[test] += 1
            if seen[test] > mark.args[0]:
                item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Leave all that was imported out of what the garbage collector walks through: a twelfth of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at once, and by name, when a test reaches out of this machine."""

    def connect(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test connects to {address}")
        _connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out `fsync`, which takes milliseconds: tests kill processes, and never cut the power."""
    monkeypatch.setattr(os, "fsync", os.fstat)  # raises where the file is not open, too


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider of models that answers everything well, at once."""
    with Provider() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A location for a response store that does not exist yet."""
    return str(tmp_path / "responses")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and a cache of datasets of the test's own."""
    import datasets  # takes 2 s, and most tests do without

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory in the test's folder, next to a separate cache of datasets."""
    import datasets  # takes 2 s, and most tests do without

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    made = tmp_path / "work"
    made.mkdir()
    monkeypatch.chdir(made)
    return made
