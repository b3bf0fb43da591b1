"""The fingerprint identifies everything that two builds must share to give the same rows."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from consistent_chat.builder.fingerprint import DATA_FORMAT, fingerprint
from consistent_chat.dialogue import prompts
from consistent_chat.recipe import FIELDS, Recipe, taxonomy
from consistent_chat.recipe.ngrams import Ngrams
from consistent_chat.recipe.seeds import Seeds
from consistent_chat.recipe.seeds.sources import gather
from consistent_chat.recipe.taxonomy import Taxonomy

OTHER: dict[str, Any] = {
    "model": "another",
    "num_dialogs_per_intent": 21,
    "num_turns_per_dialog": 7,
    "temperature": 0.8,
    "seed": 1,
    "intents": ["simulation"],
    "language": "German",
    "taxonomy": {"personas": ["a lighthouse keeper"]},
    "layout": "messages",
    "provenance": False,
    "personas": ["a lighthouse keeper"],
    "manners": {"terse": "says little"},
    "system_prompt": "Be brief.",
    "splits": {"train": 19, "test": 1},
    "drop_near_duplicates": True,
    "checks": False,
    "answer_length": "brief",
    "message_length": 20,
    "outcome": {"partly": 1},
    "mood": "tired",
    "ending": "stops",
    "sensitive_share": 0.5,
    "judge_model": "judge",
    "min_score": 2,
    "reasoning": True,
    "user_model": "caller",
    "users": "turn_by_turn",
    "answers": "turn_by_turn",
    "review": {"marks": [{"keys": [f"sha256:{'0' * 64}"]}]},
    "preferences": {"turn": "last"},
    "decontaminate": Ngrams.of(["one two three four five"], "mine", 5),
    "rules": {"brief": {"max_words": 9}},
    "instructions": {"users": "Mention the weather."},
    "attributes": {"tier": ["free", "paid"]},
    "num_answers": 2,
    "judge": {"model": "judge", "criteria": {"tone": "Is it kind?"}},
    "seeds": Seeds(gather(["topic"], [(1, b"d" * 32, ["bees"])])[0]),
}
RECIPE = Recipe(model="m")


def renamed_flow(whole: Taxonomy) -> Taxonomy:
    """Return a taxonomy in which one flow has another key, on which the plan's draws depend."""
    intent = whole.intents["educational"]
    flows = (replace(intent.flows[0], key="another"), *intent.flows[1:])
    return replace(whole, intents={**whole.intents, "educational": replace(intent, flows=flows)})


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_changes_the_fingerprint(name: str) -> None:
    """Changing any recipe field changes the fingerprint."""
    given = {"model": "m", "judge_model": "one" if name in ("min_score", "num_answers") else None}
    given |= {"answers": "turn_by_turn"} if name == "users" else {}
    given |= {"judge_model": "one", "min_score": 1, "layout": "preference"} if name == "preferences" else {}
    assert fingerprint(Recipe(**{**given, name: OTHER[name]})) != fingerprint(Recipe(**given))


def test_equal_recipes_have_one_fingerprint() -> None:
    """Equal recipes have the same fingerprint whether fields are explicit, default, or set with `with_model`."""
    spelt_out = Recipe.from_mapping({"model": "m", "temperature": 0.9, "taxonomy": {"extend": {}}}, origin="r.yaml")
    assert fingerprint(spelt_out) == fingerprint(RECIPE) == fingerprint(Recipe("another").with_model("m"))
    assert len(fingerprint(RECIPE)) == 64


def test_naming_all_intents_is_naming_none() -> None:
    """Naming all intents in any order gives the same fingerprint as naming none."""
    every = [intent.title for intent in reversed(taxonomy.builtin().intents.values())]
    assert fingerprint(Recipe("m", intents=tuple(every))) == fingerprint(RECIPE)


def test_an_intent_that_was_not_chosen_is_of_no_meaning() -> None:
    """Topics added to an intent change the fingerprint only if the recipe selects that intent."""
    more = {"extend": {"intents": {"educational": {"categories": {"Bees": ["a swarm in May"]}}}}}
    for chosen, same in ((("simulation",), True), (("educational",), False)):
        one, other = Recipe("m", intents=chosen), Recipe("m", intents=chosen, taxonomy=more)
        assert (fingerprint(one) == fingerprint(other)) is same


def test_the_key_of_a_flow_counts() -> None:
    """A flow's key, which no prompt shows, changes the fingerprint because the choice of the flow depends on it."""
    assert fingerprint(Recipe("m", taxonomy=renamed_flow(taxonomy.builtin()))) != fingerprint(RECIPE)


def test_where_a_recipe_was_read_is_of_no_meaning() -> None:
    """A recipe's file path does not change the fingerprint."""
    assert fingerprint(Recipe("m", origin="there.yaml")) == fingerprint(RECIPE)


def test_zero_has_no_sign() -> None:
    """The temperatures 0 and -0.0 give the same fingerprint."""
    assert fingerprint(Recipe("m", temperature=-0.0)) == fingerprint(Recipe("m", temperature=0))


@pytest.mark.parametrize("name", prompts.NAMES)
def test_each_prompt_changes_the_fingerprint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing any prompt changes the fingerprint."""
    before = fingerprint(RECIPE)
    assert prompts.contents()[name]
    monkeypatch.setattr(prompts, "NAMES", tuple(other for other in prompts.NAMES if other != name))
    assert fingerprint(RECIPE) != before


def test_the_format_of_the_rows_changes_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new data format changes the fingerprint, so that a release with different rows does not reuse old caches."""
    before = fingerprint(RECIPE)
    module = sys.modules[fingerprint.__module__]
    monkeypatch.setattr(module, "DATA_FORMAT", DATA_FORMAT + 1)
    assert fingerprint(RECIPE) != before
