"""The package declares exactly what it imports, with lower bounds, and the tests pin all of it."""

from __future__ import annotations

import ast
import configparser
import functools
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests import ROOT

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", "utf-8")
REQUIRED = SETUP["options"]["install_requires"]
EXTRAS = SETUP["options.extras_require"]
IMPORTED_AS = {"markdown_it": "markdown-it-py"}
"""Distributions whose modules Python 3.10 does not know, since they list no top-level names."""


def names(requirements: str) -> set[str]:
    """Return the normalized names of requirements that are listed one per line."""
    found = re.findall(r"^([A-Za-z0-9._-]+)", requirements, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


@functools.cache
def imported(folder: Path) -> frozenset[str]:
    """Return the top-level third-party modules that the files below a folder import, anywhere in their code."""
    modules: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.split(".")[0])
    return frozenset(modules - set(sys.stdlib_module_names) - {"consistent_chat", "tests", "tools"})


def distributions(modules: frozenset[str]) -> set[str]:
    """Return the normalized names of the distributions that provide the modules."""
    installed = packages_distributions()
    found = {name for module in modules for name in installed.get(module, [IMPORTED_AS.get(module, module)])}
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


def test_all_that_is_imported_is_declared() -> None:
    """Every imported distribution is declared. An indirect dependency could disappear in a later version."""
    declared = names(REQUIRED) | {name for extra in EXTRAS if extra != "test" for name in names(EXTRAS[extra])}
    assert distributions(imported(ROOT / "consistent_chat")) - declared == set()


def test_all_that_is_required_is_imported() -> None:
    """Every requirement is imported. An unused requirement costs every user an installation."""
    assert names(REQUIRED) - distributions(imported(ROOT / "consistent_chat")) == set()


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_every_requirement_has_a_lower_bound(extra: str) -> None:
    """Every requirement has a lower bound. `nox -s lowest` installs and tests the lowest versions."""
    lines = (EXTRAS[extra] if extra else REQUIRED).strip().splitlines()
    assert [line for line in lines if ">=" not in line] == []


@pytest.mark.parametrize("file", ["constraints.txt", "tests/lowest.txt"])
def test_every_requirement_of_the_tests_is_pinned(file: str) -> None:
    """Every requirement of the package and of its tests is pinned, so the tests run on the same versions on any day."""
    text = (ROOT / file).read_text("utf-8")
    assert (names(REQUIRED) | names(EXTRAS["test"])) - names(text) == set()


@pytest.mark.parametrize("file", ["constraints.txt", "tests/lowest.txt"])
def test_no_list_of_versions_names_an_index(file: str) -> None:
    """No list of versions contains the address of an index, because each user has a different one."""
    assert "://" not in (ROOT / file).read_text("utf-8")


BARE = re.compile(
    r"""(?:\binstall\b|--with\b|--from\b|\buvx\b|\bpipx\b|\bdependencies\b)(?:[^`\n&;|]|\\\n)*?"""
    r"""(?<![\w/.:@-])consistent[_-]chat(?![\w.:/-]|\s*@)""",
    re.IGNORECASE,
)
"""A command or list that installs the package by its name: until it is on an index, another owner gets the keys."""


@pytest.mark.parametrize(
    ("text", "is_bare"),
    [
        ("pip install consistent_chat", True),
        ('pip install "consistent-chat[openai]"', True),
        ("uv pip install -q --upgrade consistent_chat==0.1", True),
        ("uvx consistent-chat build demo", True),
        ('# dependencies = ["consistent_chat"]', True),
        ("uv run --with consistent_chat x.py", True),
        ('dependencies = ["datasets", "consistent_chat>=1"]', True),
        ("pip install -q . && .venv/bin/consistent-chat build demo", False),
        ("pip install ./consistent_chat", False),
        ("pip install consistent_chat-0.1-py3-none-any.whl", False),
        ("pip install consistent_chat @ git+https://host/x@1", False),
        ("consistent-chat build demo", False),
    ],
)
def test_a_bare_name_is_told_from_a_path_and_an_address(text: str, is_bare: bool) -> None:
    """The pattern finds installations by bare name, and does not match paths, addresses and other commands."""
    assert (BARE.search(text) is not None) is is_bare


@pytest.mark.slow
def test_nothing_installs_the_package_by_its_bare_name() -> None:
    """No document, script, workflow, message or job installs the package by its bare name."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = [name for name in tracked if name.endswith((".py", ".md", ".yml", ".yaml", ".toml", ".cfg", "run", ".sh"))]
    found = [name for name in texts if BARE.search((ROOT / name).read_text("utf-8"))]
    assert [name for name in found if name != "tests/test_dependencies.py"] == []


def test_the_script_lists_what_the_package_requires() -> None:
    """builder.py lists exactly the package's requirements.

    It imports the package from the folder beside it, and `uv` installs only what the script lists.
    """
    header = (ROOT / "builder.py").read_text("utf-8").partition("# dependencies = ")[2].partition("# ///")[0]
    assert ast.literal_eval(header.replace("#", "").strip()) == REQUIRED.strip().splitlines()
