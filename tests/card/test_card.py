"""The card: what it tells, whose text stays, and that no text of a model or stranger breaks out of its place."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from consistent_chat.card import About, Seen, card, files, header
from consistent_chat.card.readme import BEGIN, END
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import Dialogue, FailedDraw
from consistent_chat.errors import ConsistentChatError
from consistent_chat.plan.plan import Plan
from consistent_chat.prices import NO_TOKENS, Tokens, billed
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import builtin
from consistent_chat.request import Response
from consistent_chat.text import languages
from consistent_chat.text.sanitize import visible
from tests.hub import Hub
from tests.hub.machines import machine

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
    """Return what is published as me/repo."""
    usual: dict[str, Any] = {"name": "me/repo", "url": "hf://datasets/me/repo", "title": "repo", "configs": CONFIGS}
    return About(recipes={"train": recipe}, files={"train": "x.consistent_chat.yaml"}, **{**usual, **given})


def dialogue(index: int, text: str = "Hello there", failed: tuple[FailedDraw, ...] = ()) -> Dialogue:
    """Return a dialogue of one turn with a text in all that is anybody's words."""
    spec = replace(Plan(RECIPE).spec(index), category=text, topic=text)
    written = functools.reduce(Tokens.plus, (billed(draw.response) for draw in failed), Tokens(1000, 500))
    return Dialogue(spec, (text,), (text,), ("x", "y"), 2, 1000, 500, failed, billed=(written, NO_TOKENS))


def seen(*dialogues: Dialogue) -> Seen:
    """Return what is known after these dialogues, or after two."""
    known = Seen()
    for made in dialogues or (dialogue(0), dialogue(1)):
        known.see("train", made)
    return known


class Structure(HTMLParser):
    """The elements, attributes and comments of HTML, and apart from them its text."""

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


def test_the_header_is_what_the_hub_filters_by() -> None:
    """Nothing in it is invented: without a licence, it names no licence."""
    head = values(card(about(), seen()))
    assert head["task_categories"] == ["text-generation"]
    assert head["language"] == ["en"]
    assert head["size_categories"] == ["n<1K"]
    assert head["language_creators"] == ["machine-generated"]
    assert {"synthetic", "datasets", "multi-turn"} <= set(head["tags"])
    assert head["configs"] == CONFIGS
    assert "license" not in head
    assert values(card(about(licence="cc-by-4.0"), seen()))["license"] == "cc-by-4.0"


@pytest.mark.parametrize(
    ("count", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (9999, "1K<n<10K"), (10_000, "10K<n<100K"), (10**12, "n>1T")],
)
def test_the_sizes_are_the_hubs(count: int, size: str) -> None:
    """Each begins where the one before ends."""
    assert header.size(count) == size


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("English", "en"),
        ("german", "de"),
        ("Brazilian Portuguese", "pt"),
        ("Chinese (Simplified)", "zh"),
        ("Cantonese", "yue"),
        ("Pirate English", None),
        ("English and French", None),
        ("a", None),
    ],
)
def test_a_language_has_a_code_or_none_is_invented(name: str, code: str | None) -> None:
    """By its English name; what is not known is left out."""
    assert languages.code(name) == code
    assert values(card(about(replace(RECIPE, language=name)), seen())).get("language") == (code and [code])


def test_it_tells_what_was_made_and_how() -> None:
    """The recipe's fields, the paper's table beside the paper's numbers, redraws by reason, cost, samples, commands."""
    spec = Plan(RECIPE).spec(1)
    responses = Response("no", input_tokens=10, output_tokens=20)
    failed = tuple(
        FailedDraw(replace(spec, substitute=0), "skeleton", draw, "key", Reason.REFUSED, "", responses)
        for draw in range(2)
    )
    late = dialogue(1, "How are you?", failed)
    late = late._replace(spec=replace(late.spec, substitute=1))
    text = rendered(card(about(), seen(dialogue(0), late, dialogue(2)))).words
    for told in (
        "3 dialogues between a user and an assistant in English, of 1 turn each",
        "claude-haiku-4-5",
        "9 intents, 169 categories, 3,668 topics",
        "Problem Solving 1 2.0 / 2 2.0 / 2 2.0 / 2",
        "All 3 2.0 / 2 2.3 / 3 2.3 / 3",
        "lowest of its intents 1,551 15.4 18.7 / 37 55.6 / 118",
        "highest of its intents 1,637 15.7 20.8 / 46 62.9 / 135",
        "requested again: 2, by reason: 2 refused",
        "a substitute after repeated failures: 1.",
        "identical to an earlier one: 1. Near-duplicates were not searched for.",
        "3,020 tokens in, 1,540 tokens out, unusable responses included: US$ 0.0107",
        "User: How are you? Assistant: How are you?",
        "consistent-chat verify me/repo consistent-chat build hf://datasets/me/repo/x.consistent_chat.yaml --output",
        'load_dataset("me/repo", "responses")',
        "No licence was given",
    ):
        assert told in " ".join(text.split())


def test_the_demo_says_that_no_model_was_asked() -> None:
    """And that no tokens were counted, so that no cost is known."""
    builder = open_builder("demo")
    known = Seen()
    for made in builder.replay("train"):
        known.see("train", made)
    text = card(about(builder.recipes["train"]), known)
    assert "No model was called" in text
    assert "the cost is unknown" in text
    assert "The price of the model is unknown" in card(about(replace(RECIPE, model="my-own")), seen())


def test_two_splits_are_two_recipes() -> None:
    """Each with a column, a file and a command of its own."""
    recipes = {"train": RECIPE, "test": replace(RECIPE, seed=8, language="French")}
    names = {split: f"{split}.consistent_chat.yaml" for split in recipes}
    text = card(replace(about(), recipes=recipes, files=names), seen())
    assert values(text)["language"] == ["en", "fr"]
    assert values(text)["multilinguality"] == "multilingual"
    assert '<code>7</code></td><td align="left"><code>8</code>' in text
    assert "test.consistent_chat.yaml --output test.parquet" in text


def test_its_images_are_beside_it() -> None:
    """All that it shows, by relative paths, and no others."""
    made = files(about(), seen())
    shown = [dict(each[1])["src"] for each in rendered(made["README.md"]).elements if each[0] == "img"]
    assert ["README.md", *shown] == list(made)


def test_the_same_build_gives_the_same_card() -> None:
    """Made anew, and made over itself."""
    first = card(about(), seen())
    assert card(about(), seen()) == first
    assert card(about(), seen(), first) == first


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(st.text() | st.sampled_from(HOSTILE), st.text() | st.sampled_from(HOSTILE))
def test_text_written_around_it_stays(above: str, below: str) -> None:
    """To the letter, and what is made is new."""
    old = card(about(), seen(dialogue(0)))
    begin, end = old.index(BEGIN), old.index(END) + len(END) + 1
    assume("consistent_chat:" not in above)  # a marker that the user wrote: then all of it is theirs
    written = f"{old[:begin]}{above}\n{old[begin:end]}{below}"
    new = card(about(), seen(), written)
    assert new.startswith(f"{old[:begin]}{above}\n{BEGIN}\n")
    assert new.endswith(f"\n{END}\n{below}")
    assert "\n<p>2 dialogues" in new
    assert "\n<p>1 dialogues" not in new
    assert card(about(), seen(), new) == new


@pytest.mark.parametrize(
    "text",
    [
        "# My data\n\nI wrote this, without a line break at its end",
        f"# My data\n\n{BEGIN}\nthe end is lost\n",
        f"# My data\n\n{END}\nthe begin is lost\n",
        f"{END}\n{BEGIN}\n",
        "---\nlicense: mit\n---\nonly a header and this\n",
        "\ufeff# A mark of byte order\n",
        "# Lines\r\nthat end\r\nas on Windows\r\n",
    ],
)
def test_a_card_without_its_markers_is_kept_whole(text: str) -> None:
    """All of it stays, what is made follows, and the next time is made anew in its place."""
    own = DatasetCard(text.removeprefix("\ufeff")).text
    first = card(about(), seen(dialogue(0)), text)
    assert f"---\n{own}" in first
    then = card(about(), seen(), first)
    assert f"---\n{own}" in then
    assert "\n<p>2 dialogues" in then
    assert "\n<p>1 dialogues" not in then


def test_keys_that_a_user_sets_in_the_header_stay() -> None:
    """With their comments; what follows from the build is set anew."""
    mine = (
        "# about me\nlicense: cc0-1.0   # mine\nlanguage: [fr]\npretty_name: My data\ntags:\n- mine\n"
        "# a table of mine\nconfigs:\n- config_name: mine\n  data_files: mine.csv\n- config_name: default\n"
        "  data_files: old.csv\n# at last\nextra: {a: [1, 2]}\n"
    )
    text = card(about(), seen(), f"---\n{mine}---\nText\n")
    head = values(text)
    assert (head["license"], head["pretty_name"], head["tags"]) == ("cc0-1.0", "My data", ["mine"])
    assert (head["extra"], head["language"]) == ({"a": [1, 2]}, ["en"])
    assert head["configs"] == [*CONFIGS, {"config_name": "mine", "data_files": "mine.csv"}]
    assert head["size_categories"] == ["n<1K"]
    assert "# about me\nlicense: cc0-1.0   # mine\n" in text
    assert "# at last\nextra: {a: [1, 2]}\n" in text
    assert card(about(), seen(), text) == text
    assert values(card(about(licence="mit"), seen(), text))["license"] == "mit"


def test_a_licence_that_is_there_is_not_said_to_lack() -> None:
    """The licence may be given now, for an earlier card, or written by the user."""
    assert "No licence was given" in card(about(), seen())
    for previous, licence in (
        ("", "mit"),
        ("---\nlicense: mit\n---\n", None),
        (card(about(licence="mit"), seen()), None),
    ):
        assert "No licence was given" not in card(about(licence=licence), seen(), previous)


def test_near_duplicates_are_told_of_by_the_recipe() -> None:
    """Whatever is installed, the same recipe gives the same card."""
    dropping = replace(RECIPE, drop_near_duplicates=0.8)
    assert "Near-duplicates were dropped (`drop_near_duplicates`)" in card(about(dropping), seen())
    two = About(
        "me/repo", "hf://datasets/me/repo", "repo", {"train": dropping, "test": RECIPE}, {"train": "a", "test": "b"}
    )
    assert "Near-duplicates of train were dropped" in card(two, seen())


def test_what_the_header_says_of_files_that_are_no_more_goes() -> None:
    """`push_to_hub` notes the numbers of rows there, which `load_dataset` then insists on."""
    info = [{"config_name": "default", "splits": [{"name": "train", "num_examples": 1}]}, {"config_name": "mine"}]
    for noted, left in ((info, [{"config_name": "mine"}]), (info[0], None), ({"features": []}, None)):
        before = yaml.safe_dump({"dataset_info": noted})
        assert values(card(about(), seen(), f"---\n{before}---\n")).get("dataset_info") == left


def test_before_the_first_dialogue_there_is_a_card_too() -> None:
    """With everything that follows from the recipe alone."""
    assert "<p>0 dialogues" in files(about(), Seen())["README.md"]


@pytest.mark.parametrize(
    "head",
    [
        "{license: mit, tags: [a]}",
        "license: mit\nlicense: mit",
        "a: &x [1]\nlicense: mit\nb: *x",
        "a: '\u2028\u2028\u2028\x85'\nlicense: mit",
        "a: |\n  # none\n  b: 1\nlicense: mit",
    ],
)
def test_a_header_in_another_form_keeps_its_values(head: str) -> None:
    """Also where its lines cannot be kept."""
    text = card(about(), seen(), f"---\n{head}\n---\n")
    assert values(text)["license"] == "mit"
    assert {**values(text), **yaml.safe_load(head)} == values(text)
    assert card(about(), seen(), text) == text


@pytest.mark.parametrize("head", ["license: [mit", "- a\n- b", "just text", "a: b: c"])
def test_a_header_that_cannot_be_read_is_said(head: str) -> None:
    """Before anything of it is lost."""
    with pytest.raises(ConsistentChatError, match=r"top of README.md cannot be read: .* Correct it"):
        card(about(), seen(), f"---\n{head}\n---\nText\n")


@settings(deadline=None, max_examples=20)
@given(TEXTS)
def test_no_text_of_a_model_breaks_out_of_its_place(text: str) -> None:
    """Whatever it is, the card has the same structure and metadata, and shows the text."""
    plain, made = card(about(), seen(dialogue(0))), card(about(), seen(dialogue(0, text)))
    assert values(made) == values(plain)
    assert rendered(made).elements == rendered(plain).elements
    assert " ".join(visible(text).split()) in " ".join(rendered(made).words.split())
    assert made.count(BEGIN) == made.count(END) == 1
    assert visible(made) == made
    assert card(about(), seen(dialogue(0, text)), made) == made


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(TEXTS, TEXTS)
def test_no_text_of_a_recipe_or_name_breaks_out_of_its_place(title: str, name: str) -> None:
    """A recipe may be a stranger's; so may the name of a file."""
    intents = {key: replace(intent, title=title) for key, intent in builtin().intents.items()}
    taxonomy = replace(builtin(), intents=intents)
    file = f"{name}.consistent_chat.yaml"
    hostile = replace(about(replace(RECIPE, taxonomy=taxonomy), title=title), files={"train": file})
    made = files(hostile, seen())
    usual = rendered(card(about(), seen())).elements
    assert without_targets(rendered(made["README.md"]).elements) == without_targets(usual)
    assert {**values(made["README.md"]), "pretty_name": ""} == {**values(card(about(), seen())), "pretty_name": ""}


def without_targets(elements: list[Any]) -> list[Any]:
    """Leave out where a relative link leads to."""
    targets = [dict(each[1])["href"] for each in elements if each[0] == "a"]
    assert all(re.match(r"https://arxiv\.org/abs/|[^:/]*$", target) for target in targets)
    return [each[0] if each[0] == "a" else each for each in elements]


@pytest.mark.slow
def test_an_answer_of_a_megabyte_is_cut() -> None:
    """A card stays readable."""
    long = dialogue(0)._replace(user_messages=("x y " * 250_000,), answers=("& " * 500_000,))
    assert len(card(about(), seen(long))) < 40_000


def test_of_a_long_dialogue_the_first_turns_are_shown() -> None:
    """And it says how many there are."""
    long = dialogue(0)._replace(user_messages=("more?",) * 100, answers=("yes",) * 100)
    text = card(about(), seen(long))
    assert text.count("more?") == 8
    assert "and 92 more turns" in text


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A Hub on this machine."""
    with Hub() as running:
        yield running


def validate(text: str) -> None:
    """Let the Hub check a card, as its client does before it sends one."""
    DatasetCard(text).validate()


@pytest.mark.slow
def test_the_hub_finds_it_valid(hub: Hub, tmp_path: Path) -> None:
    """By the check of its own client, hostile text and all."""
    user = machine(hub, tmp_path)
    try:
        user.run(validate, card(about(), seen(*(dialogue(n, text) for n, text in enumerate(HOSTILE)))))
    finally:
        user.pool.shutdown()
    assert [request for request in hub.requests if "validate-yaml" in str(request)]
