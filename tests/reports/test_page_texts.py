"""Texts of dialogues on the report's page, in a real browser: Markdown, right-to-left text and hostile text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consistent_chat.reports import report
from tests.browser import PHONE, Open
from tests.reports.test_report_page import talk, written

pytestmark = pytest.mark.slow


MARKDOWN = """# Plan

Do **this** and `that`, see [here](https://example.org/x):

3. three

> <img src=x onerror='window.ran = true'>

```html
<script>window.ran = true</script>
```

| a | b | c | d | e | f | g |
|---|---|---|---|---|---|---|
| 1 | 2 | 3 | 4 | 5 | 6 | 7 |"""


def test_markdown_is_rendered_and_shown_raw_by_a_switch(tmp_path: Path, opened: Open) -> None:
    """Markdown becomes HTML elements, but never a link or an image.

    Search words are highlighted in it, and a switch shows the raw text.
    """
    window = opened(written(tmp_path, [talk("*hi*", MARKDOWN)]), "#d0", viewport=PHONE)
    page = window.page
    made = "#talk .assistant .said"
    texts = [page.inner_text(f"{made} {tag}") for tag in ("h4", "strong", "li", "td >> nth=6")]
    assert texts == ["Plan", "this", "three", "7"]
    assert page.get_attribute(f"{made} ol", "start") == "3"
    assert page.inner_text(f"{made} pre").strip() == "<script>window.ran = true</script>"
    assert page.inner_text(f"{made} blockquote") == "<img src=x onerror='window.ran = true'>"
    assert "here (https://example.org/x):" in page.inner_text(made)
    assert page.locator("#talk a, #talk img, #talk script").count() == 0
    page.wait_for_selector(f"{made} .scroll.wider")
    page.fill("#words", "that")
    page.wait_for_function("[...CSS.highlights.get('found')].map(String).join() === 'that'")
    page.check("#raw")
    page.locator("#talk .assistant p.said").wait_for()
    assert window.bubbles() == ["*hi*", MARKDOWN]
    assert page.evaluate("window.ran") is None
    assert window.complaints == []


def test_what_is_wider_than_a_phone_says_so(demo: Path, opened: Open) -> None:
    """No text is cut off at the edge of the screen, unless its frame shows that it scrolls."""
    page = opened(demo, viewport=PHONE).page
    page.wait_for_selector(".scroll.wider")
    assert page.evaluate(CUT) == []


CUT = """() => [...document.querySelectorAll("body *")].filter((each) => each.checkVisibility() && !each.closest("svg")
    && getComputedStyle(each).overflowX !== "visible" && each.scrollWidth > each.clientWidth + 1
    && !each.matches(".scroll.wider")).map((each) => each.outerHTML.slice(0, 80))"""


HOSTILE = [
    "<script>window.ran = true</script>",
    "<img src=x onerror='window.ran = true'><svg onload='window.ran = true'>",
    "</script><script>window.ran = true</script>",
    "</textarea></style></title><!-- <script> --> ]]> <!doctype",
    "{{ 7 * 7 }} ${alert(1)} <%= 1 %> $data $script $$ %(x)s \\u003cscript\\u003e",
    "javascript:alert(1) https://example.org/beacon &lt;b&gt; &#0;",
    "left \u202eright\u202c \u2066isolate\u2069 \u2028 \u2029 \ufeff end",
    "half \ud83d a pair \udc4d",
    "a" * 5_000,
    "مرحبا، كيف حالك؟ שלום",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002" * 40,
    "tab\tline\r\nbreak\n\n  indented\n",
]


def test_hostile_text_is_shown_and_runs_nothing(tmp_path: Path, opened: Open) -> None:
    """Hostile text in messages, topics, categories and failed draws is shown unchanged and never runs."""
    rows = [talk(text, text, category=text[:80] or "x", topic=text) for text in HOSTILE]
    draws = [
        {"index": 1, "stage": "answers", "substitute": 0, "reason": text[:40], "response": text} for text in HOSTILE
    ]
    (tmp_path / "failures.jsonl").write_text("".join(json.dumps(draw) + "\n" for draw in draws), "utf-8")
    data = tmp_path / "<img src=x onerror='window.ran = 1'> $data $title.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    page = tmp_path / "page.html"
    report(str(data), html=str(page), failures=str(tmp_path / "failures.jsonl"))
    window = opened(page, viewport=PHONE)
    window.page.evaluate("document.getElementById('raw').click()")
    window.page.select_option("#kind", "all")
    window.says("12 of 12 dialogues, 12 of 12 failed draws")
    for place in range(2 * len(HOSTILE)):
        window.page.evaluate(f"location.hash = 'd{place}'")
        window.page.wait_for_selector(f'#found [aria-current][href="#d{place}"]', state="attached")
        text = HOSTILE[place % len(HOSTILE)]
        assert window.bubbles() == [text] * (2 if place < len(HOSTILE) else 1)
        assert window.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert window.page.evaluate("window.ran") is None
    assert window.requests == [page.as_uri()]
    assert window.complaints == []


def test_right_to_left_text_is_set_so(tmp_path: Path, opened: Open) -> None:
    """Each message has the writing direction of its own text."""
    window = opened(written(tmp_path, [talk("مرحبا، كيف حالك؟", "Hello, thank you.")]))
    ways = window.page.locator("#talk .said").evaluate_all("all => all.map((each) => getComputedStyle(each).direction)")
    assert ways == ["rtl", "ltr"]
