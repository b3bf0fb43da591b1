"""Imports run one way: each module imports only what stands above it in this table."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "consistent_chat"
LAYERS = [
    {"errors", "version", "visible", "language"},
    {"plain_yaml", "svg", "screen", "request", "prices", "duplicates"},
    {"taxonomy"},
    {"recipe"},
    {"plan", "shards"},
    {"prompts", "parse", "splits", "judgement"},
    {"identity", "checks"},
    {"dialogue"},
    {"serving", "store"},
    {"drive", "row"},
    {"registration", "progress", "llamafactory", "config", "operation", "statistics", "batches", "estimate"},
    {"plots", "preview"},
    {"card"},
    {"builder", "dataflow"},
    {"opening"},
    {"export", "report", "ray", "warming"},
    {"publishing"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MAY_IMPORT_DATASETS = {"builder", "config", "registration", "progress", "export", "opening"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """Return the module or subpackage of the table to which a file belongs."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports, lazily or not."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    """A module knows what it is made of, never who uses it."""
    own = part(path)
    for name in imported(path):
        if name.startswith("consistent_chat."):
            other = name.split(".")[1]
            other = other if other in LEVEL else "__init__"
            assert other == own or LEVEL[other] < LEVEL[own], f"{own} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_a_few_modules_import_datasets(path: Path) -> None:
    """The rest could serve another library as it is."""
    if part(path) not in MAY_IMPORT_DATASETS:
        assert not any(name.split(".")[0] == "datasets" for name in imported(path))


def test_the_table_is_complete() -> None:
    """Every module has its place."""
    assert {part(path) for path in MODULES} == set(LEVEL)
