"""The recipe: its fields as keyword arguments, and the error messages about wrong values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import FIELDS, Recipe, taxonomy
from consistent_chat.recipe.rules import DEFAULTS
from consistent_chat.recipe.taxonomy import Persona

LAW = settings(derandomize=True)


def test_the_defaults_are_the_documented_ones() -> None:
    """The defaults stay as documented, because changing one would change the data of all users."""
    recipe = Recipe()
    assert {name: getattr(recipe, name) for name in FIELDS} == {
        "model": None,
        "num_dialogs_per_intent": 20,
        "num_turns_per_dialog": 6,
        "temperature": 0.9,
        "seed": 0,
        "intents": None,
        "language": "English",
        "taxonomy": None,
        "layout": "conversation",
        "provenance": True,
        "personas": None,
        "manners": None,
        "system_prompt": None,
        "splits": None,
        "drop_near_duplicates": False,
        "checks": DEFAULTS,
        "answer_length": None,
        "message_length": None,
        "outcome": None,
        "mood": None,
        "ending": None,
        "sensitive_share": 0.03,
        "judge_model": None,
        "min_score": None,
        "judge": None,
        "num_answers": 1,
        "reasoning": False,
        "seeds": None,
        "user_model": None,
        "users": "at_once",
        "answers": "at_once",
        "rules": None,
        "review": None,
        "instructions": None,
        "attributes": None,
        "decontaminate": None,
        "preferences": None,
    }


WRONG: dict[str, tuple[Any, str]] = {
    "model": ("", "model must be one line of text, 1 to 200 characters, not ''."),
    "num_dialogs_per_intent": (0, "num_dialogs_per_intent must be a whole number from 1 to 1000000000, not 0."),
    "num_turns_per_dialog": (101, "num_turns_per_dialog must be a whole number from 1 to 100, not 101."),
    "temperature": (2.5, "temperature must be a number from 0 to 2, not 2.5."),
    "seed": ("0", "seed must be a whole number from -9223372036854775808 to 9223372036854775807, not '0'."),
    "intents": ([], "intents must be a list of intents, or None for all, not []."),
    "language": ("En\nglish", "language must be one line of text, 1 to 60 characters, not 'En\\nglish'."),
    "taxonomy": (3, "taxonomy must be a path, a URL or a mapping, not int."),
    "layout": (
        "alpaca",
        "layout must be one of conversation, messages, sharegpt, bare, preference, kto, not 'alpaca'.",
    ),
    "provenance": (1, "provenance must be true or false, not 1."),
    "personas": ("a nurse", "personas must be a list, not str."),
    "manners": ({"terse": 5}, "manners (terse) must be text, not 5. Put it in quotes."),
    "system_prompt": (" ", "system_prompt must be valid text of 1 to 20,000 characters, not ' '."),
    "splits": ({"my-test": 1}, "splits must have names of up to 60 letters, digits and _, not 'my-test'."),
    "drop_near_duplicates": (0, "drop_near_duplicates must be true, false or a number from 0.1 to 1, not 0."),
    "checks": ([], "checks must be true, false, or a mapping of checks to their thresholds, not []."),
    "answer_length": (0, "answer_length must be a whole number from 1 to 1000, not 0."),
    "message_length": (
        "longish",
        "message_length must be one of fragments, short, medium, long, mixed, not 'longish'.",
    ),
    "outcome": ({"solved": -1}, "outcome must have weights in range: solved must be a number from 0 to 1e+06, not -1."),
    "mood": (
        {"glad": 1},
        "mood must have weights of known names: one must be one of neutral, curious, cheerful, "
        "tired, worried, impatient, frustrated, bored, sad, not 'glad'.",
    ),
    "ending": (3, "ending must be one of stops, thanks, decides, breaks_off, new_question, remark, not 3."),
    "sensitive_share": (1.5, "sensitive_share must be a number from 0 to 1, not 1.5."),
    "judge_model": ("", "judge_model must be one line of text, 1 to 200 characters, not ''."),
    "min_score": (6, "min_score must be a number from 1 to 5, not 6."),
    "reasoning": (1, "reasoning must be true or false, not 1."),
    "user_model": (7, "user_model must be one line of text, 1 to 200 characters, not 7."),
    "users": ("together", "users must be one of at_once, turn_by_turn, not 'together'."),
    "answers": (3, "answers must be one of at_once, turn_by_turn, not 3."),
    "review": (7, "review must be a path, a URL or a mapping, not int."),
    "instructions": ([], "instructions must be a mapping of users and answers to texts, not []."),
    "attributes": ([], "attributes must be a mapping of up to 100 names to values with weights, not []."),
    "preferences": ([], "preferences must be a mapping of rejected_model, temperature, turn, min_gap, not []."),
    "decontaminate": (7, "decontaminate must be a file of n-grams, or a list of up to 20, not 7."),
    "rules": ([], "rules must be a mapping of up to 100 names to rules, not []."),
    "num_answers": (9, "num_answers must be a whole number from 1 to 8, not 9."),
    "judge": ("m", "judge must be a mapping with model and criteria, not 'm'."),
    "seeds": ("a.csv", "seeds must be a mapping with data and fields, not 'a.csv'."),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_wrong_value_is_refused_by_name(name: str) -> None:
    """A wrong value of any field raises an error that names the field and says what it accepts."""
    value, message = WRONG[name]
    with pytest.raises(RecipeError) as caught:
        Recipe(**{name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["num_dialogs_per_intent", "num_turns_per_dialog", "seed", "temperature"])
@pytest.mark.parametrize("value", [True, None, "6", float("nan"), float("inf"), [6]])
def test_no_number_is_guessed(name: str, value: Any) -> None:
    """Values of other types are not converted to numbers: True is not 1, and "6" is not 6."""
    with pytest.raises(RecipeError, match=f"^{name} must be a"):
        Recipe(**{name: value})


def test_a_long_wrong_value_is_cut_in_the_message() -> None:
    """The message about a value of four million letters quotes only its beginning."""
    with pytest.raises(RecipeError) as caught:
        Recipe(model="x" * 4_000_000)
    assert str(caught.value).endswith(f"not '{'x' * 76}....")


def test_an_unknown_field_suggests_the_right_one() -> None:
    """An unknown field raises an error that suggests the nearest name."""
    with pytest.raises(RecipeError, match=r"^there is no field 'num_turn_per_dialog'. Did you mean 'num_turns_per_d"):
        Recipe.from_mapping({"num_turn_per_dialog": 3})


def test_intents_are_taken_by_key_or_title_in_any_order() -> None:
    """Intents are accepted by key or title, and become keys in the taxonomy's order without repetition."""
    chosen = Recipe(intents=("transaction", "Problem Solving", "problem-solving")).intents
    assert chosen == ("problem_solving", "transaction")
    assert Recipe(intents="simulation").intents == ("simulation",)  # type: ignore[arg-type]


def test_numpy_numbers_are_numbers() -> None:
    """NumPy numbers become Python numbers, so the recipe is the same."""
    recipe = Recipe(seed=np.int64(3), temperature=np.float64(0.5), splits={"train": np.int32(2), "test": np.uint8(1)})
    assert recipe == Recipe(seed=3, temperature=0.5, splits={"train": 2, "test": 1})
    assert [type(value) for value in (recipe.seed, recipe.temperature, *recipe.splits.values())] == [  # type: ignore[union-attr]
        int, float, int, int,
    ]  # fmt: skip
    with pytest.raises(RecipeError, match=r"^provenance must be true or false"):
        Recipe(provenance=np.int64(1))  # type: ignore[arg-type]


def test_a_mapping_is_a_taxonomy_too() -> None:
    """A mapping is accepted like a taxonomy file, and does not change the built-in taxonomy."""
    recipe = Recipe(taxonomy={"extend": {"personas": ["a pilot"]}}, intents=("simulation",))
    assert recipe.chosen_taxonomy.personas == (*taxonomy.builtin().personas, Persona("a pilot"))
    assert list(recipe.chosen_taxonomy.intents) == ["simulation"]
    assert Recipe().full_taxonomy is taxonomy.builtin()


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=3)


KEYS = st.text(max_size=5) | st.integers()


VALUES = st.recursive(
    LEAVES, lambda some: st.lists(some, max_size=3) | st.dictionaries(KEYS, some, max_size=3) | st.tuples(some)
)


@LAW
@given(st.sampled_from(FIELDS), VALUES)
def test_any_value_is_a_recipe_or_a_recipe_error(name: str, value: Any) -> None:
    """Any value of any field is accepted or raises RecipeError.

    The form in which an accepted value is kept gives the same recipe when it is passed again.
    """
    try:
        made = Recipe(**{name: value})
    except RecipeError:
        return
    assert Recipe(**{name: getattr(made, name)}) == made


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"user_messages": 0.8}, 0.8),
        ({"user_messages": True, "answers": 1}, {"user_messages": 0.7, "answers": 1.0}),
        ({"answers": 0.8, "user_messages": False}, {"answers": 0.8}),
        ({"user_messages": False}, False),
    ],
)
def test_similarities_by_side_have_one_form(given: Any, kept: Any) -> None:
    """Equivalent values have one form.

    A threshold for user messages alone is kept as a number, so no dataset changes its identity.
    """
    assert Recipe(drop_near_duplicates=given).drop_near_duplicates == kept


@pytest.mark.parametrize("given", [{}, {"users": 0.7}, {"answers": 0.05}, {"answers": "0.7"}, {1: 0.7}])
def test_wrong_similarities_by_side_are_named(given: Any) -> None:
    """A wrong similarity raises an error that names the field, and the side where possible."""
    with pytest.raises(RecipeError, match=r"drop_near_duplicates(\.answers)? must be"):
        Recipe(drop_near_duplicates=given)
