"""Test plots: they are well-formed, self-contained SVG for any statistics, and equal statistics give equal bytes."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.stats import DialogueSample, Statistics
from consistent_chat.stats.charts import fitted, plots, text_width, ticks

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</text><script>alert(1)</script>&x;"\x00\x1b\ud800\ufffe\u202e'


def talk(number: int = 0, turns: int = 3, intent: str = "i", category: str = "c") -> DialogueSample:
    """Return a dialogue whose n-th messages have n and 10 n words, and whose tokens depend on its number."""
    questions, answers = (["w " * turn * times for turn in range(1, turns + 1)] for times in (1, 10))
    return DialogueSample(intent, category, "t", questions, answers, 1000 + number, 500 + number, 2)


def texts(svg: str) -> list[str]:
    """Return the texts in a plot."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def kinds(svg: str) -> list[str]:
    """Return the names of the elements of a plot in order."""
    return [element.tag for element in ElementTree.fromstring(svg).iter()]


def test_the_plot_of_turns_has_both_roles_by_turn() -> None:
    """The plot of turns shows the mean words of both roles by turn.

    A text describes it for people who cannot see it.
    """
    svg = plots(Statistics([talk()]))["turns"]
    assert {"Words by turn", "user messages", "answers", "1", "2", "3"} <= set(texts(svg))
    assert "turn 2: 20.0 words on average, at most 20" in svg
    assert ElementTree.fromstring(svg).find(f"{SVG}desc") is not None


def test_the_plot_of_categories_has_a_bar_for_each_intent() -> None:
    """Each intent has a bar with its title, divided by category with the most frequent category first."""
    made = [talk(intent=intent, category=category) for intent in "ab" for category in ("few", "many", "many")]
    svg = plots(Statistics(made), {"a": "First intent"})["categories"]
    assert {"First intent", "b", "many (2), few (1)", "3"} <= set(texts(svg))


@pytest.mark.slow
def test_a_huge_taxonomy_has_a_plot_of_a_bounded_size() -> None:
    """The plot of a huge taxonomy draws the first intents and the most frequent categories and counts the others."""
    made = [talk(intent=f"i{number % 40}", category=f"c{number}") for number in range(4000)]
    svg = plots(Statistics(made))["categories"]
    assert "Dialogues of the first 30 of 40 intents; the parts of a bar are its categories, 4,000 in all" in texts(svg)
    assert "40 more: 40" in svg
    assert kinds(svg).count(f"{SVG}rect") == 1 + 30 * 61


def test_the_plot_of_tokens_says_so_where_none_were_counted() -> None:
    """The plot of tokens says so if the provider counted no tokens."""
    assert "on average 1,004 in and 504 out" in plots(Statistics(map(talk, range(10))))["tokens"]
    unknown = DialogueSample("i", "c", "t", ["a"], ["b"])
    assert texts(plots(Statistics([unknown]))["tokens"])[1] == "The provider gave no counts of tokens"


@pytest.mark.parametrize("count", [0, 1, 40])
@pytest.mark.parametrize("turns", [1, 2, 100])
def test_any_size_is_plotted(count: int, turns: int) -> None:
    """All elements are within the width of the plot, for any number of dialogues and turns."""
    statistics = Statistics([talk(number, turns, f"i{number % 12}", f"c{number % 7}") for number in range(count)])
    for svg in plots(statistics).values():
        sheet = ElementTree.fromstring(svg)
        for element in sheet.iter():
            x, width = float(element.get("x", 0)), float(element.get("width", 0))
            assert 0 <= x <= x + width <= float(sheet.get("width", 0))


@given(st.text() | st.just(HOSTILE), st.text() | st.just(HOSTILE))
def test_no_name_changes_the_plot(intent: str, category: str) -> None:
    """Markup, control characters and lone surrogates in names do not change the elements of a plot."""
    plain = plots(Statistics([talk(intent="intent", category="category")]))
    named = plots(Statistics([talk(intent=intent, category=category)]))
    assert {name: kinds(svg) for name, svg in named.items()} == {name: kinds(svg) for name, svg in plain.items()}
    assert all(svg.encode("utf-8") for svg in named.values())


def test_nothing_is_loaded_or_run() -> None:
    """A plot has no script, font, image or link. Its style rules apply only within it, also inline in a page."""
    for svg in plots(Statistics([talk(intent=HOSTILE, category=HOSTILE)])).values():
        assert not re.search(r"<script|<image|<use|href|url\(|@import|@font-face|\son\w+=", svg)
        style = ElementTree.fromstring(svg).findtext(f"{SVG}style") or ""
        assert all(rule.strip().startswith((".cc-plot", "@media")) for rule in re.findall(r"([^{}]+)\{", style))
        assert "prefers-color-scheme: dark" in style


def test_ids_are_their_own_in_a_page_with_all_plots() -> None:
    """The ids of all plots differ, so that each plot in a page is labelled by its own title."""
    ids = [found for svg in plots(Statistics([talk()])).values() for found in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids)) == 6


@given(st.floats(0, 1e12))
def test_ticks_are_few_and_reach_the_top(largest: float) -> None:
    """There are two to six ticks, with equal steps from 0 to at least the largest value."""
    values = ticks(largest)
    assert values[0] == 0
    assert values[-1] >= largest
    assert 2 <= len(values) <= 6
    assert len({after - before for before, after in zip(values, values[1:])}) == 1


@given(st.text(), st.floats(20, 500))
def test_what_is_too_long_is_cut(line: str, width: float) -> None:
    """A text that is too long is shortened with an ellipsis and is never wider than allowed."""
    short = fitted(line, width)
    assert text_width(short) <= width
    assert short == line or short == "" or short.endswith("…")
