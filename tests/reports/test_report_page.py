"""The report's page in a real browser: search, keyboard, phone screens, and a page that fetches and runs nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.reports import report
from tests.browser import PHONE, Open

pytestmark = pytest.mark.slow


def written(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write the report page of a dataset with these rows, and return its path."""
    data, page = tmp_path / "rows.jsonl", tmp_path / "page.html"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    report(str(data), html=str(page))
    return page


def talk(*texts: str, category: str = "Travel Facts", topic: str = "") -> dict[str, Any]:
    """Return a row with these messages, of user and assistant in turn."""
    said = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    return {"category": category, "messages": said, **({"provenance": {"topic": topic}} if topic else {})}


def test_it_opens_offline_and_fetches_nothing(demo: Path, opened: Open) -> None:
    """The page is a single file. It opens without other requests and without errors."""
    window = opened(demo)
    assert window.requests == [demo.as_uri()]
    assert window.complaints == []
    assert window.count == "18 of 18 dialogues"
    assert len(window.bubbles()) == 12


def test_the_policy_lets_nothing_in(demo: Path, opened: Open) -> None:
    """The Content Security Policy blocks a script and an image that were inserted into the page."""
    window = opened(demo)
    window.page.evaluate("""() => {
        const script = document.createElement("script");
        try { script.textContent = "window.ran = true"; } catch {}
        document.body.append(script, Object.assign(new Image(), {src: "https://example.org/beacon.png"}));
        try { document.body.innerHTML = "gone"; } catch {}
    }""")
    window.page.wait_for_timeout(200)
    assert window.page.evaluate("window.ran") is None
    assert window.page.inner_text("h1") == "demo"
    assert any("Content Security Policy" in complaint for complaint in window.complaints)


def test_words_and_phrases_are_found(demo: Path, opened: Open) -> None:
    """Search ignores case and covers all messages.

    A dialogue must contain all words of the search, and a quoted phrase exactly.
    """
    window = opened(demo)
    window.page.fill("#words", "CONFETTI")
    window.says("1 of 18 dialogues")
    assert window.listed() == ["a message to the whole team after layoffs"]
    window.page.fill("#words", "kitchen confetti")
    window.says("1 of 18 dialogues")
    window.page.fill("#words", '"kitchen confetti"')
    window.says("No dialogues")
    assert "No results" in window.page.inner_text("#found")
    window.page.press("#words", "Escape")
    window.says("18 of 18 dialogues")


def test_what_was_searched_is_marked(demo: Path, opened: Open) -> None:
    """Search words are highlighted in the dialogue without a change of its text."""
    window = opened(demo)
    window.page.fill("#words", "confetti")
    window.says("1 of 18 dialogues")
    assert window.page.evaluate("[...CSS.highlights.get('found')].map(String)")[0] == "confetti"


def test_intents_and_categories_narrow_the_list(demo: Path, opened: Open) -> None:
    """Intent and category filter the list. Only the categories of the chosen intent are offered."""
    window = opened(demo)
    window.page.select_option("#intent", "transaction")
    window.says("2 of 18 dialogues")
    offered = window.page.locator("#category option").all_text_contents()
    assert offered == ["All", "Jobs and Paperwork at Work (1)", "Tables and Event Tickets (1)"]
    window.page.select_option("#category", "Tables and Event Tickets")
    window.says("1 of 18 dialogues")
    window.page.select_option("#intent", "")
    window.page.select_option("#category", "")
    window.says("18 of 18 dialogues")


def test_failed_draws_are_shown_with_their_reason(demo: Path, opened: Open) -> None:
    """The list can show all failed draws, those of one reason, or the dialogues that had failed draws.

    A failed draw shows its reason and the exact response.
    """
    window = opened(demo)
    window.page.select_option("#kind", "redrawn")
    window.says("3 of 18 dialogues")
    window.page.select_option("#kind", "failures")
    window.says("3 of 3 failed draws")
    window.page.select_option("#kind", "=no_json")
    window.says("1 of 3 failed draws")
    window.page.locator("#found a").click()
    window.page.locator("#why", has_text="Unusable: no json").wait_for()
    said = [json.loads(line) for line in failures(demo.parent).read_text("utf-8").splitlines()]
    assert window.bubbles() == [row["response"] for row in said if row["reason"] == "no_json"]


def failures(folder: Path) -> Path:
    """Return the file of the demo's failed draws, as a build writes it."""
    from consistent_chat.commands import build

    build.build("demo", str(folder / "demo.jsonl"), failures=str(folder / "failures.jsonl"))
    return folder / "failures.jsonl"


def test_keys_go_from_dialogue_to_dialogue(demo: Path, opened: Open) -> None:
    """The keys j and k move between dialogues and set the focus. The key / moves to the search.

    Keys typed in the search field do not change the dialogue.
    """
    window = opened(demo)
    titles = window.listed()
    for key, title in (("j", titles[1]), ("j", titles[2]), ("k", titles[1])):
        window.page.keyboard.press(key)
        window.shows(title)
        assert window.page.evaluate("document.activeElement.id") == "reader-title"
        assert window.page.locator("#found [aria-current] .title").text_content() == title
    window.page.keyboard.press("/")
    window.page.keyboard.type("jk")
    assert window.page.input_value("#words") == "jk"
    assert window.page.inner_text("#reader-title") == titles[1]


def test_keys_can_be_turned_off(demo: Path, opened: Open) -> None:
    """Keyboard shortcuts can be turned off, for users of speech input (WCAG 2.1.4)."""
    window = opened(demo)
    window.page.uncheck("#keys")
    window.page.keyboard.press("j")
    window.page.wait_for_timeout(100)
    assert window.page.inner_text("#reader-title") == window.listed()[0]


def test_it_can_be_walked_through_by_tab(demo: Path, opened: Open) -> None:
    """The Tab key reaches a skip link first, and then the controls in order.

    The focused element has a visible outline, and every control has a label.
    """
    window = opened(demo)
    window.page.keyboard.press("Tab")
    assert window.page.evaluate("document.activeElement.textContent") == "Skip to the dialogues"
    window.page.keyboard.press("Enter")
    seen = []
    for _ in range(6):
        window.page.keyboard.press("Tab")
        seen.append(window.page.evaluate("document.activeElement.id"))
        assert window.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert seen[:5] == ["words", "kind", "intent", "category", "keys"]
    unnamed = "[...document.querySelectorAll('input, select')].filter((each) => !each.labels.length).length"
    assert window.page.evaluate(unnamed) == 0
    assert window.page.locator("main, header, footer, nav, [role=search]").count() >= 6
    assert window.page.get_attribute("#count", "aria-live") == "polite"


def test_on_a_phone_it_is_a_list_and_then_a_dialogue(demo: Path, opened: Open) -> None:
    """On a phone the page shows the list, and a tap on a link opens the dialogue; going back shows the list.

    Nothing is wider than the screen.
    """
    window = opened(demo, viewport=PHONE, has_touch=True, is_mobile=True)
    width = "document.documentElement.scrollWidth"
    assert window.page.evaluate(width) == PHONE["width"]
    assert window.page.is_hidden("#reader")
    window.page.locator("#found a").nth(3).tap()
    window.page.wait_for_selector("#reader", state="visible")
    assert window.page.is_hidden("#found")
    assert window.page.evaluate(width) == PHONE["width"]
    window.page.go_back()
    window.page.wait_for_selector("#found", state="visible")
    window.page.locator("#found a").nth(3).tap()
    window.page.locator("#back").tap()
    window.page.wait_for_selector("#found", state="visible")


def test_an_address_opens_its_dialogue(demo: Path, opened: Open) -> None:
    """The fragment of an address opens its dialogue, so users can link to a dialogue."""
    titles = opened(demo).listed()
    opened(demo, "#d1").shows(titles[1])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(demo: Path, opened: Open, scheme: str) -> None:
    """All texts have a contrast of at least 4.5 to 1 (WCAG 1.4.3) in both colour schemes."""
    page = opened(demo, color_scheme=scheme).page
    assert (luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) < 0.2) == (scheme == "dark")
    for text, ground in page.evaluate(COLOURS):
        one, other = sorted((luminance(text), luminance(ground)))
        assert (other + 0.05) / (one + 0.05) >= 4.5, (text, ground)


COLOURS = """() => {
    const ground = (each) => {
        const colour = getComputedStyle(each).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" && each.parentElement ? ground(each.parentElement) : colour;
    };
    const holds = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const all = [...document.body.querySelectorAll("*")].filter((each) => each.checkVisibility() && holds(each));
    const read = all.filter((each) => !each.closest("svg, script, style, :disabled"));
    const pairs = new Set(read.map((each) => `${getComputedStyle(each).color}|${ground(each)}`));
    return [...pairs].map((pair) => pair.split("|"));
}"""


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour such as rgb(1, 2, 3), by WCAG 2."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_nothing_moves_for_those_who_want_it_so(demo: Path, opened: Open) -> None:
    """The page does not scroll smoothly if the browser asks for reduced motion (prefers-reduced-motion)."""
    page = opened(demo, reduced_motion="reduce").page
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_colours_are_switched_by_hand(demo: Path, opened: Open) -> None:
    """A user can override the system's colour scheme, and the choice survives a reload."""
    page = opened(demo, color_scheme="light").page
    ground = "getComputedStyle(document.body).backgroundColor"
    page.select_option("#colours", "dark")
    assert luminance(page.evaluate(ground)) < 0.2
    page.reload()
    page.wait_for_selector("#reader-title:not(:empty)", state="attached")
    assert luminance(page.evaluate(ground)) < 0.2
    page.select_option("#colours", "")
    assert luminance(page.evaluate(ground)) > 0.8


def test_dialogues_come_first_and_what_they_are_about_beside_them(demo: Path, opened: Open) -> None:
    """Dialogues come first, and the statistics follow. On a wide screen, facets are next to the dialogue."""
    page = opened(demo, viewport={"width": 1400, "height": 900}).page
    sections = page.locator("main > section").evaluate_all("all => all.map((each) => each.id)")
    assert sections == ["dialogues", "overview", "statistics", "shape", "variety", "draws"]
    assert "user corrects" in page.inner_text("#aside")
    aside, talk = (page.locator(part).bounding_box() for part in ("#aside", "#talk"))
    assert aside["x"] >= talk["x"] + talk["width"]


def test_many_dialogues_are_listed_page_by_page(tmp_path: Path, opened: Open) -> None:
    """A long list has pages of 50 dialogues.

    Search covers all of them, and moving to the next dialogue continues on the next page.
    """
    rows = [talk(f"question {number}", f"answer {number}") for number in range(1_000)]
    window = opened(written(tmp_path, rows))
    assert window.count == "1,000 of 1,000 dialogues"
    assert len(window.listed()) == 50
    window.page.fill("#words", "999")
    window.says("1 of 1,000 dialogues")
    window.page.locator("#found a").click()
    window.shows("question 999")
    window.page.fill("#words", "")
    window.says("1,000 of 1,000 dialogues")
    window.page.locator("#page", has_text="951 to 1,000").wait_for()
    window.page.click("#earlier")
    assert window.listed()[0] == "question 900"
    window.page.locator("#found a").last.click()
    window.shows("question 949")
    window.page.keyboard.press("j")
    window.shows("question 950")
    window.page.locator("#page", has_text="951 to 1,000").wait_for()


def test_without_script_the_numbers_are_there(demo: Path, browser: Any) -> None:
    """Without JavaScript the page shows the statistics, and says that dialogues need JavaScript."""
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(demo.as_uri())
    assert "Problem Solving" in page.inner_text("#statistics")
    assert "Turn on JavaScript" in page.inner_text("noscript")
    page.context.close()
