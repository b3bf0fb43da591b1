"""Tests of `--driver batch`, `--detach` and `consistent-chat batches`, and of the same through `load_dataset`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from datasets import load_dataset

from consistent_chat.cli import main
from consistent_chat.drivers import batch_poll
from consistent_chat.errors import BatchesPending, RecipeError
from tests import ROOT, forked
from tests.batches import BatchProvider
from tests.filling import KEY, hurry


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set up an empty working directory, a separate cache and short pauses."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "SETTLE"):
        monkeypatch.setattr(batch_poll, name, getattr(batch_poll, name))
    hurry()
    return tmp_path


@pytest.fixture
def provider() -> Iterator[BatchProvider]:
    """Yield a provider with batch APIs, whose batches have ended when they are checked for the second time."""
    with BatchProvider(looks=2) as running:
        yield running


def calling(provider: BatchProvider) -> list[str]:
    """Return the options of a small recipe and a provider."""
    return [
        "--serving", "anthropic", "--base-url", provider.url, "--api-key", KEY, "--model", "claude-sonnet-4-6",
        "--num-dialogs-per-intent", "1", "--responses", "responses",
    ]  # fmt: skip


def build(provider: BatchProvider, output: str, *options: str) -> int:
    """Run `build` in this process and return its exit code."""
    return main(["build", *calling(provider), "--output", output, *options])


def batches(*options: str) -> int:
    """Run `batches` in this process and return its exit code."""
    return main(["batches", "--responses", "responses", *options])


@pytest.mark.slow
def test_the_files_of_a_batch_build_are_those_of_an_online_build(
    provider: BatchProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    """A batch build, with one process or two, writes the same bytes as an online build and prints its calls."""
    assert build(provider, "batch.parquet", "--driver", "batch") == 0
    assert "9 dialogues, 18 calls" in capsys.readouterr().err
    assert build(provider, "again.parquet", "--driver", "batch", "--num-proc", "2") == 0
    online = [option if option != "responses" else "other" for option in calling(provider)]
    datasets.config.HF_DATASETS_CACHE = Path("other_cache")
    assert main(["build", *online, "--output", "online.parquet"]) == 0
    assert Path("batch.parquet").read_bytes() == Path("again.parquet").read_bytes()
    assert Path("batch.parquet").read_bytes() == Path("online.parquet").read_bytes()
    assert len(provider.digests) == len(provider.online) == 18


def test_detached_it_ends_well_and_says_how_to_collect(
    provider: BatchProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    """A detached build writes no output, exits with 0 and says how to collect the responses.

    A later build continues it.
    """
    assert build(provider, "made.parquet", "--driver", "batch", "--detach") == 0
    said = capsys.readouterr().err
    assert "9 requests are submitted" in said
    assert "Rerun the same command to collect" in said
    assert not Path("made.parquet").exists()
    assert build(provider, "made.parquet", "--driver", "batch") == 0
    assert len(set(provider.digests)) == len(provider.digests) == 18


def test_batches_lists_what_is_under_way(provider: BatchProvider, capsys: pytest.CaptureFixture[str]) -> None:
    """`batches` lists open batches with the provider's status; it lists collected ones only with --all."""
    assert batches() == 0
    assert "no batch is in progress" in capsys.readouterr().out
    build(provider, "made.parquet", "--driver", "batch", "--detach")
    capsys.readouterr()
    address = ("--base-url", provider.url, "--api-key", KEY)
    for told in ("in_progress, 0 of 9 processed, expires 2026-11-22 09:00 UTC", "ended, 9 of 9 processed; the next"):
        assert batches(*address) == 0
        line = capsys.readouterr().out
        assert line.startswith("1  msgbatch_0000  anthropic  claude-sonnet-4-6  9 requests  20")
        assert told in line
    build(provider, "made.parquet", "--driver", "batch")
    capsys.readouterr()
    batches()
    assert "no batch is in progress" in capsys.readouterr().out
    batches("--all")
    assert capsys.readouterr().out.count("ended: 9 of 9 answered") == 2


def test_without_a_key_batches_are_listed_all_the_same(
    provider: BatchProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a key, `batches` still lists the batches, but their state is unknown."""
    build(provider, "made.parquet", "--driver", "batch", "--detach")
    assert batches() == 0
    assert "its state is unknown: There is no key" in capsys.readouterr().out


@pytest.mark.slow
def test_a_batch_can_be_given_up(provider: BatchProvider, capsys: pytest.CaptureFixture[str]) -> None:
    """The requests of a forgotten batch are sent again; a number without an open batch is wrong usage."""
    build(provider, "made.parquet", "--driver", "batch", "--detach")
    assert batches("--forget", "1") == 0
    assert batches("--forget", "1") == 2
    assert "There is no open batch 1" in capsys.readouterr().err
    assert build(provider, "made.parquet", "--driver", "batch") == 0
    assert len(provider.digests) == 27


def test_an_online_build_waits_for_what_is_in_a_batch(provider: BatchProvider) -> None:
    """An online build waits for requests that are in a batch instead of paying for them twice."""
    build(provider, "made.parquet", "--driver", "batch", "--detach")
    assert build(provider, "made.parquet") == 0
    assert len(provider.digests) == len(provider.online) == 9


def test_a_budget_ends_with_code_3(provider: BatchProvider, capsys: pytest.CaptureFixture[str]) -> None:
    """A batch build ends with exit code 3 when all requests within the budget are collected."""
    assert build(provider, "made.parquet", "--driver", "batch", "--max-calls", "4") == 3
    assert "--max-calls 4 is reached" in capsys.readouterr().err
    assert build(provider, "made.parquet", "--driver", "batch") == 0
    assert len(set(provider.digests)) == len(provider.digests) == 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--driver", "bulk"], "'bulk' is not one of 'online', 'batch'"),
        (["--detach"], "detach needs the batch driver"),
        (["--driver", "batch", "--serving", "rehearsal"], "Rehearsal has no batch API"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(
    provider: BatchProvider, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    """Wrong usage is one message, before anything is submitted."""
    assert build(provider, "made.parquet", *options) == 2
    assert message in capsys.readouterr().err
    assert provider.submitted == []


@pytest.mark.slow
def test_load_dataset_by_batch(provider: BatchProvider) -> None:
    """All splits of `load_dataset` share their batches, and streaming is an error because a stream cannot wait."""
    recipe = "num_dialogs_per_intent: 1\nmodel: claude-sonnet-4-6\n"
    for name, seed in (("train", 0), ("test", 1)):
        Path(f"{name}.consistent_chat.yaml").write_text(f"{recipe}seed: {seed}\n")
    given = {
        "data_files": {name: f"{name}.consistent_chat.yaml" for name in ("train", "test")},
        "serving": "anthropic",
        "base_url": provider.url,
        "api_key": KEY,
        "driver": "batch",
        "responses": "responses",
    }
    with pytest.raises(RecipeError, match="A stream cannot wait for batches"):
        load_dataset("consistent_chat", **given, streaming=True)
    with pytest.raises(BatchesPending):
        load_dataset("consistent_chat", **given, detach=True)
    assert {split: len(rows) for split, rows in load_dataset("consistent_chat", **given).items()} == {
        "train": 9,
        "test": 9,
    }
    assert [len(batch.calls) for batch in provider.submitted] == [18, 18]


def test_to_warm_by_batch_all_splits_share_the_waves(provider: BatchProvider) -> None:
    """A detached `warm` submits the first requests of all splits; a shard submits only its own part."""
    address = ["--serving", "anthropic", "--base-url", provider.url, "--api-key", KEY, "--responses", "responses"]
    recipe = ["--model", "claude-sonnet-4-6", "--splits", "train=2", "test=1"]
    warm = ["warm", *address, *recipe, "--driver", "batch", "--detach"]
    assert main([*warm, "--shard", "1/3"]) == 0
    assert main(warm) == 0
    assert [len(batch.calls) for batch in provider.submitted] == [9, 18]


@pytest.mark.slow
def test_more_processes_than_calls_at_once_are_no_matter_by_batch(provider: BatchProvider) -> None:
    """A batch build may have more processes than concurrent calls, because only the online driver makes calls.

    After the batches have answered, no calls are made.
    """
    given = ["--num-dialogs-per-intent", "8", "--driver", "batch", "--num-proc", "4", "--max-concurrency", "3"]
    assert build(provider, "made.parquet", *given, "--max-calls", "144") == 0


@pytest.mark.slow
def test_a_refresh_by_batch_supersedes(provider: BatchProvider) -> None:
    """A refresh by batch requests all responses again."""
    build(provider, "made.parquet", "--driver", "batch")
    assert build(provider, "made.parquet", "--driver", "batch", "--mode", "refresh") == 0
    assert len(provider.digests) == 36


@pytest.mark.slow
def test_ctrl_c_leaves_the_batches_to_the_provider(tmp_path: Path) -> None:
    """On Ctrl-C, the batches continue at the provider, and the message lists them and says how to collect them."""
    with BatchProvider(looks=10**6) as provider:
        command = [sys.executable, "-m", "consistent_chat", "build", *calling(provider), "--driver", "batch"]
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
        running = forked.start([*command, "--output", "made.parquet"], environment)
        provider.reached("look", 30)
        running.send_signal(signal.SIGINT)
        done = running.finish()
    assert done.returncode == 130
    assert "Still open at the provider: batch 1 (msgbatch_0000, 9 requests" in done.stderr
    assert "Traceback" not in done.stderr
