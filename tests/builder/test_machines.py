"""Builds on machines without a home folder, file locks, open files or disk space work or raise one clear error."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from consistent_chat.builder.hooks import OBJECTS_OF_A_BATCH, check_cache, heap_frozen
from consistent_chat.cli import main
from consistent_chat.errors import ConsistentChatError, StoreError
from consistent_chat.serving import client
from consistent_chat.serving.client import RESERVE, connection_limit
from consistent_chat.store import ResponseStore, journal, location
from tests import ROOT
from tests.stored import asked, said

REHEARSAL = ("--serving", "rehearsal", "--num-dialogs-per-intent", "1", "--responses", "responses")


@pytest.fixture
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a file system that cannot lock files, such as NFS without its lock service."""

    def flock(file: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)
    journal._warn_of_locks.cache_clear()


@pytest.mark.parametrize("without_locks", [errno.ENOLCK, errno.EOPNOTSUPP], indirect=True)
def test_a_cache_without_locks_is_said_first(without_locks: None, folder: Path, capsys: Any) -> None:
    """A cache that cannot lock files raises an error with its folder and HF_DATASETS_CACHE, before any call."""
    assert main(["build", *REHEARSAL, "--output", "made.jsonl"]) == 1
    message = capsys.readouterr().err
    assert f"The cache of datasets, {folder / 'cache'}, cannot be written: its file system cannot lock files" in message
    assert "HF_DATASETS_CACHE" in message
    assert not Path("responses").exists()


@pytest.mark.parametrize("without_locks", [errno.ENOSYS], indirect=True)
def test_a_system_without_flock_works(without_locks: None, folder: Path) -> None:
    """A system without `flock` passes the check of the cache, because `datasets` uses lock files there."""
    check_cache(folder / "cache")


@pytest.mark.parametrize("without_locks", [errno.ENOLCK], indirect=True)
def test_a_store_without_locks_works_and_warns(without_locks: None, place: str, caplog: Any) -> None:
    """A store that cannot lock files still keeps and finds responses, and warns once."""
    for number in (1, 2):
        store = ResponseStore(place)
        store.keep(asked(number), said(number))
        store.close()
    assert ResponseStore(place).find(asked(1)) == said(1)
    assert caplog.text.count("cannot lock files") == 1


def test_no_home_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a home folder, an error says to set HF_HOME, and no folder named `~` is created."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(location.constants, "HF_HOME", "~/.cache/huggingface")
    monkeypatch.setattr(os.path, "expanduser", lambda path: os.fspath(path))
    with pytest.raises(StoreError, match=r"no home folder\. Set HF_HOME"):
        location.home()
    with pytest.raises(ConsistentChatError, match=r"no home folder.*Set HF_HOME"):
        check_cache("~/.cache/huggingface/datasets")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user without an entry")
def test_a_user_without_home_and_entry(tmp_path: Path) -> None:
    """A user without a home folder can build with HF_HOME set; without it, one message says so."""
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    output = str(tmp_path / "made.jsonl")
    for extra, code in (({}, 1), ({"HF_HOME": str(tmp_path / "hf")}, 0)):
        done = as_stranger("-m", "consistent_chat", "build", "demo", "--output", output, folder=tmp_path, **extra)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert ("This user has no home folder" in done.stderr) is bool(code)
    assert not (tmp_path / "~").exists()


def as_stranger(*args: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a user without an entry in the user database; skip the test where that user cannot read Python."""

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        given: Any = {"user": 54321, "group": 54321, "extra_groups": (), "capture_output": True, "text": True}
        command = [sys.executable, "-B", *args]
        return subprocess.run(command, env={"PYTHONPATH": str(ROOT), **environment}, cwd=folder, **given)

    with contextlib.suppress(PermissionError):
        if run("-c", "import datasets, consistent_chat").returncode == 0:
            return run(*args)
    pytest.skip("another user cannot read this Python")


def test_connections_fit_into_the_limit_of_open_files(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit is raised if possible; if it is still too low, fewer connections are opened and a warning says so."""
    limits = [64, 64]
    monkeypatch.setattr(resource, "getrlimit", lambda which: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: limits.__setitem__(slice(None), pair))
    monkeypatch.setattr(client, "_open", lambda: 12)
    assert connection_limit(100) == 64 - RESERVE - 12
    assert "20 of 100 connections" in caplog.text
    caplog.clear()
    limits[1] = 1000
    assert connection_limit(100) == 100
    assert limits == [100 + RESERVE + 12, 1000]
    assert connection_limit(2000) == 1000 - RESERVE - 12
    limits[:] = [30, 30]
    assert connection_limit(100) == 1


@pytest.mark.slow
def test_few_open_files_are_enough(folder: Path) -> None:
    """A build with 100 calls in flight works with 64 open files."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from tests.provider import Provider; from consistent_chat.cli import main\n"
        "sys.exit(main([*sys.argv[1:], '--base-url', sys.stdin.readline().strip()]))"
    )
    from tests.provider import Provider

    with Provider(delay=0.2) as provider:
        command = [sys.executable, "-c", code, "build", "--serving", "anthropic", "--api-key", "k", "--model", "m",
                   "--num-dialogs-per-intent", "12", "--max-concurrency", "100", "--output", "made.jsonl"]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "home")}
        done = subprocess.run(command, env=environment, input=provider.url, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "connections will be open at once" in done.stderr
    assert len(Path("made.jsonl").read_text("utf-8").splitlines()) == 108


@pytest.fixture
def small_files() -> Iterator[None]:
    """Restore the limit of the file size after a test that lowers it to simulate a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("folder", "small_files")
def test_a_full_disk_at_the_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk at the output gives one message, leaves the old file unchanged, and leaves no partial file."""
    assert main(["build", "demo", "--output", "made.jsonl"]) == 0
    old = Path("made.jsonl").read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    assert main(["build", "demo", "--output", "made.jsonl"]) == 1
    assert "--output made.jsonl cannot be written: File too large" in capsys.readouterr().err
    assert Path("made.jsonl").read_bytes() == old
    assert sorted(path.name for path in Path().iterdir()) == ["cache", "made.jsonl"]


@pytest.mark.usefixtures("folder")
def test_a_full_disk_below_the_cache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk at the cache gives one message with the folder, and the next run makes no calls."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(datasets.arrow_writer.ArrowWriter, "finalize", full)
        assert main(["build", *REHEARSAL, "--output", "made.jsonl"]) == 1
    message = capsys.readouterr().err
    assert f"The dataset cannot be built in {Path('cache').absolute()}: No space left on device." in message
    assert "Traceback" not in message
    assert main(["build", *REHEARSAL, "--output", "made.jsonl"]) == 0
    assert " 0 calls" in capsys.readouterr().err


def test_a_cache_is_tested_quietly(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Checking the cache leaves no file in it."""
    caplog.set_level(logging.DEBUG)
    check_cache(folder / "deep" / "cache")
    assert list((folder / "deep" / "cache").iterdir()) == []


@pytest.mark.parametrize("frozen_before", [False, True])
def test_the_garbage_collector_looks_at_all_again_after_a_build(frozen_before: bool) -> None:
    """After a build, only the objects that the caller had frozen are still frozen."""
    gc.unfreeze()
    if frozen_before:
        gc.freeze()
    before = gc.get_freeze_count()
    with heap_frozen():
        assert gc.get_freeze_count() > 0
    after = gc.get_freeze_count()
    gc.freeze()  # as conftest.py does
    assert 0 < after <= before if frozen_before else after == 0  # frozen objects may be freed meanwhile


@pytest.mark.parametrize("threshold", [0, 700, 100_000])
def test_the_garbage_collector_runs_seldom_during_a_build(threshold: int) -> None:
    """A build raises the threshold of the garbage collector, unless it is higher or the caller has turned it off."""
    usual = gc.get_threshold()
    try:
        gc.set_threshold(threshold, *usual[1:])
        with heap_frozen():
            assert gc.get_threshold()[0] == (max(threshold, OBJECTS_OF_A_BATCH) if threshold else 0)
        assert gc.get_threshold() == (threshold, *usual[1:])
    finally:
        gc.set_threshold(*usual)
