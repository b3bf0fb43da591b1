"""Templates of text for people, in which every value is shown as text unless a filter has made it markup.

A template's name says its language: `card.md.jinja` is Markdown, `use.py.jinja` Python. A value that no filter has
treated is escaped for that language, so a forgotten filter can never let a text of a model or stranger become markup.
Only the filters below exist: Jinja's own `safe` and `format` would get around that.
"""

from __future__ import annotations

import html
import json
import re
import shlex
import string
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from consistent_chat.text import counted
from consistent_chat.text.sanitize import sanitize, sanitize_line

_MARKUP = frozenset(string.punctuation) - set("-,'")

LONGEST = 2_000
"""Characters of a message that are shown."""


def escaped(text: str) -> Markup:
    """Return a text as HTML, with its line breaks."""
    return Markup(html.escape(sanitize(text)))  # noqa: S704 - escaped here


def line(text: str) -> Markup:
    """Return a text as one line of HTML."""
    return escaped(_one_line(text))


def plain(text: str) -> Markup:
    """Return a text as one line that is neither Markdown nor HTML: each sign that could be either is an entity."""
    signs = (f"&#{ord(sign)};" if sign in _MARKUP else sign for sign in _one_line(text))
    return Markup("".join(signs))  # noqa: S704 - escaped here


def message(text: str) -> Markup:
    """Return a text as one line of HTML that shows its line breaks; a text over `LONGEST` is cut."""
    shown = sanitize(text).strip()
    cut = f"{shown[:LONGEST].rstrip()}…" if len(shown) > LONGEST else shown
    paragraphs = re.split(r"\n\s*\n", escaped(cut))
    return Markup("<br><br>".join("<br>".join(part.split("\n")) for part in paragraphs))  # noqa: S704 - escaped above


def code(text: str) -> Markup:
    """Return a text as one line of code in HTML."""
    return Markup("<code>{}</code>").format(line(text))


def path(text: str) -> Markup:
    """Return the name of a file as a relative link to it."""
    return Markup(urllib.parse.quote(sanitize(text), safe=""))  # noqa: S704 - letters, digits and percent signs


def python_string(text: str) -> Markup:
    """Return a text as a string literal of Python, for a block of code."""
    return Markup(json.dumps(text, ensure_ascii=False))  # noqa: S704 - `fence` keeps code within its block


def python_name(text: str, otherwise: str = "more") -> Markup:
    """Return a text if it is a name in Python, or else another name."""
    return Markup(text if text.isidentifier() and text.isascii() else otherwise)  # noqa: S704 - letters and digits


def shell_word(text: str) -> Markup:
    """Return a text as one word of a shell command, for a block of code."""
    return Markup(shlex.quote(sanitize_line(text)))  # noqa: S704 - `fence` keeps code within its block


def fence(code: str, language: str) -> Markup:
    """Return code as a Markdown block that no line of the code can end."""
    content = sanitize(code).strip("\n")
    longest = max(map(len, re.findall("`+", content)), default=0)
    ticks = "`" * max(3, longest + 1)
    return Markup("\n".join([f"{ticks}{language}", content, ticks]))  # noqa: S704 - code is shown as it is


def _one_line(text: str) -> str:
    return " ".join(sanitize(text).split())


ESCAPES: dict[str, Callable[[str], Markup]] = {
    "html": escaped,
    "md": plain,
    "py": python_string,
    "sh": shell_word,
}
"""The escape of each language of templates."""


def environment(package: str) -> Environment:
    """Return the templates in the folder `templates` of a package."""
    found = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=_inert,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters = {name: found.filters[name] for name in ("length", "list", "map")} | FILTERS
    return found


@pass_context
def _inert(context: Context, value: object) -> Markup:
    """Return a value as markup of the template's language. Numbers stay as they are."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    if isinstance(value, int | float):
        return Markup(text)  # noqa: S704 - a number
    return ESCAPES[(context.name or "").split(".")[-2]](text)


@pass_context
def _join(context: Context, values: Iterable[object], separator: str) -> Markup:
    """Join values as the template would print each. The separator is markup."""
    return Markup(separator).join(_inert(context, value) for value in values)  # noqa: S704 - written in a template


def _count(number: int) -> Markup:
    """Return a whole number with commas between the thousands."""
    return Markup(f"{int(number):,}")  # noqa: S704 - a number


def _counted(number: int, noun: str) -> Markup:
    """Return a whole number of things by their name, which a template writes."""
    return Markup(counted(int(number), noun))  # noqa: S704 - a number and a word of a template


def _fixed(number: float, decimals: int) -> Markup:
    """Return a number with commas between the thousands and this many decimals."""
    return Markup(f"{float(number):,.{decimals}f}")  # noqa: S704 - a number


FILTERS: dict[str, Callable[..., Any]] = {
    "code": code,
    "count": _count,
    "counted": _counted,
    "fence": fence,
    "fixed": _fixed,
    "join": _join,
    "line": line,
    "message": message,
    "path": path,
    "python_name": python_name,
}
