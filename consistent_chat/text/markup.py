"""Text of models and strangers as markup that shows it and does nothing else: HTML, Markdown, code.

An HTML block in Markdown ends at the first blank line (CommonMark 0.31, 4.6), so what `line`, `message` and `code`
return has no line break. Every `<` of a text is escaped, so that it cannot start an element, an image or a comment.
"""

from __future__ import annotations

import html
import json
import re
import shlex
import string
import urllib.parse

from markupsafe import Markup

from consistent_chat.text.sanitize import visible, visible_line

_MARKUP = frozenset(string.punctuation) - set("-,'")

LONGEST = 2_000
"""Characters of a message that are shown."""


def escaped(text: str) -> Markup:
    """Return a text as HTML, with its line breaks."""
    return Markup(html.escape(visible(text)))  # noqa: S704 - escaped here


def line(text: str) -> Markup:
    """Return a text as one line of HTML."""
    return escaped(_one_line(text))


def plain(text: str) -> Markup:
    """Return a text as one line that is neither Markdown nor HTML: each sign that could be either is an entity."""
    signs = (f"&#{ord(sign)};" if sign in _MARKUP else sign for sign in _one_line(text))
    return Markup("".join(signs))  # noqa: S704 - escaped here


def message(text: str) -> Markup:
    """Return a text as one line of HTML that shows its line breaks; a text over `LONGEST` is cut."""
    shown = visible(text).strip()
    cut = f"{shown[:LONGEST].rstrip()}…" if len(shown) > LONGEST else shown
    paragraphs = re.split(r"\n\s*\n", escaped(cut))
    return Markup("<br><br>".join("<br>".join(part.split("\n")) for part in paragraphs))  # noqa: S704 - escaped above


def code(text: str) -> Markup:
    """Return a text as one line of code in HTML."""
    return Markup("<code>{}</code>").format(line(text))


def path(text: str) -> Markup:
    """Return the name of a file as a relative link to it."""
    return Markup(urllib.parse.quote(visible(text), safe=""))  # noqa: S704 - letters, digits and percent signs


def python_string(text: str) -> Markup:
    """Return a text as a string literal of Python, to stand in a block of code."""
    return Markup(json.dumps(text, ensure_ascii=False))  # noqa: S704 - `fence` keeps code within its block


def python_name(text: str, otherwise: str = "more") -> Markup:
    """Return a text where it is a name in Python, or another name."""
    return Markup(text if text.isidentifier() and text.isascii() else otherwise)  # noqa: S704 - letters and digits


def shell_word(text: str) -> Markup:
    """Return a text as one word of a shell's command, to stand in a block of code."""
    return Markup(shlex.quote(visible_line(text)))  # noqa: S704 - `fence` keeps code within its block


def fence(code: str, language: str) -> Markup:
    """Return code as a Markdown block that no line of the code can end."""
    content = visible(code).strip("\n")
    longest = max(map(len, re.findall("`+", content)), default=0)
    ticks = "`" * max(3, longest + 1)
    return Markup("\n".join([f"{ticks}{language}", content, ticks]))  # noqa: S704 - code is shown as it is


def _one_line(text: str) -> str:
    return " ".join(visible(text).split())
