"""Tests of `consistent-chat build`: its files, its messages and its exit codes."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from consistent_chat.builder.config import DEMO as DEMO_FOLDER
from consistent_chat.cli import main
from consistent_chat.store import ResponseStore
from tests import ROOT
from tests.provider import Provider
from tests.stored import heed_signals, until

pytestmark = pytest.mark.usefixtures("folder")  # a separate working directory and cache

DEMO = str(DEMO_FOLDER / "responses")


@pytest.fixture
def slow_provider() -> Iterator[Provider]:
    """Yield a provider that takes 0.1 s for each answer."""
    with Provider(delay=0.1) as running:
        yield running


def build(*options: str) -> int:
    """Run `build` in this process and return its exit code."""
    return main(["build", "--responses", "responses", *options])


def calling(provider: Provider) -> tuple[str, ...]:
    """Return the options that select a provider."""
    return ("--serving", "anthropic", "--base-url", provider.url, "--api-key", "a-key", "--model", "claude-sonnet-4-6")


def test_the_demo_as_parquet_and_as_jsonl() -> None:
    """The demo has the same 18 rows as Parquet and as JSONL."""
    assert main(["build", "demo", "--output", "demo.parquet"]) == 0
    assert main(["build", "demo", "--output", "demo.jsonl"]) == 0
    rows = [json.loads(line) for line in Path("demo.jsonl").read_text("utf-8").splitlines()]
    assert pq.read_table("demo.parquet").to_pylist() == rows
    assert len(rows) == 18


def test_jsonl_is_readable_in_any_language() -> None:
    """Letters of all languages are written to JSONL unescaped."""
    main(["build", "demo", "--output", "demo.jsonl"])
    assert "\\u" not in Path("demo.jsonl").read_text("utf-8")


def test_a_folder_gets_a_file_for_each_split() -> None:
    """An `--output` without a file extension is a folder, which gets a file for each split."""
    assert build("--serving", "rehearsal", "--num-dialogs-per-intent", "1", "--output", "made") == 0
    assert pq.read_table("made/train.parquet").num_rows == 9


def test_every_recipe_field_is_an_option() -> None:
    """Recipe fields are options in kebab case, and each option has its effect."""
    code = build(
        "--serving", "rehearsal", "--num-dialogs-per-intent", "2", "--num-turns-per-dialog", "3", "--seed", "7",
        "--temperature", "0.5", "--intents", "educational", "transaction", "--language", "French",
        "--layout", "sharegpt", "--no-provenance", "--output", "made.jsonl",
    )  # fmt: skip
    assert code == 0
    rows = [json.loads(line) for line in Path("made.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 4
    assert list(rows[0]) == ["category", "conversations"]
    assert [message["from"] for message in rows[0]["conversations"]] == ["human", "gpt"] * 3
    asked = next(ResponseStore("responses").records()).asked()
    assert (asked["temperature"], asked["seed"]) == (0.5, 7)
    assert "French" in asked["system"]


def test_the_last_line_says_what_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line shows the numbers of rows, calls and tokens."""
    build("--serving", "rehearsal", "--num-dialogs-per-intent", "1", "--output", "made.parquet")
    assert "made.parquet: 9 rows of train (train: 9 dialogues, 18 calls, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--serving", "rehearsal", "--num-turns-per-dialog", "0"], 2, "--num-turns-per-dialog must be a whole"),
        (["recipe.yml"], 2, "There is no recipe file recipe.yml"),
        (["dmeo"], 2, "'dmeo' is neither a config"),
        (["--model", "m"], 1, "Pass --serving"),
        ([], 2, "No model is set"),
        (["--serving", "anthropic", "--model", "claude-sonnet-4-6"], 1, "ANTHROPIC_API_KEY"),
    ],
)
def test_what_is_wrong_is_one_message(
    options: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error is one message without a traceback, and no output is written.

    Exit code 1 is a failure, and 2 is wrong usage.
    """
    assert build(*options, "--output", "made.parquet") == code
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not Path("made.parquet").exists()


def test_an_output_that_cannot_be_is_said_first(capsys: pytest.CaptureFixture[str]) -> None:
    """An output with an unsupported file extension is an error before any call."""
    assert build("--serving", "rehearsal", "--output", "made.csv") == 2
    assert ".parquet or .jsonl" in capsys.readouterr().err
    assert not Path("responses").exists()


def test_a_budget_stops_with_code_3_and_the_next_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """A build that reaches its budget ends with exit code 3, and the next run makes only the remaining calls."""
    options = ("--serving", "rehearsal", "--num-dialogs-per-intent", "2", "--output", "made.parquet")
    assert build(*options, "--max-calls", "10") == 3
    assert "rerun to resume" in capsys.readouterr().err
    assert build(*options) == 0
    assert "26 calls" in capsys.readouterr().err


def run_and_signal(
    provider: Provider, number: signal.Signals, *options: str, to_all: bool = False
) -> subprocess.CompletedProcess[str]:
    """Start a build in another process, and send it a signal after 40 of its 108 requests.

    With `to_all`, the signal goes to the process and its workers.
    """
    command = [sys.executable, "-m", "consistent_chat", "build", *calling(provider), "--num-dialogs-per-intent", "6"]
    command += ["--responses", "responses", "--output", "made.parquet", "--max-concurrency", "4", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=to_all,
        preexec_fn=heed_signals,
    ) as running:
        while len(provider.requests) < 40 and running.poll() is None:
            time.sleep(0.01)
        os.killpg(running.pid, number) if to_all else running.send_signal(number)
        try:
            _, said = running.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            running.kill()  # otherwise the end of the block would wait for it
            raise
    return subprocess.CompletedProcess(command, running.returncode, "", said)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_worker_that_dies_stops_the_others_cleanly(slow_provider: Provider) -> None:
    """If one of several processes is killed, the others keep their answers and tell what they have spent."""
    command = [sys.executable, "-m", "consistent_chat", "build", *calling(slow_provider), "--num-proc", "2"]
    command += ["--num-dialogs-per-intent", "6", "--responses", "responses", "--output", "made.parquet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        until(lambda: len(slow_provider.requests) > 20)
        *_, worker = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        os.kill(int(worker), signal.SIGKILL)
        _, said = running.communicate(timeout=120)
    *_, before, last = said.strip().splitlines()
    assert running.returncode == 1
    assert "Traceback" not in said
    assert "Before the stop: " in before
    assert last.endswith("One of the 2 processes died; its calls are not in the counts. All answers are kept; rerun to "
                         "resume.")  # fmt: skip


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(slow_provider: Provider) -> None:
    """On Ctrl-C, responses in flight are stored and one line is printed; the next run sends no request twice."""
    done = run_and_signal(slow_provider, signal.SIGINT)
    assert "Stopped. All answers are kept; rerun to resume." in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list(ResponseStore("responses").records())) == len(slow_provider.requests)
    assert build(*calling(slow_provider), "--num-dialogs-per-intent", "6", "--output", "made.parquet") == 0
    assert len(slow_provider.requests) == 108


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("to_all", [True, False], ids=["to all", "to the first"])
def test_a_signal_stops_several_processes_cleanly_too(
    slow_provider: Provider, number: signal.Signals, to_all: bool
) -> None:
    """A signal stops several processes cleanly, and the workers store the responses in flight.

    From the keyboard it reaches all of them, from `kill` only the first.
    """
    done = run_and_signal(slow_provider, number, "--num-proc", "3", to_all=to_all)
    assert done.returncode == 130
    assert done.stderr.strip().splitlines()[-1].endswith("Stopped. All answers are kept; rerun to resume.")
    assert "Traceback" not in done.stderr
    until(lambda: len(list(ResponseStore("responses").records())) == len(slow_provider.requests))
    assert len(slow_provider.requests) < 108
    assert not Path("made.parquet").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_scheduler_stops_a_build_as_ctrl_c_does(slow_provider: Provider, number: signal.Signals) -> None:
    """SIGTERM and SIGHUP stop a build as Ctrl-C does, and responses in flight are stored."""
    done = run_and_signal(slow_provider, number)
    assert done.returncode == 130
    assert "Stopped. All answers are kept; rerun to resume." in done.stderr
    assert len(list(ResponseStore("responses").records())) == len(slow_provider.requests)


@pytest.mark.slow
def test_kill_9_loses_at_most_what_was_in_flight(slow_provider: Provider) -> None:
    """`kill -9` loses at most the responses in flight, because the journal has every response that had arrived."""
    run_and_signal(slow_provider, signal.SIGKILL)
    assert build(*calling(slow_provider), "--num-dialogs-per-intent", "6", "--output", "made.parquet") == 0
    assert len(slow_provider.requests) <= 108 + 4


REASONS = ["no_json", "truncated", "wrong_turn_count"]


def test_failures_are_a_file_of_their_own() -> None:
    """The file of failures has the reason and the exact text of each unusable response, in the order of the plan."""
    assert main(["build", "demo", "--output", "demo.jsonl", "--failures", "failures.jsonl"]) == 0
    rows = [json.loads(line) for line in Path("failures.jsonl").read_text("utf-8").splitlines()]
    assert sorted(row["reason"] for row in rows) == REASONS
    assert [row["index"] for row in rows] == sorted(row["index"] for row in rows)
    said = {record.key: record.kept.answer().text for record in ResponseStore(DEMO).records()}
    assert [row["response"] for row in rows] == [said[row["request_key"]] for row in rows]


@pytest.mark.slow
def test_a_build_without_failures_has_an_empty_file_of_them() -> None:
    """Without failures, their file has all columns and no rows, also after a build with several processes."""
    options = ("--serving", "rehearsal", "--num-dialogs-per-intent", "4", "--num-proc", "2")
    assert build(*options, "--output", "made.parquet", "--failures", "failures.parquet") == 0
    assert pq.read_table("failures.parquet").num_rows == 0
    assert "response" in pq.read_table("failures.parquet").column_names


def test_a_file_for_failures_needs_a_known_ending(capsys: pytest.CaptureFixture[str]) -> None:
    """A failures file with an unknown extension is an error before the build starts."""
    assert main(["build", "demo", "--output", "demo.jsonl", "--failures", "failures.csv"]) == 2
    assert "--failures failures.csv must end in .parquet or .jsonl." in capsys.readouterr().err
    assert not Path("demo.jsonl").exists()


def test_failures_never_take_the_place_of_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """The failures file must not be the output file, even if the path is spelled differently."""
    assert main(["build", "demo", "--output", "demo.jsonl", "--failures", "./demo.jsonl"]) == 2
    assert (
        "--failures ./demo.jsonl is also the file of --output. Choose two different names." in capsys.readouterr().err
    )
    assert not Path("demo.jsonl").exists()


def test_verbose_says_why_answers_were_of_no_use(capsys: pytest.CaptureFixture[str]) -> None:
    """With -v, each unusable answer is a line with its dialogue, stage and draw, and the last line counts them."""
    logger = logging.getLogger("consistent_chat")
    handlers = list(logger.handlers)
    try:
        assert main(["build", "demo", "--output", "demo.jsonl", "--failures", "failures.jsonl", "-v"]) == 0
    finally:
        logger.handlers, logger.propagate = handlers, True
        logger.setLevel(logging.NOTSET)
    said = capsys.readouterr().err
    assert (
        len(re.findall(r"^dialogue \d+, (?:skeleton|answers), draw 0: (?:no_json|truncated|wrong_t)", said, re.M)) == 3
    )
    assert "3 unusable answers (1 no_json, 1 truncated, 1 wrong_turn_count)" in said
