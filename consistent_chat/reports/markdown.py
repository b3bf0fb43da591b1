"""Markdown as a tree of plain values, which the report's page builds of elements that it knows.

A tree is a list of texts and elements `[tag, children]` or, for a numbered list, `["ol", children, first number]`.
No HTML is read or made, and no address is linked: it stands behind the text that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

TAGS = {
    "paragraph": "p",
    "bullet_list": "ul",
    "ordered_list": "ol",
    "list_item": "li",
    "blockquote": "blockquote",
    "em": "em",
    "strong": "strong",
    "s": "s",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tr": "tr",
    "th": "th",
    "td": "td",
}
"""The elements of a tree, by the names of the parser; headings, code and rules are further ones."""
LONGEST = 20_000
"""Maximum number of characters of a text that is parsed. A hostile one of this length takes half a second."""
DEEPEST = 20
"""Maximum number of elements within each other. Deeper ones are left out, their texts are not."""

_SIGNS = re.compile(r"[*_`#>|~\[\]<\\&]|^\s*(?:\d{1,9}[.)]|[-+])\s|^\s*-{3}", re.MULTILINE)
_PARSER = (
    MarkdownIt("commonmark", {"html": False, "maxNesting": DEEPEST})
    .enable(["table", "strikethrough"])
    # Indented text is seldom code in a chat, a line of hyphens seldom makes a heading; a reference would be left out.
    .disable(["code", "lheading", "reference", "html_block", "html_inline"])
)


def tree(text: str) -> list[Any] | None:
    """Return the tree of a text, or None if it has no Markdown or is too long."""
    if len(text) > LONGEST or not _SIGNS.search(text):
        return None
    made = _tree(_flat(_PARSER.parse(text)))
    return None if made == [["p", [text]]] else made


def _flat(tokens: Iterable[Token]) -> Iterator[Token]:
    """Yield the tokens of blocks and of their texts in one sequence."""
    for token in tokens:
        if token.type == "inline":
            yield from token.children or ()
        elif not token.hidden:
            yield token


def _tree(tokens: Iterable[Token]) -> list[Any]:
    """Return the elements of a sequence of tokens that open, close, or are whole."""
    made: list[Any] = []
    open_ones: list[tuple[list[Any], str]] = [(made, "")]  # the children of each, and the address behind them
    for token in tokens:
        children, _ = open_ones[-1]
        if token.nesting == 1:
            address = "" if token.markup == "autolink" else str(token.attrGet("href") or "")
            open_ones.append((_opened(children, token, len(open_ones)), address))
        elif token.nesting == -1:
            inner, address = open_ones.pop()
            if address:
                _add(inner, f" ({address})")
        else:
            _add(children, _leaf(token))
    return made


def _opened(children: list[Any], token: Token, depth: int) -> list[Any]:
    """Add the element that a token opens, and return its list of children. A link is none, it is its own text."""
    kind = token.type.removesuffix("_open")
    tag = f"h{min(int(token.tag[1:]) + 3, 6)}" if kind == "heading" else TAGS.get(kind)
    if tag is None or depth > DEEPEST:
        return children
    first = token.attrGet("start")
    inner: list[Any] = []
    children.append([tag, inner] if first is None else [tag, inner, first])
    return inner


def _leaf(token: Token) -> str | list[Any]:
    if token.type in ("softbreak", "hardbreak"):
        return "\n"
    if token.type == "hr":
        return ["hr", []]
    if token.type == "code_inline":
        return ["code", [token.content]]
    if token.type == "fence":
        return ["pre", [["code", [token.content]]]]
    return f"{token.content} ({token.attrGet('src')})" if token.type == "image" else token.content


def _add(children: list[Any], part: str | list[Any]) -> None:
    """Add a text or an element. Texts that follow each other become one."""
    if isinstance(part, str) and children and isinstance(children[-1], str):
        children[-1] += part
    elif part:
        children.append(part)
