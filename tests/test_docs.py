"""Every command and example of the README and the docs runs, page by page and from top to bottom."""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import consistent_chat
from consistent_chat.version import __version__
from tests import ROOT, forked
from tests.batches import BatchProvider
from tests.hub import WRITER, Hub
from tests.provider import Provider
from tools import commands_page
from tools.picture_terminal import PICTURE, session

README, DOCS = ROOT / "README.md", sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ROOT / "examples" / "README.md", *DOCS]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE_NAME = re.compile(r"# (\S+\.(?:py|yaml))\n")
SETS_UP = "python3 -m venv"
LOCAL_SERVER = "http://127.0.0.1:8000/v1"


@pytest.fixture
def shell(page: Path, tmp_path: Path) -> Iterator[Shell]:
    """Provide a separate folder in which the addresses of the providers and of the Hub are those of local servers.

    Commands of the README start in ordinary processes, as readers start them. Commands of other pages start by
    tests/forked.py, which is faster.
    """
    quick = contextlib.nullcontext(f'"{sys.executable}"') if page == README else forked.client()
    with BatchProvider() as provider, Hub() as hub, quick as python:
        yield Shell(tmp_path, provider, hub, python)


class Shell:
    """Run the blocks of a page in one folder."""

    def __init__(self, folder: Path, provider: Provider, hub: Hub, python: str) -> None:
        self.folder, self.provider = folder, provider
        scripts = folder / "bin"
        scripts.mkdir()
        for name, act in (
            ("consistent-chat", '-m consistent_chat "$@"'),
            ("uv", f'{ROOT / "builder.py"} "${{@:3}}"'),
            ("python", '"$@"'),
        ):
            command = scripts / name
            command.write_text(f"#!/bin/bash\nexec {python} {act}\n")
            command.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HF_HOME": str(folder / "home"),
            "ANTHROPIC_API_KEY": "a-key",
            "ANTHROPIC_BASE_URL": provider.url,
            "DF_API_KEY": "a-key",
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": WRITER,
        }

    def run(self, language: str, text: str) -> None:
        """Run a block, or write it to a file if it begins with a file name."""
        name = FILE_NAME.match(text)
        if name:
            (self.folder / name[1]).write_text(text)
        elif language == "python":
            self._execute(
                [str(self.folder / "bin" / "python"), "-c", text.replace(LOCAL_SERVER, self.provider.openai_url)]
            )
        elif language == "sh" and SETS_UP not in text:
            self._execute(["bash", "-euo", "pipefail", "-c", text])

    def _execute(self, command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.name)
def test_every_example_runs(page: Path, shell: Shell) -> None:
    """A page's examples run in their order. An example that the README shows too runs only with the README."""
    elsewhere = README.read_text("utf-8") if page != README else ""
    for language, text in BLOCK.findall(page.read_text("utf-8")):
        if text not in elsewhere:
            shell.run(language, text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Links between pages and to files are not broken."""
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the repository's host and the site generate them."""
    text = BLOCK.sub("", page.read_text("utf-8"))
    titles = (re.sub(r"[^\w\s-]", "", title).lower() for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    return {re.sub(r"\s+", "-", title.strip()) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_anchor_is_a_heading(page: Path) -> None:
    """The anchor of a link is that of a heading of its target page."""
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text("utf-8")):
        assert anchor in anchors(page.parent / target if target else page), f"{target}#{anchor}"


def test_the_site_has_every_page_once() -> None:
    """The navigation lists every page once. Readers would not find a page that is left out."""
    sections = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    listed = [page for section in sections for pages in section.values() for page in pages]
    assert sorted(listed) == [page.name for page in DOCS]


def test_the_readmes_badges_row_and_citation_are_true() -> None:
    """The README's badges, citation and sample row agree with the metadata and with the demo."""
    readme, setup = README.read_text("utf-8"), (ROOT / "setup.cfg").read_text("utf-8")
    versions = re.findall(r"Python :: (3\.\d+)$", setup, re.MULTILINE)
    assert f"/python-{'%20%7C%20'.join(versions)}-" in readme
    assert "license = Apache-2.0" in setup
    assert "/licence-Apache--2.0-" in readme
    assert f"version = {{{__version__}}}" in readme
    row = json.loads(next(text for language, text in BLOCK.findall(readme) if language == "json"))
    written = yaml.safe_load((ROOT / "tools" / "demo_dialogues.yaml").read_text("utf-8"))
    pair = [[said["value"] for said in row["conversation"] if said["role"] == role] for role in ("user", "assistant")]
    assert [row["category"], *pair] in [[each["category"], each["users"][:2], each["answers"][:2]] for each in written]


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    """The page of commands matches the help of the commands. `python -m tools.commands_page` renews it."""
    assert commands_page.PAGE.read_text("utf-8") == commands_page.page()


@pytest.mark.slow
def test_the_picture_of_a_terminal_has_the_present_output(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of the picture is what the commands print. `python -m tools.picture_terminal` renews it."""
    for name in ("FORCE_COLOR", "COLUMNS"):  # set by the tool
        monkeypatch.setenv(name, "")
    shown, printed = (re.findall(r"<text[^>]*>(.*?)</text>", svg) for svg in (PICTURE.read_text("utf-8"), session()))
    assert shown == printed


def test_ci_runs_the_readmes_two_commands() -> None:
    """The two commands for installation are one line each, and CI reads them literally from the README."""
    commands = [
        text.strip() for language, text in BLOCK.findall((ROOT / "README.md").read_text("utf-8")) if SETS_UP in text
    ]
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    assert f"grep -E '^{SETS_UP}' README.md" in ci
    assert "$(readme 1)" in ci
    assert "$(readme 2)" in ci


@functools.cache
def templates(text: str) -> tuple[str, ...]:
    """Return the string literals of a file, with `…` in the place of inserted values."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(re.sub(r"%[-.\d]*[drsf]", "…", node.value))
    return tuple(found)


def test_every_quoted_message_is_in_the_code() -> None:
    """Every message on the troubleshooting page is in the package's code; `…` stands for the parts that vary."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    quoted = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
    code = [path.read_text("utf-8") for path in Path(consistent_chat.__file__).parent.rglob("*.py")]
    for message in quoted:
        words = max(re.split("…", message), key=len).strip()[:20]
        assert any(message.strip("… ") in text for file in code if words in file for text in templates(file)), message
    assert len(quoted) > 20
