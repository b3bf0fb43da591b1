"""A real browser for tests: Debian's Chromium, driven by playwright. Where either is missing, the tests are skipped."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Start the browser, or skip the test and say what it lacks."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install '.[browser]'")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


class Window:
    """A page in a separate window. It collects the requests and the errors since the window was opened."""

    def __init__(self, browser: Any, path: Path, address: str = "", **settings: Any) -> None:
        self.path = path
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_context(**{"viewport": DESK, **settings}).new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message) or dialog.dismiss())
        self.page.goto(f"{path.as_uri()}{address}")
        self.page.wait_for_selector("#reader-title:not(:empty)", state="attached")

    @property
    def count(self) -> str:
        """Return the text that tells how many dialogues were found."""
        return str(self.page.inner_text("#count"))

    def listed(self) -> list[str]:
        """Return the titles in the list."""
        return list(self.page.locator("#found .title").all_text_contents())

    def bubbles(self) -> list[str]:
        """Return the texts of the messages of the dialogue that is shown."""
        return list(self.page.locator("#talk .said").evaluate_all("all => all.map((each) => each.textContent)"))

    def says(self, count: str) -> None:
        """Wait until the page shows this count of found dialogues."""
        self.page.locator("#count", has_text=count).wait_for()

    def shows(self, title: str) -> None:
        """Wait until the page shows the dialogue with this title."""
        self.page.locator("#reader-title", has_text=title).wait_for(state="attached")

    def close(self) -> None:
        """Close the window."""
        self.page.context.close()


Open = Callable[..., Window]
"""Opens a page in a window, as the fixture `opened` does."""
