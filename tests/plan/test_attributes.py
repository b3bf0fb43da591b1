"""Tests of attributes: user-defined values that the plan draws for each dialogue."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.dialogue.at_once import fill
from consistent_chat.errors import RecipeError
from consistent_chat.plan import Plan
from consistent_chat.publishing import recipe_file
from consistent_chat.recipe import Recipe

TIER = {"free": 0.8, "paid": 0.2}
CONTACT = [{"when": {"tier": "paid"}, "values": {"phone": 1, "chat": 0}}, {"values": ["mail"]}]


def drawn(number: int = 60, **given: Any) -> list[dict[str, str]]:
    """Return the attributes of `number` dialogues of each of two intents."""
    recipe = Recipe("m", intents=["transaction", "educational"], num_dialogs_per_intent=number, **given)
    return [dict(spec.attributes) for spec in Plan(recipe)]


def test_values_are_drawn_by_weights_and_conditions() -> None:
    """Values are drawn by their weights, within chance, and by their conditions.

    Of 600 draws with a probability of one fifth, 120 are expected, and five standard deviations are 49.
    """
    found = drawn(300, attributes={"tier": TIER, "region": ["EU", "US"], "contact": CONTACT})
    tiers = Counter(one["tier"] for one in found)
    assert abs(tiers["paid"] - 120) < 50
    assert {one["region"] for one in found} == {"EU", "US"}
    assert all(one["contact"] == ("phone" if one["tier"] == "paid" else "mail") for one in found)


def test_what_is_drawn_hangs_on_the_combination_alone() -> None:
    """A draw depends only on the combination, not on other attributes or the number of dialogues.

    Substitutes and other seeds draw again.
    """
    one = drawn(attributes={"tier": TIER})
    assert [found["tier"] for found in drawn(90, attributes={"region": ["EU"], "tier": TIER})][:120] == [
        found["tier"] for found in one
    ]
    assert one != drawn(attributes={"tier": TIER}, seed=1)
    plan = Plan(Recipe("m", attributes={"number": [str(number) for number in range(999)]}))
    assert len({plan.spec(3, substitute).attributes for substitute in range(9)}) == 9


def test_an_attribute_without_a_case_is_empty() -> None:
    """An attribute is empty if no case applies; a condition may name an intent by its key or its title."""
    when = {"when": {"intent": ["transaction"]}, "values": ["card"]}
    found = drawn(3, attributes={"pays": when})
    assert [one["pays"] for one in found] == ["card", "", "card", "", "card", ""] or [one["pays"] for one in found] == [
        "", "card", "", "card", "", "card"
    ]  # fmt: skip


def test_a_condition_may_name_a_column(tmp_path: Path) -> None:
    """A condition may name a column of the seed data, which is then read; an unknown column is an error."""
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(json.dumps({"text": str(n), "kind": kind}) for n, kind in enumerate("aab")))
    seeds = {"data": str(data), "fields": {"topic": "text"}}
    recipe = Recipe("m", seeds=seeds, attributes={"own": {"when": {"kind": "a"}, "values": ["yes"]}})
    assert sorted(dict(spec.attributes)["own"] for spec in Plan(recipe)) == ["", "yes", "yes"]
    with pytest.raises(RecipeError, match=r"has no column 'knd'. Did you mean 'kind'\?"):
        Recipe("m", seeds=seeds, attributes={"own": {"when": {"knd": "a"}, "values": ["yes"]}})


@pytest.mark.slow
def test_they_are_in_templates_and_in_the_rows(tmp_path: Path) -> None:
    """Attributes are in the rows and available in templates, but in requests only if a template names them."""
    given = {"attributes": {"tier": TIER}, "num_dialogs_per_intent": 2, "intents": ["educational"]}
    rows = load_dataset(
        "consistent_chat", serving="rehearsal", system_prompt="For {{ tier }}.", split="train", **given,
        responses=str(tmp_path / "responses"), cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    for row in rows:
        assert row["conversation"][0]["value"] == f"For {row['provenance']['attributes']['tier']}."
    plain, own = Recipe("m"), Recipe("m", attributes={"tier": TIER})
    assert next(fill(plain, Plan(plain), 0)) == next(fill(own, Plan(own), 0))


@pytest.mark.slow
def test_a_written_recipe_has_them(tmp_path: Path) -> None:
    """A written recipe file contains the attributes and reads back with the same fingerprint."""
    recipe = Recipe("m", attributes={"tier": TIER, "contact": CONTACT})
    recipe_file.write(recipe, tmp_path / "a.consistent_chat.yaml")
    assert fingerprint(Recipe.from_file(str(tmp_path / "a.consistent_chat.yaml"))) == fingerprint(recipe)


WRONG: list[tuple[Any, str]] = [
    ({}, "attributes must be a mapping of up to 100 names"),
    ({"topic": ["a"]}, "that have no other meaning, not 'topic'"),
    ({"a b": ["a"]}, "not 'a b'"),
    ({"if": ["a"]}, "not 'if'"),
    ({"true": ["a"]}, "not 'true'"),
    ({"a": []}, "attributes.a must be values with weights"),
    ({"a": {"x": 0}}, "attributes.a must be a mapping of values to weights, at least one of which"),
    ({"a": {"x": -1}}, "attributes.a must have weights in range: x must be"),
    ({"a": {True: 1}}, "attributes.a must have values of text: one must be one line"),
    ({"a": [{"values": ["x"], "wen": {}}]}, "there is no 'wen'"),
    ({"a": {"when": {"b": "x"}, "values": ["x"]}, "b": ["x"]}, "'b' is defined after it. Move 'b' up."),
    ({"b": ["paid"], "a": {"when": {"b": "piad"}, "values": ["x"]}}, "there is no 'piad'. Did you mean 'paid'?"),
    ({"a": {"when": {"tpic": "x"}, "values": ["x"]}}, "there is no 'tpic'. Did you mean 'topic'?"),
    ({"a": {"when": {"topic": 3}, "values": ["x"]}}, "attributes.a.when.topic must be a text or a list of texts"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_wrong_attributes_are_told_before_any_call(given: Any, message: str) -> None:
    """Invalid attributes raise a RecipeError that names the attribute and suggests the nearest name."""
    with pytest.raises(RecipeError) as raised:
        Recipe(attributes=given)
    assert message in str(raised.value)
