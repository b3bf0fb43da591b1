"""Markdown as a tree: common syntax becomes elements, and no text is lost, linked or treated as HTML."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.reports.payload import DEEPEST, LONGEST, TAGS, tree


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("**Yes**, *if* `x` is ~~not~~ set.", [["p", [["strong", ["Yes"]], ", ", ["em", ["if"]], " ", ["code", ["x"]],
                                                    " is ", ["s", ["not"]], " set."]]]),
        ("3. three\n4. four", [["ol", [["li", ["three"]], ["li", ["four"]]], 3]]),
        ("# Title\n\n#### Deep", [["h4", ["Title"]], ["h6", ["Deep"]]]),
        ("```py\na < b\n```", [["pre", [["code", ["a < b\n"]]]]]),
        ("> so\n\n---", [["blockquote", [["p", ["so"]]]], ["hr", []]]),
        ("|a|\n|-|\n|b|", [["table", [["thead", [["tr", [["th", ["a"]]]]]], ["tbody", [["tr", [["td", ["b"]]]]]]]]]),
        ("- one\n  two", [["ul", [["li", ["one\ntwo"]]]]]),
        ("[here](https://e.org) <https://e.org>", [["p", ["here (https://e.org) https://e.org"]]]),
        ("![alt](https://e.org/x.png)", [["p", ["alt (https://e.org/x.png)"]]]),
        ("<b onclick='x()'>_hi_</b>", [["p", ["<b onclick='x()'>", ["em", ["hi"]], "</b>"]]]),
        ("[x](javascript:alert(1)) _a_", [["p", ["[x](javascript:alert(1)) ", ["em", ["a"]]]]]),
        ("[a]: https://e.org *b*", [["p", ["[a]: https://e.org ", ["em", ["b"]]]]]),
        ("No signs.\nTwo lines.", None),
        ("a_b [c] & d", None),
        ("*" + "a" * LONGEST + "*", None),
    ],
)  # fmt: skip
def test_a_text_becomes_a_tree(text: str, made: list[Any] | None) -> None:
    """Each text gives the expected tree. None means that the page shows the text unchanged."""
    assert tree(text) == made


def depth(nodes: list[Any]) -> int:
    """Return the depth of nested elements."""
    return max((1 + depth(node[1]) for node in nodes if isinstance(node, list)), default=0)


def tags(nodes: list[Any]) -> set[str]:
    """Return the names of all elements."""
    own = {node[0] for node in nodes if isinstance(node, list)}
    return own.union(*(tags(node[1]) for node in nodes if isinstance(node, list)))


@pytest.mark.parametrize("sign", ["*a ", "> ", "- ", "**a _b ", "[", "![", "1. "])
def test_no_text_nests_without_end(sign: str) -> None:
    """The depth of a tree is bounded, because a page builds the tree by recursion."""
    closing = {"*a ": " a*", "**a _b ": " b_ a**"}.get(sign, "")
    assert depth(tree(sign * 1_000 + "x" + closing * 1_000) or []) <= DEEPEST


@given(st.text(st.sampled_from("ab *_`#>|~[]()<&\\!-+1.\n\thttps:/"), max_size=200))
def test_any_text_becomes_known_elements(text: str) -> None:
    """Any text gives only known elements, nested within the limit."""
    made = tree(text)
    if made is not None:
        assert tags(made) <= {*TAGS.values(), "h4", "h5", "h6", "hr", "pre", "code"}
        assert depth(made) <= DEEPEST
