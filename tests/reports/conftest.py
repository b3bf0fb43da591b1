"""Fixtures that give the report tests a terminal of normal width, and the report's page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Open, Window, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Run one browser for all tests of a module."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report page of the demo."""
    from consistent_chat.reports import report  # imported here, since other tests of this folder do not need it

    path = tmp_path_factory.mktemp("pages") / "demo.html"
    report("demo", html=str(path))
    return path


@pytest.fixture
def opened(browser: Any) -> Iterator[Open]:
    """Return a function that opens pages, and close the pages after the test."""
    windows: list[Window] = []

    def open_page(path: Path, address: str = "", **settings: Any) -> Window:
        windows.append(Window(browser, path, address, **settings))
        return windows[-1]

    yield open_page
    for window in windows:
        window.close()


@pytest.fixture
def folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a separate folder and a terminal of normal width."""
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it in its workers
    return folder
