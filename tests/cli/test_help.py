"""Tests of help, wrong usage and messages: they are quick, use the names of options, and never control the terminal."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consistent_chat.cli import all_commands, main
from consistent_chat.cli.group import Command, _spread
from consistent_chat.cli.options import in_options
from consistent_chat.recipe.description import OPERATIONAL, RECIPE, json_schema
from consistent_chat.text.console import complain, for_bar, log_to_stderr, say, tell
from consistent_chat.text.sanitize import sanitize_line
from consistent_chat.version import __version__
from tests import ROOT

NEVER = ("datasets", "pyarrow", "pandas", "numpy", "anthropic", "openai", "huggingface_hub", "aiohttp", "fsspec")
HOSTILE = "red \x1b[31m title \x1b]0;x\x07 copy \x1b]52;c;eA==\x07 up \x9b2J bidi \u202egnp\u202c over\rall done\x08"


@pytest.mark.slow_after(2)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [("--help", 0), ("--version", 0), ("build --help", 0), ("biuld", 2), ("build --outptu x", 2), ("build", 2)],
)
def test_help_and_wrong_usage_import_nothing_heavy(arguments: str, code: int) -> None:
    """Help and wrong usage import no heavy package, so they respond at once."""
    script = (
        "import sys; from consistent_chat.cli import main; code = main(sys.argv[1:]); "
        f"print([name for name in {NEVER} if name in sys.modules], code)"
    )
    command = [sys.executable, "-c", script, *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"[] {code}"


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["biuld"], "'build'"),
        (["estimat"], "'estimate'"),
        (["build", "--outptu", "x"], "--output"),
        (["build", "--num-turns-per-dialogue", "3"], "--num-turns-per-dialog"),
        (["verify", "--storage-option", "{}"], "--storage-options"),
        (["build", "--output", "x", "--layout", "messagse"], "'messages'"),
    ],
)
def test_a_slip_names_the_nearest(arguments: list[str], nearest: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped name gets a one-line message with the nearest name and where to find the usage."""
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert nearest in said
    assert len(said.splitlines()) == 1
    assert "--help` for its usage." in said


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the version on standard output."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"consistent-chat {__version__}\n"


@pytest.mark.parametrize("name", all_commands().commands)
def test_every_command_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of every command has examples that name the command."""
    command = all_commands().commands[name]
    assert isinstance(command, Command)
    assert main([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert command.examples
    assert all(line in said and f"consistent-chat {name}" in line for line in command.examples.splitlines())


def test_every_field_is_an_option() -> None:
    """Every recipe field and every operational field is an option of `build`."""
    options = {name for param in all_commands().commands["build"].params for name in param.opts}
    assert {described.option for described in (*RECIPE, *OPERATIONAL)} <= options


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Pass serving= (and model=) as well.", "Pass --serving (and --model) as well."),
        ("mode='refresh' calls anew.", "--mode refresh calls anew."),
        ("use checks=False, provenance=False", "use --checks false, --no-provenance"),
        ("max_cost=0.5 is reached.", "--max-cost 0.5 is reached."),
        ("seed must be a whole number", "--seed must be a whole number"),
        ("r.yaml, line 1 (seed): seed must be 1", "r.yaml, line 1 (seed): seed must be 1"),
        ("http://host/?model=x and data_files={'a': 1}", "http://host/?model=x and data_files={'a': 1}"),
    ],
)
def test_keywords_become_options(message: str, shown: str) -> None:
    """Python keywords in messages become command-line options; nothing else is changed."""
    assert in_options(message) == shown


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`schema` prints the JSON Schema, which editors can use."""
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


ARGUMENTS = st.lists(st.sampled_from(["--one", "--other", "a", "b", "-", "--", "-v", "--one=a"]), max_size=8)


@settings(derandomize=True)
@given(ARGUMENTS)
def test_values_in_a_row_keep_their_order(args: list[str]) -> None:
    """Only names of the option are added to its values, and other arguments are not changed."""
    spread = _spread(args, {"--one"})
    assert [arg for arg in spread if arg != "--one"] == [arg for arg in args if arg != "--one"]
    assert _spread(args, set()) == args


def test_nothing_that_is_printed_drives_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Messages, logs, results and the text of bars never control the terminal or imitate another line."""
    logger = logging.getLogger("consistent_chat")
    log_to_stderr()
    for print_line in (say, complain, logger.warning):
        print_line(HOSTILE)
    said = capsys.readouterr().err
    assert said.splitlines() == [sanitize_line(HOSTILE)] * 3
    tell(HOSTILE)
    printed = said + capsys.readouterr().out + for_bar(HOSTILE, 200)
    assert not set(printed) & {"\x1b", "\x07", "\x08", "\x9b", "\r", "\u202e", "\u202c"}


@pytest.mark.parametrize(
    "text",
    [
        f"{json.dumps(HOSTILE)}: 1",
        f"language: {json.dumps(HOSTILE)}",
        f"splits: {{{json.dumps(HOSTILE)}: 1}}",
        f"taxonomy: {json.dumps(HOSTILE)}",
        f"taxonomy: {{personas: [1], {json.dumps(HOSTILE)}: 1}}",
        f"taxonomy: {{manners: {{{json.dumps(HOSTILE)}: 1}}}}",
        f"intents: [{json.dumps(HOSTILE)}]",
        f"checks: {{{json.dumps(HOSTILE)}: 1}}",
    ],
)
def test_a_strangers_recipe_does_not_drive_the_terminal(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the content nor the name of a recipe file can control the terminal."""
    path = tmp_path / "od\x1b]0;d.consistent_chat.yaml"
    path.write_text(text, "utf-8")
    assert main(["estimate", str(path), "--model", "m"]) == 2
    said = capsys.readouterr().err
    assert not set(said) & {"\x1b", "\x07", "\x08", "\x9b", "\r", "\u202e"}
    assert len(said.splitlines()) == 1


def test_a_quiet_build_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A quiet build prints only errors; a forced build rebuilds the rows that are in the cache."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    assert main(["build", "demo", "--output", "demo.jsonl", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["build", "demo", "--output", "demo.jsonl"]) == 0
    assert "(built before, from the cache in" in capsys.readouterr().err
    assert main(["build", "demo", "--output", "demo.jsonl", "--force"]) == 0
    assert "(train: 18 dialogues" in capsys.readouterr().err
    assert main(["build", "demo", "--output", "demo.csv", "-q"]) == 2
    assert "must end in" in capsys.readouterr().err
