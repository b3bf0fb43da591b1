"""Test languages: the prompts name the language, and the rows contain the answers to the letter."""
# ruff: noqa: RUF001

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.cli import main
from consistent_chat.dialogue import prompts
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe, taxonomy
from tests.provider import Call, Provider, Reply

pytestmark = pytest.mark.usefixtures("folder")

SPOKEN = {
    "German": {
        "user": "Mein Brot ist gestern nicht aufgegangen – lag’s an der Hefe oder an der kühlen Küche?",
        "assistant": "Vermutlich an der Kälte: Bei 17\u202f°C braucht der Teig „über Nacht“, größer wird er trotzdem.",
    },
    "Japanese": {
        "user": "昨日焼いたパンが膨らみませんでした。酵母が古いのでしょうか、それとも部屋が寒すぎた？",
        "assistant": "　おそらく温度です。１７℃では一晩かかります。𠮷野さんの「ぬるま湯法」も試してください。が゙",
    },
    "Arabic": {
        "user": "خبزي لم ينتفخ أمس، هل الخميرة قديمة أم أن المطبخ بارد؟",
        "assistant": "غالبًا البرودة: عند ١٧°م يحتاج العجين إلى ليلة كاملة. جرّب ماءً فاترًا \u200f(٣٠°م)\u200f وانتظر.",
    },
}
SMALL: dict[str, Any] = {"model": "claude-sonnet-4-6", "num_dialogs_per_intent": 1, "num_turns_per_dialog": 2}


def prompt(call: Call) -> str:
    """Return all texts that a model receives."""
    return json.dumps([call.body.get("system"), call.body["messages"]], ensure_ascii=False)


def text(language: str, name: str) -> str:
    """Return a message in a language."""
    role, _, number = name.partition("_")
    return f"{SPOKEN[language][role]} ({number})"


def polyglot(call: Call) -> Reply:
    """Answer in the language that the prompt names.

    Half of the answers are JSON in ASCII only, as some servers send it.
    """
    asked = re.search(r"Write in (\w+)", prompt(call))
    assert asked is not None
    said = {name: text(asked[1], name) for name in call.names}
    return Reply.text(json.dumps(said, ensure_ascii=bool(call.number % 2)))


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Run a provider whose model speaks many languages."""
    with Provider(polyglot) as running:
        yield running


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("serving", ["anthropic", "openai"])
@pytest.mark.parametrize("language", SPOKEN)
def test_a_dataset_in_a_language(language: str, serving: str, provider: Provider, folder: Path) -> None:
    """The prompts of both stages name the language.

    The category, by which rows are sorted, stays the name in the taxonomy.
    """
    url = provider.url if serving == "anthropic" else provider.openai_url
    called = {"serving": serving, "base_url": url, "api_key": "a-key"}
    given = {**SMALL, "language": language, "responses": "responses", "split": "train"}
    made = load_dataset("consistent_chat", **given, **called)
    assert all(f"Write in {language}" in prompt(call) for call in provider.requests)
    expected = [text(language, name) for name in ("user_1", "assistant_1", "user_2", "assistant_2")]
    categories = {category.name for intent in taxonomy.builtin().intents.values() for category in intent.categories}
    for row in made:
        assert [message["value"] for message in row["conversation"]] == [part.strip() for part in expected]
        assert row["category"] in categories
    assert list(load_dataset("consistent_chat", **given, streaming=True)) == list(made)


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_files_hold_every_letter(ending: str, provider: Provider) -> None:
    """Files that the command line writes have the same letters when `datasets` reads them.

    JSON Lines files contain unescaped text.
    """
    options = ["--serving", "anthropic", "--base-url", provider.url, "--api-key", "a-key", "--language", "Arabic"]
    options += ["--model", "claude-sonnet-4-6", "--num-dialogs-per-intent", "1", "--num-turns-per-dialog", "1"]
    assert main(["build", *options, "--responses", "responses", "--output", f"made.{ending}"]) == 0
    kind = "json" if ending == "jsonl" else ending
    rows = load_dataset(kind, data_files=f"made.{ending}", split="train")
    assert rows[0]["conversation"][1]["value"] == text("Arabic", "assistant_1")
    if ending == "jsonl":
        assert text("Arabic", "user_1") in Path(f"made.{ending}").read_text("utf-8")


def test_a_taxonomy_of_the_language_is_asked_for_in_it(provider: Provider) -> None:
    """Categories, personas and manners may be in any script, and rows contain them unchanged."""
    own = {
        "intents": {
            "パン": {
                "title": "パン作り",
                "purpose": "家でパンを焼く",
                "flows": ["time_sequence"],
                "categories": {"失敗したパン": ["膨らまない食パン", "焦げた底"]},
            }
        }
    }
    called = {"serving": "anthropic", "base_url": provider.url, "api_key": "a-key", "responses": "responses"}
    extra = {"taxonomy": own, "personas": ["夜勤明けの看護師"], "manners": {"手短": "一言で済ませる"}}
    made = load_dataset("consistent_chat", split="train", **SMALL, **called, **extra, language="Japanese")
    assert made["category"][:] == ["失敗したパン"]
    assert (made[0]["provenance"]["persona"], made[0]["provenance"]["manner"]) == ("夜勤明けの看護師", "手短")
    assert "夜勤明けの看護師" in prompt(provider.requests[0])


def test_the_language_is_the_one_thing_that_differs() -> None:
    """Recipes that differ only in language have the same plan, and user prompts that differ in one word.

    The datasets can be compared row by row.
    """
    english, german = (Recipe("m", language=language) for language in ("English", "German"))
    assert list(Plan(english)) == list(Plan(german))
    spec = Plan(german)[0]
    (english_system, english_user), (system, user) = (prompts.skeleton(spec, name) for name in ("English", "German"))
    assert user == english_user.replace("Language: English", "Language: German")
    assert system.startswith(english_system.replace("English", "German") + "\n\n")


@pytest.mark.parametrize("language", ["English", "english", "British English", "German", "Japanese"])
def test_only_other_languages_are_told_how_to_write_them(language: str) -> None:
    """Only prompts for languages other than English mention forms of address and a move to another country.

    Varieties of English get these instructions as well.
    """
    spec = Plan(Recipe("m"))[0]
    for system, _ in (prompts.skeleton(spec, language), prompts.answers(spec, ["?"] * 6, language)):
        assert ("du or Sie" in system) == (language.lower() != "english")
    moved = f"to a country where {language} is spoken"
    assert (moved in prompts.skeleton(spec, language)[0]) == (language.lower() != "english")


def test_a_system_prompt_comes_after_what_a_language_needs() -> None:
    """The recipe's system prompt comes after the instructions for the language."""
    system, _ = prompts.answers(Plan(Recipe("m"))[0], ["?"] * 6, "German", "You are Ada.")
    assert system.index("du or Sie") < system.index("You are Ada.")
