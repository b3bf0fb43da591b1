"""A terminal of the usual width, and the report's page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Open, Window, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's page."""
    from consistent_chat.reports import report  # other tests of this folder do without

    path = tmp_path_factory.mktemp("pages") / "demo.html"
    report("demo", html=str(path))
    return path


@pytest.fixture
def opened(browser: Any) -> Iterator[Open]:
    """Opens pages, and closes them after the test."""
    windows: list[Window] = []

    def open_page(path: Path, address: str = "", **settings: Any) -> Window:
        windows.append(Window(browser, path, address, **settings))
        return windows[-1]

    yield open_page
    for window in windows:
        window.close()


@pytest.fixture
def folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own folder, and a terminal of the usual width."""
    monkeypatch.delenv("COLUMNS", raising=False)  # which the workers of pytest-xdist have
    return folder
