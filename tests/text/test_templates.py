"""Tests of templates: a value without a filter is shown as plain text, whatever the value and the output format."""

from __future__ import annotations

import ast
import functools
import shlex
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import DictLoader, Environment, Template, TemplateAssertionError, UndefinedError, nodes
from markdown_it import MarkdownIt

from consistent_chat.text.sanitize import sanitize
from consistent_chat.text.templates import environment

PACKAGES = ["consistent_chat.card", "consistent_chat.reports"]
MARKUP = [
    "<b>",
    "](javascript:alert(1))",
    "![x](y)",
    "`",
    "*",
    "_",
    "# ",
    "- ",
    "1. ",
    "|",
    "\n\n",
    '"',
    "'",
    "&lt;",
    "$x$",
]
TEXTS = st.text(max_size=20) | st.lists(st.sampled_from(MARKUP)).map("".join)


@functools.cache
def compiled(language: str, template: str) -> Template:
    """Return a template of an output format, ready to render."""
    found = environment("consistent_chat.card").overlay(loader=DictLoader({f"x.{language}.jinja": template}))
    return found.get_template(f"x.{language}.jinja")


def rendered(language: str, template: str, **values: Any) -> str:
    """Return the output of a template of an output format."""
    return compiled(language, template).render(**values)


class Seen(HTMLParser):
    """A parser that collects the elements and the text of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def one_line(text: str) -> str:
    """Return a text on one line, as a reader sees it."""
    return " ".join(sanitize(text).split())


@given(TEXTS)
@pytest.mark.parametrize("template", ["Said: {{ text }}", "Said: {{ [text]|join(', ') }}", "Said: {{ text|line }}"])
def test_html_shows_a_text(template: str, text: str) -> None:
    """In HTML, a text adds no element, and every character of it is shown."""
    seen = Seen(rendered("html", template, text=text))
    assert seen.elements == []
    assert one_line(seen.words) == one_line(f"Said: {text}")


@given(TEXTS)
@pytest.mark.parametrize("template", ["Said: {{ text }}.", "Said: {{ [text, text]|join(' ') }}."])
def test_markdown_shows_a_text(template: str, text: str) -> None:
    """In Markdown, a text is shown as one paragraph without any markup."""
    page = Seen(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(rendered("md", template, text=text)))
    assert page.elements == ["p"]
    assert one_line(text) in one_line(page.words)


@given(st.text(max_size=20))
def test_code_has_a_text_as_one_value(text: str) -> None:
    """In code, a text is one value: a string in Python, or one word on one line in a shell."""
    python = rendered("py", "f({{ text }})", text=text)
    if sanitize(text) == text:
        assert ast.literal_eval(python[2:-1]) == text
    assert shlex.split(rendered("sh", "run {{ text }}", text=text)) == ["run", " ".join(sanitize(text).split("\n"))]


def test_numbers_stand_as_they_are() -> None:
    """Numbers are not escaped, even where a full stop would be."""
    assert rendered("md", "{{ 15.4 }} {{ 1234567|count }} {{ 0.5|fixed(2) }}") == "15.4 1,234,567 0.50"


@pytest.mark.parametrize("name", ["safe", "format", "replace", "escape"])
def test_no_filter_makes_markup_of_a_text(name: str) -> None:
    """The filters of Jinja that could turn a text into markup are not available."""
    with pytest.raises(TemplateAssertionError):
        rendered("md", f"{{{{ 'x'|{name} }}}}")


def test_a_value_that_is_missing_is_an_error() -> None:
    """A missing value is an error and does not give an empty text."""
    with pytest.raises(UndefinedError):
        rendered("md", "{{ nothing }}")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_template_joins_texts_by_an_operator(package: str) -> None:
    """No template joins texts by an operator.

    Jinja would escape the result for HTML only, which is not enough in Markdown.
    """
    found: Environment = environment(package)
    for name in found.list_templates():
        assert found.loader is not None
        tree = found.parse(found.loader.get_source(found, name)[0])
        assert [*tree.find_all(nodes.Concat), *tree.find_all(nodes.Mod)] == [], name
