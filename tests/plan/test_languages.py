"""Tests of several languages in one recipe: they alternate over the plan and change nothing else about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from consistent_chat.dialogue import fill
from consistent_chat.errors import RecipeError
from consistent_chat.plan import Plan
from consistent_chat.recipe import Recipe

SIX = {"num_dialogs_per_intent": 6}


def spoken(language: Any, **fields: Any) -> list[str]:
    """Return the language of each dialogue of a plan."""
    return [spec.language for spec in Plan(Recipe(language=language, **{**SIX, **fields}))]


def test_the_plan_is_that_of_one_language() -> None:
    """A plan with several languages has the same topics, people and shapes as a plan with one, also for substitutes."""
    one, two = Plan(Recipe(**SIX)), Plan(Recipe(language=["English", "German"], **SIX))
    assert [replace(spec, language="") for spec in two] == list(one)
    assert replace(two.spec(7, 3), language="") == one.spec(7, 3)
    assert two.spec(7, 3).language == two.spec(7).language


def test_languages_take_turns_within_each_intent() -> None:
    """Each intent has the same number of dialogues in each language, and a longer plan begins with the shorter one."""
    plan = Plan(Recipe(language=["English", "German", "Thai"], **SIX))
    counts = Counter((spec.intent.key, spec.language) for spec in plan)
    assert set(counts.values()) == {2}
    longer = spoken(["English", "German", "Thai"], num_dialogs_per_intent=12)
    assert longer[: len(plan)] == [spec.language for spec in plan]


def test_weights_are_shares_to_within_one() -> None:
    """In any prefix of an intent's dialogues, the weights are the shares of the languages to within one dialogue."""
    weights = {"German": 1, "English": 3, "Thai": 0}
    made = spoken(weights, num_dialogs_per_intent=40, intents=["transaction"])
    for end in range(1, 41):
        assert abs(made[:end].count("English") - 0.75 * end) <= 1
    assert "Thai" not in made


@pytest.mark.parametrize("given", ["German", ["German"], ("German", "German"), {"German": 2, "English": 0}])
def test_one_language_is_its_name(given: Any) -> None:
    """A single language gives the same recipe in every form."""
    assert Recipe(language=given) == Recipe(language="German")


@pytest.mark.parametrize("given", [[], {}, 5, [""], ["a\nb"], {"German": -1}, {"German": 0}, {"": 1}, [["German"]]])
def test_what_is_no_language_is_refused(given: Any) -> None:
    """An invalid language raises a RecipeError that names the field."""
    with pytest.raises(RecipeError, match=r"^language must "):
        Recipe(language=given)


def test_each_request_asks_for_the_language_of_its_place() -> None:
    """A dialogue's request is the same as that of a recipe with only the dialogue's language."""
    several = Recipe(model="m", language=["English", "German"])
    for index, language in enumerate(("English", "German")):
        alone = Recipe(model="m", language=language)
        assert next(fill(several, Plan(several), index)) == next(fill(alone, Plan(alone), index))
