"""Imports have one direction: rooms follow the order of one table, and no files import each other in a circle."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests import ROOT

PACKAGE = ROOT / "consistent_chat"
ROOMS = [
    {"files", "retry", "signals", "version", "text"},
    {"errors"},
    {"request", "duplicates", "hub"},
    {"prices"},
    {"registration"},
    {"recipe"},
    {"plan"},
    {"dialogue"},
    {"serving", "store"},
    {"drivers", "row", "output"},
    {"stats"},
    {"card"},
    {"builder"},
    {"commands", "dataflow"},
    {"reports", "ray"},
    {"publishing"},
    {"api"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(ROOMS) for name in names}
MAY_IMPORT_DATASETS = {"registration", "builder", "commands", "reports", "publishing"}


def room(module: str) -> str:
    """Return the room, which is a folder or top-level module, that a dotted name belongs to."""
    first = module.split(".")[1] if "." in module else "__init__"
    return first if first in LEVEL else "__init__"


def modules() -> dict[str, Path]:
    """Return the package's files by their dotted names."""
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(PACKAGE.rglob("*.py"))}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


@functools.cache
def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports, anywhere in its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def arrows(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return, for each module of the package, the modules of the package that it imports."""
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        own = {name for name in imported(path) if name.split(".")[0] == "consistent_chat"}
        graph[module] = {name if name in files else name.rpartition(".")[0] for name in own} - {module}
    return graph


def test_imports_point_one_way() -> None:
    """A room imports only rooms that are before it in the table."""
    wrong = [
        f"{module} imports {other}"
        for module, others in arrows(modules()).items()
        for other in others
        if room(other) != room(module) and LEVEL[room(other)] >= LEVEL[room(module)]
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    """No files import each other in a circle, neither within a room nor between rooms."""
    TopologicalSorter(arrows(modules())).prepare()


def test_a_circle_within_a_room_is_seen(tmp_path: Path) -> None:
    """The test for circles fails if two files of a room import each other."""
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / f"{name}.py").write_text(f"from consistent_chat.room.{other} import thing\n")
    circle = {f"consistent_chat.room.{name}": tmp_path / f"{name}.py" for name in ("one", "two")}
    with pytest.raises(CycleError):
        TopologicalSorter(arrows(circle)).prepare()


def test_only_a_few_rooms_import_datasets() -> None:
    """Only the listed rooms import `datasets`. The others could serve another library."""
    using = {room(name) for name, path in modules().items() if "datasets" in {i.split(".")[0] for i in imported(path)}}
    assert using <= MAY_IMPORT_DATASETS


def test_the_table_is_complete() -> None:
    """Every module has its room in the table, and every room in the table exists."""
    assert {room(name) for name in modules()} == set(LEVEL)
