"""Marks on the report's page, in a real browser: made by keyboard, kept, saved as a review, and applied by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.recipe import Recipe
from consistent_chat.reports import report
from tests.browser import PHONE, Window, chromium

pytestmark = pytest.mark.slow

Open = Callable[..., Window]
HOSTILE = "He said: \"no\"\\ \u2028 <b> \x85 - [x]: #\n'y' \U0001f600"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's page."""
    path = tmp_path_factory.mktemp("pages") / "demo.html"
    report("demo", html=str(path))
    return path


def saved(window: Window, tmp_path: Path, act: Callable[[], None]) -> Recipe:
    """Return a recipe with the review that a page saves."""
    with window.page.expect_download() as download:
        act()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == "demo.review.yaml"
    (tmp_path / "r.consistent_chat.yaml").write_text(f"model: m\nreview: {file.name}\n")
    return Recipe.from_file(str(tmp_path / "r.consistent_chat.yaml"))


def test_marks_are_made_by_keyboard_and_saved_as_a_review(browser: Any, demo: Path, tmp_path: Path) -> None:
    """Reject with a reason, keep with a note, edit a message; whatever is typed is read back as it is."""
    window = Window(browser, demo)
    page = window.page
    page.keyboard.press("x")
    page.keyboard.type("too dull")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    page.wait_for_selector("#talk .edit")
    page.keyboard.press("a")
    page.fill("#note", "fine: really")
    page.locator("#talk .assistant .edit").first.click()
    page.fill("#talk textarea", HOSTILE)
    assert page.inner_text("#marked") == "Marks in this browser: 2."
    page.evaluate("document.activeElement.blur()")
    review = saved(window, tmp_path, lambda: page.keyboard.press("s")).loaded_review
    assert review is not None
    assert [(mark.verdict, mark.reason, mark.note) for mark in review.marks] == [
        ("reject", "too dull", ""),
        ("keep", "", "fine: really"),
    ]
    assert dict(review.marks[1].edits) == {"assistant_1": HOSTILE.strip()}
    assert window.complaints == []
    window.close()


def test_marks_are_kept_and_taken_back(browser: Any, demo: Path) -> None:
    """Over a reload; a rejection without a reason is not saved."""
    window = Window(browser, demo)
    page = window.page
    page.keyboard.press("x")
    assert "1 without a reason" in page.inner_text("#marked")
    assert page.is_disabled("#save")
    page.fill("#reason", "dull")
    page.reload()
    page.wait_for_selector("#marking:not([hidden])")
    assert page.input_value("#reason") == "dull"
    page.check("input[value='']")
    assert page.inner_text("#marked") == "Marks in this browser: 0."
    window.close()


def test_marks_fit_a_phone(browser: Any, demo: Path) -> None:
    """Nothing is wider than the screen, with an open edit too."""
    window = Window(browser, demo, "#d0", viewport=PHONE)
    page = window.page
    page.wait_for_selector("#talk .edit")
    page.check("input[value=reject]")
    page.locator("#talk .user .edit").first.click()
    assert page.is_visible("#reason")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    window.close()


def test_rows_without_keys_take_no_marks(browser: Any, tmp_path: Path) -> None:
    """A mark of them would name no dialogue."""
    data, page = tmp_path / "rows.jsonl", tmp_path / "page.html"
    data.write_text('{"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]}\n')
    report(str(data), html=str(page))
    window = Window(browser, page)
    assert window.page.is_hidden("#marking")
    assert window.page.locator(".edit").count() == 0
    window.close()
