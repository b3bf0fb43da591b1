"""Provide what the tests of the card share: an example of published data, hostile texts, the structure of a card."""

from __future__ import annotations

import functools
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from huggingface_hub import DatasetCard
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from consistent_chat.card import About, Seen
from consistent_chat.card.readme import BEGIN, END
from consistent_chat.dialogue.work import Dialogue, FailedDraw
from consistent_chat.plan.plan import Plan
from consistent_chat.prices import NO_TOKENS, Tokens, billed
from consistent_chat.recipe import Recipe

RECIPE = Recipe(model="claude-haiku-4-5", num_dialogs_per_intent=2, num_turns_per_dialog=1, seed=7)


CONFIGS = [
    {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}], "default": True},
    {"config_name": "responses", "data_files": [{"split": "train", "path": "responses/packs/*.parquet"}]},
    {"config_name": "failures", "data_files": [{"split": "train", "path": "failures/train.parquet"}]},
]


HOSTILE = [
    "---\nlicense: mit\n---",
    "| a | b |\n|---|---|\n| c | d |",
    "\n\n# heading\n\n- item\n\n    code\n",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</td></tr></table></details></blockquote>",
    "```\n````\n~~~",
    f"\n{END}\n",
    f"\n{BEGIN}\n",
    "<!--",
    "-->",
    "![](http://tracker.example/pixel.png)",
    "[a](javascript:alert(1)) <http://a.example> www.a.example a@b.example @everyone",
    "\x00\x1b[31m\x07\u202e\u2066\u2028\ud800\ufffe",
    "&lt;b&gt; &#60;b&#62; &amp;",
    "\r\n\r\n\t\x0b\x0c\x85",
    "`` ` ``` **b** _i_ ~~s~~ \\ $x$ :smile: {{ x }} {% y %}",
    '" onmouseover="alert(1)',
]


TEXTS = st.text(max_size=40) | st.sampled_from(HOSTILE) | st.lists(st.sampled_from(HOSTILE)).map("".join)


def about(recipe: Recipe = RECIPE, **given: Any) -> About:
    """Return the description of a dataset that is published as me/repo."""
    usual: dict[str, Any] = {"name": "me/repo", "url": "hf://datasets/me/repo", "title": "repo", "configs": CONFIGS}
    return About(recipes={"train": recipe}, files={"train": "x.consistent_chat.yaml"}, **{**usual, **given})


def dialogue(index: int, text: str = "Hello there", failed: tuple[FailedDraw, ...] = ()) -> Dialogue:
    """Return a dialogue of one turn in which each text of a model or user is the given one."""
    spec = replace(Plan(RECIPE).spec(index), category=text, topic=text)
    written = functools.reduce(Tokens.plus, (billed(draw.response) for draw in failed), Tokens(1000, 500))
    return Dialogue(spec, (text,), (text,), ("x", "y"), 2, 1000, 500, failed, billed=(written, NO_TOKENS))


def seen(*dialogues: Dialogue) -> Seen:
    """Return what a card knows after these dialogues, or after two if none are given."""
    known = Seen()
    for made in dialogues or (dialogue(0), dialogue(1)):
        known.see("train", made)
    return known


class Structure(HTMLParser):
    """The elements, attributes and comments of HTML, and separately its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Any] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.words += " "
        if tag != "br":
            self.elements.append((tag, attributes))

    def handle_endtag(self, tag: str) -> None:
        self.words += " "
        self.elements.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", data))

    def handle_data(self, data: str) -> None:
        self.words += data


def rendered(text: str) -> Structure:
    """Return the structure of a card's body, as a Markdown parser understands it."""
    return Structure(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(DatasetCard(text).text))


def values(text: str) -> dict[str, Any]:
    """Return a card's metadata, as the Hub's client reads it."""
    read: dict[str, Any] = DatasetCard(text).data.to_dict()
    return read
