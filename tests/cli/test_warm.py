"""Tests of `consistent-chat warm`: shards fill a store, and the build then finds all responses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset

import consistent_chat
from consistent_chat.cli import BUDGET, USAGE, main
from consistent_chat.errors import RecipeError
from tests import ROOT, forked
from tests.provider import Provider

pytestmark = pytest.mark.usefixtures("folder")  # a separate working directory and cache

SCALE = (ROOT / "docs" / "scale.md").read_text("utf-8")
MODEL = "claude-sonnet-4-6"


def calling(provider: Provider) -> list[str]:
    """Return the options of a dataset of 18 dialogues whose answers come from a provider."""
    options = ["--serving", "anthropic", "--base-url", provider.url, "--api-key", "a-key", "--model", MODEL]
    return [*options, "--num-dialogs-per-intent", "2", "--responses", "responses"]


def test_all_shards_together_are_the_build(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    """All shards together make each request of the build once, and the build then makes no calls.

    The shards themselves build no dataset.
    """
    for number in range(1, 5):
        assert main(["warm", *calling(provider), "--shard", f"{number}/4"]) == 0
        assert f"warmed shard {number}/4, train: " in capsys.readouterr().err
    assert len(provider.requests) == 36
    assert not list(Path("cache").rglob("*.arrow"))
    assert main(["build", *calling(provider), "--output", "made.parquet"]) == 0
    assert "18 dialogues, 0 calls" in capsys.readouterr().err
    assert len(provider.requests) == 36


@pytest.mark.slow
def test_a_store_that_is_complete_needs_no_provider(capsys: pytest.CaptureFixture[str]) -> None:
    """With a complete store, `warm` and `build` do not connect to the provider.

    Its port is closed, so a call would fail.
    """
    with Provider() as provider:
        options = calling(provider)
        assert main(["warm", *options]) == 0
    assert main(["warm", *options, "--shard", "2/3"]) == 0
    assert "warmed shard 2/3, train: 6 dialogues, 0 calls" in capsys.readouterr().err
    assert main(["build", *options, "--output", "made.parquet"]) == 0


def test_the_splits_of_several_recipes_are_all_warmed(provider: Provider) -> None:
    """`warm` in Python fills the store for all splits of several recipe files, given as for `load_dataset`."""
    for seed, split in enumerate(("train", "test")):
        text = f"model: {MODEL}\nnum_dialogs_per_intent: 2\nintents: [simulation]\nseed: {seed}\n"
        Path(f"{split}.consistent_chat.yaml").write_text(text)
    files = {split: f"{split}.consistent_chat.yaml" for split in ("train", "test")}
    where = {"serving": "anthropic", "base_url": provider.url, "api_key": "a-key", "responses": "responses"}
    all_stats = consistent_chat.warm(data_files=files, **where)
    assert {split: stats.dialogues for split, stats in all_stats.items()} == {"train": 2, "test": 2}
    assert load_dataset("consistent_chat", data_files=files, responses="responses").num_rows == {"train": 2, "test": 2}


def test_more_shards_than_dialogues_leave_some_with_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """A shard without dialogues is not an error, so the user who starts the processes need not count the dialogues."""
    assert main(["warm", "--serving", "rehearsal", "--intents", "simulation", "--shard", "1/100"]) == 0
    assert "warmed shard 1/100, no dialogues" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--shard", "0/16"], 2, "There is no shard '0/16'. Shards are numbered from 1: use 1/16 to 16/16"),
        (["--shard", "17/16"], 2, "There is no shard '17/16'"),
        (["--max-calls", "3"], 3, "--max-calls 3 is reached. All answers are kept; rerun to resume."),
        (["--mode", "replay"], 1, "No response is recorded for dialogue 0"),
        (["--ray", "care.consistent_chat.yaml"], 2, "Put the recipe before --ray"),
    ],
)
def test_what_cannot_be_is_one_message(
    options: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of `warm` is one message without a traceback, with the exit codes of a build."""
    assert main(["warm", "--serving", "rehearsal", "--responses", "responses", *options]) == code
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_near_duplicates_are_left_to_the_build(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    """A shard drops no near duplicates, because it knows only its own dialogues.

    A log message says that the build also needs a serving.
    """
    given = {"model": MODEL, "num_dialogs_per_intent": 2, "drop_near_duplicates": 0.1, "responses": "responses"}
    where = {"serving": "anthropic", "base_url": provider.url, "api_key": "a-key"}
    for number in (1, 2):
        stats = consistent_chat.warm(shard=f"{number}/2", **given, **where)["train"]
        assert (stats.dialogues, stats.substitutes) == (9, 0)
    assert "Pass serving= to the build as well" in caplog.text


@pytest.mark.slow
def test_ray_is_imported_by_who_uses_it() -> None:
    """Importing the package, its command line or its Ray module does not import Ray."""
    look = "import sys, consistent_chat.cli, consistent_chat.ray; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], cwd=ROOT, timeout=300).returncode == 0


def test_a_shard_and_a_cluster_are_two_ways(capsys: pytest.CaptureFixture[str]) -> None:
    """--shard and --ray cannot be combined, because Ray divides the work itself."""
    assert main(["warm", "--shard", "1/2", "--ray"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--ray" in said
    assert "--shard" in said


@pytest.mark.parametrize("command", [["warm"], ["estimate"], ["build", "--output", "made.parquet"]], ids=lambda c: c[0])
def test_combinations_that_run_out_are_said_up_front(
    command: list[str], provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """If combinations run out, one warning gives the numbers before any call."""
    Path("few.yaml").write_text(
        "personas: [a baker]\nmanners: {terse: short}\n"
        "intents: {problem_solving: {title: P, purpose: p, flows: [in_pieces], categories: {Few: [one, two]}}}\n"
    )
    options = [*calling(provider), "--intents", "problem_solving", "--taxonomy", "few.yaml"]
    main([*command, *options, "--num-dialogs-per-intent", "3", "--max-calls", "0"])
    said = [record.message for record in caplog.records if "combinations" in record.message]
    assert len(said) == 1
    assert "After 2 of 3 dialogues, the intent 'problem_solving' repeats combinations of topic, flow" in said[0]
    assert provider.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_scheduler_that_ends_the_process_loses_nothing(number: signal.Signals) -> None:
    """SIGTERM and SIGHUP have the effect of Ctrl-C: calls in flight are stored and packed.

    The next process continues the work.
    """
    half = threading.Event()
    with Provider(lambda call: half.set() if call.number == 12 else None, delay=0.2) as provider:
        options = [*calling(provider), "--max-concurrency", "4"]
        command = [sys.executable, "-m", "consistent_chat", "warm", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        running = forked.start(command, environment)
        assert half.wait(300)
        running.send_signal(number)
        done = running.finish()
        assert done.returncode == 130, done.stderr
        assert "Stopped. All answers are kept; rerun to resume." in done.stderr
        assert not list(Path("responses", "journals").glob("*"))
        assert main(["warm", *options]) == 0
        assert len(provider.requests) == 36


def line_with(variable: str) -> str:
    """Return the command in the docs that reads a scheduler's variable, with a folder as its store."""
    line = next(line for line in SCALE.splitlines() if variable in line and "consistent-chat warm" in line)
    command = "consistent-chat" + line.partition("consistent-chat")[2].rstrip('"')
    return command.replace("s3://bucket/responses", "shared/responses")


@pytest.mark.slow
def test_the_lines_of_the_docs_fill_one_store_side_by_side(provider: Provider, folder: Path) -> None:
    """Sixteen processes run the docs' commands at once, and each request is made once; a replay then finds everything.

    Eight are started as Slurm does it, and eight as Kubernetes does it.
    """
    scripts = folder / "bin"
    scripts.mkdir()
    (folder / "care.consistent_chat.yaml").write_text(f"model: {MODEL}\nnum_dialogs_per_intent: 2\n")
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ANTHROPIC_API_KEY": "a-key",
        "ANTHROPIC_BASE_URL": provider.url,
    }
    tasks = [("SLURM_ARRAY_TASK_ID", number) for number in range(1, 9)]
    indices = [("JOB_COMPLETION_INDEX", number) for number in range(8, 16)]
    with forked.client() as python:
        (scripts / "consistent-chat").write_text(f'#!/bin/sh\nexec {python} -m consistent_chat "$@"\n')
        (scripts / "consistent-chat").chmod(0o755)
        running = [
            subprocess.Popen(["bash", "-euc", line_with(variable)], env={**environment, variable: str(number)})
            for variable, number in (*tasks, *indices)
        ]
        assert [process.wait(240) for process in running] == [0] * 16
    assert len(provider.requests) == 36
    where = {"data_files": "care.consistent_chat.yaml", "responses": "shared/responses", "mode": "replay"}
    assert load_dataset("consistent_chat", **where, split="train").num_rows == 18


def test_the_kubernetes_job_is_one() -> None:
    """The docs' Kubernetes job is an Indexed Job with one completion per shard.

    A process that cannot succeed is not started again.
    """
    block = re.search(r"```yaml\n(# job\.yaml\n.*?)```", SCALE, re.DOTALL)
    assert block
    job = yaml.safe_load(block[1])
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert f"/{job['spec']['completions']}" in " ".join(container["command"])
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"  # required by podFailurePolicy
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [USAGE, BUDGET]}}


def test_a_shard_that_is_none_is_an_error_in_python_too() -> None:
    """In Python, an invalid shard raises RecipeError before anything else happens."""
    with pytest.raises(RecipeError, match="no shard '5/4'"):
        consistent_chat.warm(serving="rehearsal", shard="5/4")


@pytest.mark.slow
def test_the_table_of_a_million_dialogues_is_computed() -> None:
    """The docs' table of a million dialogues is the output of the script that computes it."""
    done = subprocess.run(
        [sys.executable, "benchmarks/million.py"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() in SCALE
