"""Test the card: its content, and that no text of a model or stranger changes its structure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard
from hypothesis import given, settings

from consistent_chat.card import About, Seen, card, files, header
from consistent_chat.card.readme import BEGIN, END
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import FailedDraw
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import builtin
from consistent_chat.request import Response
from consistent_chat.text import languages
from consistent_chat.text.sanitize import sanitize
from tests.card.cards import CONFIGS, HOSTILE, RECIPE, TEXTS, about, dialogue, rendered, seen, values
from tests.hub import Hub
from tests.hub.machines import machine


def test_the_header_is_what_the_hub_filters_by() -> None:
    """The header has the keys that the Hub filters by and nothing invented: no licence unless one is given."""
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
    """The size categories are the Hub's, and each begins where the previous one ends."""
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
    """A language has the code of its English name; an unknown language is omitted from the header."""
    assert languages.code(name) == code
    assert values(card(about(replace(RECIPE, language=name)), seen())).get("language") == (code and [code])


def test_it_tells_what_was_made_and_how() -> None:
    """The card shows the recipe, statistics beside the paper's, redraws by reason, cost, samples and commands."""
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


@pytest.mark.parametrize(("language", "intent"), [("German", "educational"), ("English", "workshop")])
def test_the_papers_figures_stand_beside_english_dialogues_of_its_intents(language: str, intent: str) -> None:
    """The paper's numbers are shown only beside English dialogues of its intents.

    English may be one of several languages.
    """
    own = dialogue(0)
    own = own._replace(spec=replace(own.spec, intent=replace(own.spec.intent, key=intent)))
    assert "lowest of its intents" not in card(about(replace(RECIPE, language=language)), seen(own))
    assert "lowest of its intents" in card(about(replace(RECIPE, language=[language, "English"])), seen())


FORMS: dict[str, tuple[Any, ...]] = {
    "all at once": ({}, "then all answers", "none by a person", "so the user never reacts to an answer"),
    "answers by turns": (
        {"answers": "turn_by_turn"},
        "then each answer from the chat",
        "none by a person",
        "never reacts",
    ),
    "by turns": (
        {"users": "turn_by_turn", "answers": "turn_by_turn"},
        "wrote each message of a dialogue from the chat",
        "none by a person",
        "",
    ),
    "given": (
        {"seeds": {}},
        "wrote the answers",
        "The answers were written by a machine",
        "are given, so they do not react",
    ),
    "extended": ({"seeds": {"extend": 2}}, "wrote the turns after it", "The added turns were written", "were added"),
}


@pytest.mark.parametrize("form", FORMS)
def test_it_claims_only_what_holds_for_how_messages_were_written(form: str, tmp_path: Path) -> None:
    """The card describes how messages were written for each form of dialogue.

    A machine did not write given messages, and a user in turn-by-turn dialogues reads the answers.
    """
    (path := tmp_path / "chats.jsonl").write_text('{"chat": [{"role": "user", "content": "Is it far?"}]}\n')
    fields, *told = FORMS[form]
    if "seeds" in fields:
        seeds = {"data": str(path), "fields": {"conversation": "chat"}, **fields["seeds"]}
        recipe = Recipe(model="claude-haiku-4-5", seeds=seeds)
    else:
        recipe = replace(RECIPE, **fields)
    text = " ".join(card(about(recipe), seen()).split())
    assert all(words in text for words in told)
    for other, *_ in (told for name, (_, *told) in FORMS.items() if name != form):
        assert other not in text
    assert ("never reacts" in text) == (form in ("all at once", "answers by turns"))
    assert ("are invented" in text) == ("seeds" not in fields)


def test_splits_of_several_forms_claim_none_of_them() -> None:
    """If splits have different forms, the card refers to the recipe of each split.

    It counts the dialogues that people edited.
    """
    recipes = {"train": RECIPE, "test": replace(RECIPE, answers="turn_by_turn", user_model="gpt-4o-mini")}
    edited = seen(dialogue(0)._replace(edited=("assistant_1",)), dialogue(1))
    text = " ".join(card(replace(about(), recipes=recipes, files=dict.fromkeys(recipes, "a")), edited).split())
    assert "as the recipe of each split says" in text
    assert "(<code>claude-haiku-4-5</code>, <code>gpt-4o-mini</code>)" in text
    assert "; people edited 1 dialogue." in text
    assert "none by a person" not in text


def test_the_demo_says_that_no_model_was_asked() -> None:
    """The demo's card says that no model was called and that the cost is unknown."""
    builder = open_builder("demo")
    known = Seen()
    for made in builder.replay("train"):
        known.see("train", made)
    text = card(about(builder.recipes["train"]), known)
    assert "No model was called" in text
    assert "the cost is unknown" in text
    assert "The price of the model is unknown" in card(about(replace(RECIPE, model="my-own")), seen())


def test_two_splits_are_two_recipes() -> None:
    """Each of two splits has its own column, file and command in the card."""
    recipes = {"train": RECIPE, "test": replace(RECIPE, seed=8, language="French")}
    names = {split: f"{split}.consistent_chat.yaml" for split in recipes}
    text = card(replace(about(), recipes=recipes, files=names), seen())
    assert values(text)["language"] == ["en", "fr"]
    assert values(text)["multilinguality"] == "multilingual"
    assert '<code>7</code></td><td align="left"><code>8</code>' in text
    assert "test.consistent_chat.yaml --output test.parquet" in text


def test_its_images_are_beside_it() -> None:
    """The files beside a card are exactly the images that it shows, by relative paths."""
    made = files(about(), seen())
    shown = [dict(each[1])["src"] for each in rendered(made["README.md"]).elements if each[0] == "img"]
    assert ["README.md", *shown] == list(made)


def test_the_same_build_gives_the_same_card() -> None:
    """The same build gives the same card, both as a new card and as an update of itself."""
    first = card(about(), seen())
    assert card(about(), seen()) == first
    assert card(about(), seen(), first) == first


def test_near_duplicates_are_told_of_by_the_recipe() -> None:
    """The card mentions near-duplicates according to the recipe, whatever is installed."""
    dropping = replace(RECIPE, drop_near_duplicates=0.8)
    assert "Near-duplicates were dropped (`drop_near_duplicates`)" in card(about(dropping), seen())
    two = About(
        "me/repo", "hf://datasets/me/repo", "repo", {"train": dropping, "test": RECIPE}, {"train": "a", "test": "b"}
    )
    assert "Near-duplicates of train were dropped" in card(two, seen())


def test_before_the_first_dialogue_there_is_a_card_too() -> None:
    """A card without any dialogue shows everything that follows from the recipe alone."""
    assert "<p>0 dialogues" in files(about(), Seen())["README.md"]


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(TEXTS)
def test_no_text_of_a_model_breaks_out_of_its_place(text: str) -> None:
    """Any text of a model is shown as text and does not change the structure and metadata of the card."""
    plain, made = card(about(), seen(dialogue(0))), card(about(), seen(dialogue(0, text)))
    assert values(made) == values(plain)
    assert rendered(made).elements == rendered(plain).elements
    assert " ".join(sanitize(text).split()) in " ".join(rendered(made).words.split())
    assert made.count(BEGIN) == made.count(END) == 1
    assert sanitize(made) == made
    assert card(about(), seen(dialogue(0, text)), made) == made


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(TEXTS, TEXTS)
def test_no_text_of_a_recipe_or_name_breaks_out_of_its_place(title: str, name: str) -> None:
    """A stranger's recipe or file name does not change the structure and metadata of the card."""
    intents = {key: replace(intent, title=title) for key, intent in builtin().intents.items()}
    taxonomy = replace(builtin(), intents=intents)
    file = f"{name}.consistent_chat.yaml"
    hostile = replace(about(replace(RECIPE, taxonomy=taxonomy), title=title), files={"train": file})
    made = files(hostile, seen())
    usual = rendered(card(about(), seen())).elements
    assert without_targets(rendered(made["README.md"]).elements) == without_targets(usual)
    assert {**values(made["README.md"]), "pretty_name": ""} == {**values(card(about(), seen())), "pretty_name": ""}


def without_targets(elements: list[Any]) -> list[Any]:
    """Return the elements without the targets of links, and check that each target is relative or on arXiv."""
    targets = [dict(each[1])["href"] for each in elements if each[0] == "a"]
    assert all(re.match(r"https://arxiv\.org/abs/|[^:/]*$", target) for target in targets)
    return [each[0] if each[0] == "a" else each for each in elements]


@pytest.mark.slow
def test_an_answer_of_a_megabyte_is_cut() -> None:
    """Long messages are shortened, so that the card stays readable."""
    long = dialogue(0)._replace(user_messages=("x y " * 250_000,), answers=("& " * 500_000,))
    assert len(card(about(), seen(long))) < 40_000


def test_of_a_long_dialogue_the_first_turns_are_shown() -> None:
    """The card shows the first turns of a long dialogue and the number of the others."""
    long = dialogue(0)._replace(user_messages=("more?",) * 100, answers=("yes",) * 100)
    text = card(about(), seen(long))
    assert text.count("more?") == 8
    assert "and 92 more turns" in text


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """Run a Hub on this machine."""
    with Hub() as running:
        yield running


def validate(text: str) -> None:
    """Let the Hub validate a card, as its client does before it uploads one."""
    DatasetCard(text).validate()


@pytest.mark.slow
def test_the_hub_finds_it_valid(hub: Hub, tmp_path: Path) -> None:
    """The Hub accepts the card, even with hostile text."""
    user = machine(hub, tmp_path)
    try:
        user.run(validate, card(about(), seen(*(dialogue(n, text) for n, text in enumerate(HOSTILE)))))
    finally:
        user.pool.shutdown()
    assert [request for request in hub.requests if "validate-yaml" in str(request)]
