"""Test the check of figures and names against the source: it finds invented ones and accepts others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from consistent_chat.dialogue import checks
from consistent_chat.dialogue.checks.grounded import grounded as check
from consistent_chat.dialogue.checks.grounded import names
from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.parse import Unusable
from consistent_chat.recipe import Recipe

SOURCE = "Order X200-77 of 3 May 2026: a lamp for 1,250.00 euros, sent at 10:30. Mail help@lamps.example."
ASKED = ("When was it sent, and is 49.90 too much?", "My number is 0170 555 1234.")


def found(*answers: str, source: str = SOURCE, **given: Any) -> str:
    """Return the finding, or an empty string if there is none."""
    thresholds = {"broken_off": False, "repeats": False, **given}
    try:
        checks.answers(answers, ASKED, Recipe(checks=thresholds), source)
    except Unusable as error:
        return f"{error.reason.value}: {error.detail}"
    return ""


GOOD = [
    "It was sent on 3 May 2026 at 10:30 and cost 1250 euros, or €1,250. It is order X200-77.",
    "It left on 2026-05-03 at 10.30. Write to help@lamps.example with the order 77 and X200.",
    "49.90 would be less than 1.250,00. First 1. look, then 2. ask, and wait for 5 days.",
    "Run this:\n```\nport = 8080 + 9090 + 7070\n```\nThen it is `0.12.33`.",
    "It may take 24 hours, at most 48.",
    "It is the lamp with the mark 4f9e-a12b-77c0, of 2026, sent on May 3rd at 10:30h.",
]


@pytest.mark.parametrize("answer", GOOD)
def test_what_was_said_may_be_said_again(answer: str) -> None:
    """An answer may repeat figures of the source in other formats or in part, and have one or two new ones."""
    assert found(answer) == ""
    assert found(answer, "We call 0170 555 1234 at 10:30.") == ""


BAD = [
    "It was sent on 14 May 2027 at 11:45.",
    "Call 0800 123 456 or write to other@lamps.example.",
    "It cost 999 euros, the tax was 189.81, and returns take 45 days.",
    "See https://lamps.example/returns, www.lamps.example/help and sales@lamps.example.",
]


@pytest.mark.parametrize("answer", BAD)
def test_figures_that_are_made_up_are_found(answer: str) -> None:
    """Three different invented figures in one answer are reported.

    Nothing is reported without a source, with the check off, or with a higher threshold.
    """
    assert found(answer).startswith("grounded: assistant_1 has figures that occur nowhere before: ")
    assert found(answer, source="") == ""
    assert found(answer, grounded=False) == ""
    assert found(answer, grounded=50) == ""


NAMED = {
    "English": "Please ask Maria Lopez at Harborview Clinic, or her deputy James Okoro.",
    "French": "Demandez à Mme Claire Dupont de la Clinique Saint Michel, ou au docteur Jean Morel.",
    "Spanish": "Hable con la doctora Ana Torres del Hospital San Rafael o con Luis Pardo.",
    "Italian": "Chieda al signor Paolo Rossi della Banca Nuova Aurora oppure a Giulia Conti.",
    "Russian": "Обратитесь к Анне Петровой из клиники Северный Ветер или к Ивану Смирнову.",
    "Turkish": "Lütfen Ayşe Demirel ile ya da Mavi Deniz Otel müdürü Kemal Aydemir ile konuşun.",
}


@pytest.mark.parametrize("language", NAMED)
def test_names_that_are_made_up_are_found(language: str) -> None:
    """Three names of several words, also inflected ones, are reported if the source contains none of their words."""
    text = NAMED[language]
    message = named(text, language)
    assert message.startswith("assistant_1 has names that occur nowhere before: ")
    assert named(text, language, source=f"{SOURCE} {text}") == ""
    assert named(text, language, grounded=4) == ""


def named(text: str, language: str, source: str = SOURCE, grounded: int = 3) -> str:
    """Return what the check finds in an answer if it runs alone."""
    try:
        side = Side([text], "assistant", ["?"], language, {}, lambda _: frozenset())
        check(side, ["?"], source, grounded, language)
    except Unusable as error:
        return error.detail
    return ""


PLAIN = {
    "English": "# Next Steps At Home\nLook.\n**Open Settings Now**\nIf I Were You:\nI met Ada. Ask Bo, Cy, Di.",
    "German": "Den Antrag Umzug Inland nimmt das Amt Mitte Nord an, die Stelle Am Markt Süd auch.",
    "Japanese": "田中さんに聞いてください。Windowsの設定を開きます。",
    "Russian": "Сначала отключите питание. Потом проверьте кабель, и всё.",
}


@pytest.mark.parametrize("language", PLAIN)
def test_capitals_alone_make_no_name(language: str) -> None:
    """Capitals in headings, labels, beginnings of sentences, single names and German nouns do not make a name."""
    assert named(PLAIN[language], language, grounded=2) == ""


def test_good_answers_have_hardly_a_name_of_their_own() -> None:
    """Of 254 good answers, at most four have one name that counts as invented, and none has more.

    They are measured without any source.
    """
    listed = yaml.safe_load((Path(__file__).parent / "texts" / "good.yaml").read_text("utf-8"))
    texts = [(language, text) for language, sides in listed.items() for text in sides.get("answers", ())]
    counts = Counter(len(set(names(text, language))) for language, text in texts)
    assert len(texts) >= 250
    assert counts[1] <= 4
    assert set(counts) <= {0, 1}


def test_a_later_message_grounds_nothing_before_it() -> None:
    """A figure in a later message does not support an earlier answer. The threshold counts each figure once."""
    assert "assistant_1" in found("We call 0170 555 1234.")
    assert found("It is 999, yes 999, or 999.00, and 999!") == ""
    assert "'999'" in found("It is 999.", grounded=1)


def test_a_hostile_answer_costs_linear_time() -> None:
    """The check takes linear time for hostile answers with long words or many marks."""
    for text in (
        "[" * 20_000,
        "**" * 20_000,
        '"' * 20_000,
        "A b " * 20_000,
        "Ab " * 20_000,
        "\n" * 20_000,
        "#" * 20_000,
    ):
        assert "figures" not in named(text, "English")
    assert found("a" * 100_000 + ".", loops=False) == found("1.2" * 30_000 + ".", loops=False) == ""


def test_only_another_threshold_is_part_of_a_recipe() -> None:
    """The default threshold of `grounded` is not part of a recipe; other values are.

    Recipes without seeds stay unchanged.
    """
    assert Recipe(checks={"grounded": 3}).checks == Recipe(checks={"grounded": True}).checks == Recipe().checks
    assert Recipe(checks={"grounded": 4}).checks == {**Recipe().checks, "grounded": 4}
    assert Recipe(checks={"grounded": False}).checks == {**Recipe().checks, "grounded": False}
