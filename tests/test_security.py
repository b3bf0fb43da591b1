"""SECURITY.md says who is trusted with what, and each of its rows names tests that exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests import ROOT

ROWS = re.findall(r"^\| (?!who |-)(.*) \|$", (ROOT / "SECURITY.md").read_text("utf-8"), re.MULTILINE)
TESTS = sorted({name for row in ROWS for name in re.findall(r"`(tests/[\w/]+\.py::\w+)`", row)})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split(" |")[0])
def test_every_row_names_a_test(row: str) -> None:
    """Every row names a test in its last column."""
    assert re.search(r"`tests/[\w/]+\.py::test_\w+`$", row)


@pytest.mark.parametrize("name", TESTS)
def test_every_named_test_exists(name: str) -> None:
    """Every named test is a function in the named file."""
    file, _, function = name.partition("::")
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_there_are_rows() -> None:
    """The patterns of this file find more than 15 rows and more than 15 tests."""
    assert len(ROWS) > 15
    assert len(TESTS) > 15
