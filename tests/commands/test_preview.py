"""`consistent-chat preview` shows a few dialogues before the full run, with their cost and the total cost."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from consistent_chat.cli import main
from consistent_chat.store import ResponseStore
from tests import ROOT
from tests.provider import Call, Provider, Reply

RECIPE = ("--num-dialogs-per-intent", "2", "--num-turns-per-dialog", "2", "--responses", "store")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in an empty folder, on a terminal of unknown width."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)


def calling(provider: Provider) -> tuple[str, ...]:
    """Return the options that name a provider and a model with a price."""
    return ("--serving", "anthropic", "--base-url", provider.url, "--api-key", "a-key", "--model", "claude-sonnet-4-6")


def test_the_first_dialogues_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The preview shows the first dialogues of as many intents, with their topics, roles and messages."""
    assert main(["preview", "demo", "-n", "2"]) == 0
    said = capsys.readouterr().out
    assert "1 of 2" in said
    assert "Problem Solving · Emails and Letters" in said
    assert "Educational Interaction · Mathematics and Reasoning" in said
    assert len(re.findall(r"^user *$", said, re.M)) == len(re.findall(r"^ +assistant *$", said, re.M)) == 12
    assert "these: 2 dialogues, 0 calls" in said
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= 100


def test_it_costs_little_and_the_build_does_not_pay_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    """The preview shows its own cost and that of the whole dataset, and the build reuses its responses."""
    with Provider() as provider:
        assert main(["preview", *calling(provider), *RECIPE, "-n", "3"]) == 0
        assert len(provider.requests) == 6
        said = capsys.readouterr().out
        assert re.search(r"these: 3 dialogues, 6 calls, [\d,]+ tokens, \$0\.\d{4}", said)
        assert "all of train: 18 dialogues, 3 of them recorded\nto do: 30 calls" in said
        assert re.search(r"cost: \$0\.\d{4} \(likely \$0\.\d{4} to \$0\.\d{4}\), as a batch", said)
        assert main(["build", *calling(provider), *RECIPE, "--output", "made.parquet"]) == 0
        assert len(provider.requests) == 36


def test_a_budget_ends_it_after_what_could_be_paid(capsys: pytest.CaptureFixture[str]) -> None:
    """A reached budget gives exit code 3, and the finished dialogues are shown."""
    assert main(["preview", "--serving", "rehearsal", *RECIPE, "--max-calls", "3", "--max-concurrency", "1"]) == 3
    said = capsys.readouterr()
    assert "rerun to resume" in said.err
    assert "1 of 3" in said.out
    assert "2 of 3" not in said.out


def test_no_calls_are_made_without_a_serving(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a serving, no calls are made and a message says what to pass."""
    assert main(["preview", "--model", "m", "--responses", "store"]) == 1
    assert "Pass --serving" in capsys.readouterr().err
    assert main(["preview"]) == 2
    assert "No model is set" in capsys.readouterr().err


def test_there_are_no_more_than_the_plan_has(capsys: pytest.CaptureFixture[str]) -> None:
    """The preview shows at most as many dialogues as the plan has, and its number must be at least one."""
    assert main(["preview", "--serving", "rehearsal", *RECIPE, "--intents", "simulation", "-n", "9"]) == 0
    said = capsys.readouterr().out
    assert "2 of 2" in said
    assert "nothing left to do" in said
    assert main(["preview", "-n", "0"]) == 2


HOSTILE = "red \x1b[31m \x1b]0;title\x07 up \x1b[9A \x9b2J bidi \u202egnp.exe\u202c \r over \x08\x7f 你好世界 🎉"


def hostile(call: Call) -> Reply | None:
    """Return control sequences for a terminal as the text of each requested key."""
    return Reply.text(json.dumps(dict.fromkeys(call.names, HOSTILE)))


@pytest.mark.slow
def test_model_text_does_not_drive_the_terminal() -> None:
    """On a real terminal, the only control sequences in the output are those for the colors of roles."""
    with Provider(hostile) as provider:
        said = on_a_terminal("preview", *calling(provider), *RECIPE, "--checks", "false", "-n", "1", columns=60)
    assert "\x1b[1;36muser" in said
    assert "\ufffd[31m" in said
    assert "你好世界" in said
    plain = re.sub(r"\x1b\[[\d;]*m", "", said)
    assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", plain)
    assert max(map(cells, plain.replace("\r", "").splitlines())) <= 60


def cells(line: str) -> int:
    """Return how many columns a line takes, where ideographs and emoji take two."""
    return sum(2 if ord(letter) >= 0x2E80 and letter != "\ufffd" else 1 for letter in line)


def on_a_terminal(*arguments: str, columns: int) -> str:
    """Return what a command prints on a pseudo terminal with a given number of columns."""
    leader, follower = pty.openpty()
    environment = {
        **os.environ,
        "COLUMNS": str(columns),
        "TERM": "xterm",
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "consistent_chat", *arguments]
    with subprocess.Popen(command, stdout=follower, stderr=subprocess.PIPE, env=environment) as running:
        os.close(follower)
        said = b""
        while part := _read(leader):
            said += part
        _, error = running.communicate(timeout=300)
    os.close(leader)
    assert running.returncode == 0, error.decode()
    return said.decode("utf-8")


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65_536)
    except OSError:  # Linux raises this at the end of a pseudo terminal
        return b""


@pytest.mark.slow
def test_what_an_encoding_lacks_is_printed_as_escapes() -> None:
    """Characters that the output's encoding lacks are printed as escapes, and the command succeeds."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "consistent_chat", "preview", "demo", "-n", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert b"Problem Solving \\xb7 Emails" in done.stdout


def test_what_was_of_no_use_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """The preview shows unusable draws with the reason, so that a bad prompt is seen before the full run."""
    assert main(["preview", "demo", "-n", "8"]) == 0
    assert "unusable: dialogue 7, skeleton, draw 0: wrong_turn_count" in capsys.readouterr().out
    assert list(ResponseStore("store").records()) == []
