"""SECURITY.md says who is trusted with what, and each row names tests that exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests import ROOT

ROWS = re.findall(r"^\| (?!who |-)(.*) \|$", (ROOT / "SECURITY.md").read_text("utf-8"), re.MULTILINE)
TESTS = sorted({name for row in ROWS for name in re.findall(r"`(tests/[\w/]+\.py::\w+)`", row)})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split(" |")[0])
def test_every_row_names_a_test(row: str) -> None:
    """In its last column."""
    assert re.search(r"`tests/[\w/]+\.py::test_\w+`$", row)


@pytest.mark.parametrize("name", TESTS)
def test_every_named_test_exists(name: str) -> None:
    """In the file that is named, as a function that the test runner finds."""
    file, _, function = name.partition("::")
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_there_are_rows() -> None:
    """The patterns above find what they should."""
    assert len(ROWS) > 15
    assert len(TESTS) > 15
