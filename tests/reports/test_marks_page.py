"""Marks on the report's page, in a real browser.

Users make marks by keyboard and save them as a review, and recipes and later pages use the review.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset

from consistent_chat.recipe import Recipe
from consistent_chat.reports import report
from tests.browser import PHONE, Window

pytestmark = pytest.mark.slow

Open = Callable[..., Window]
HOSTILE = "He said: \"no\"\\ \u2028 <b> \x85 - [x]: #\n'y' \U0001f600"


def saved(window: Window, tmp_path: Path, act: Callable[[], None]) -> Recipe:
    """Save the review of a page, and return a recipe that uses it."""
    with window.page.expect_download() as download:
        act()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == "demo.review.yaml"
    (tmp_path / "r.consistent_chat.yaml").write_text(f"model: m\nreview: {file.name}\n")
    return Recipe.from_file(str(tmp_path / "r.consistent_chat.yaml"))


def test_marks_are_made_by_keyboard_and_saved_as_a_review(browser: Any, demo: Path, tmp_path: Path) -> None:
    """Keys reject with a reason, keep with a note, and edit a message.

    The saved review contains exactly the typed text.
    """
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
    """Marks survive a reload and can be removed. A rejection without a reason cannot be saved."""
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
    """The page is no wider than the screen of a phone, even with an open edit."""
    window = Window(browser, demo, "#d0", viewport=PHONE)
    page = window.page
    page.wait_for_selector("#talk .edit")
    page.check("input[value=reject]")
    page.locator("#talk .user .edit").first.click()
    assert page.is_visible("#reason")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    window.close()


def test_rows_without_keys_take_no_marks(browser: Any, tmp_path: Path) -> None:
    """Rows without request keys cannot be marked, because a mark could not identify the dialogue."""
    data, page = tmp_path / "rows.jsonl", tmp_path / "page.html"
    data.write_text('{"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]}\n')
    report(str(data), html=str(page))
    window = Window(browser, page)
    assert window.page.is_hidden("#marking")
    assert window.page.locator(".edit").count() == 0
    window.close()


def test_a_page_goes_on_from_a_review(browser: Any, tmp_path: Path) -> None:
    """A page continues an existing review.

    Its marks are shown as text, can be changed and removed, and are saved with new ones. Marks of other dialogues stay.
    """
    rows = list(load_dataset("consistent_chat", "demo", split="train").select(range(3)))
    keys = [row["provenance"]["request_keys"] for row in rows]
    gone = {"keys": [f"sha256:{'f' * 64}"], "note": HOSTILE}
    before = [
        {"keys": keys[0], "verdict": "reject", "reason": f"</script><img src=x onerror=alert(1)> {HOSTILE}"},
        {"keys": [keys[1][-1], f"sha256:{'0' * 64}"], "edits": {"assistant_1": HOSTILE}},
        gone,
    ]
    (tmp_path / "demo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "before.yaml").write_text(yaml.safe_dump({"marks": before}))
    report(str(tmp_path / "demo.jsonl"), tmp_path / "page.html", review=str(tmp_path / "before.yaml"))
    window = Window(browser, tmp_path / "page.html")
    page = window.page
    page.wait_for_selector("#talk .edit")
    assert page.inner_text("#marked") == "Marks in this browser: 0. Marks of the review: 3."
    assert page.is_checked("input[value=reject]")
    assert page.input_value("#reason").startswith("</script><img src=x onerror=alert(1)> He said")
    page.check("input[value='']")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    page.wait_for_selector("#talk .edited")
    assert page.locator("#talk .edited p").first.text_content() == HOSTILE.strip()
    page.fill("#note", "of today")
    page.reload()
    page.wait_for_selector("#marking:not([hidden])")
    assert page.inner_text("#marked") == "Marks in this browser: 2. Marks of the review: 3."
    with page.expect_download() as download:
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("s")
    assert download.value.suggested_filename == "demo.review.yaml"
    download.value.save_as(tmp_path / "after.yaml")
    after = Recipe("m", review=str(tmp_path / "after.yaml")).loaded_review
    edited = {**before[1], "verdict": "keep", "note": "of today", "edits": {"assistant_1": HOSTILE.strip()}}
    assert after is not None
    assert [mark.plain for mark in after.marks] == [edited, {**gone, "verdict": "keep", "note": HOSTILE.strip()}]
    assert window.complaints == []
    window.close()
