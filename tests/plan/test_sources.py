"""Tests of the plan of a recipe with seeds: the number of dialogues is exact, and each source is independent."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.dialogue import at_once
from consistent_chat.errors import RecipeError
from consistent_chat.plan import Plan, Spec, splits
from consistent_chat.plan.cards import MAX_STAND_INS, MAX_SUBSTITUTES
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.seeds import Seeds
from consistent_chat.recipe.seeds.source import digest
from consistent_chat.recipe.seeds.sources import gather


def recipe(texts: list[str], dialogs: int = 1, persona: str = "", **fields: Any) -> Recipe:
    """Return a recipe with these texts as sources."""
    names, rows = ("persona", "source"), [(persona, text) for text in texts]
    sources, _ = gather(names, ((number, digest(names, row), row) for number, row in enumerate(rows, 1)))
    return Recipe(model="m", seeds=Seeds(sources, dialogs), **fields)


def asked(made: Recipe) -> Counter[str]:
    """Return the key of each dialogue's first request, as a multiset."""
    return Counter(next(at_once.fill(made, Plan(made), index)).key for index in range(len(Plan(made))))


def drawn(spec: Spec) -> tuple[object, ...]:
    """Return the parts of a spec that determine its requests."""
    return spec.source, spec.intent.key, spec.flow, spec.persona, spec.manner, spec.shape, spec.repeat


TEXTS = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6, unique=True)


@given(TEXTS, st.integers(1, 4), st.randoms())
def test_every_source_has_its_dialogues(texts: list[str], dialogs: int, random: Any) -> None:
    """Every source has exactly the requested number of dialogues, all different.

    The order of the rows makes no difference.
    """
    made = recipe(texts, dialogs)
    specs = list(Plan(made))
    assert Counter(spec.source.source for spec in specs if spec.source) == dict.fromkeys(texts, dialogs)
    assert len({drawn(spec) for spec in specs}) == len(specs)
    assert [spec.index for spec in specs] == list(range(len(texts) * dialogs))
    moved = random.sample(texts, len(texts))
    assert list(Plan(recipe(moved, dialogs))) == specs


@given(TEXTS, st.integers(1, 3))
def test_an_added_row_requests_its_own_dialogues_alone(texts: list[str], dialogs: int) -> None:
    """An added row requests only its own dialogues, and an additional dialogue per source changes no request."""
    fewer, more = asked(recipe(texts, dialogs)), asked(recipe([*texts, "new"], dialogs))
    assert fewer <= more
    assert sum((more - fewer).values()) == dialogs
    assert fewer <= asked(recipe(texts, dialogs + 1))


def test_substitutes_have_the_same_source_and_other_facets() -> None:
    """A substitute has the same source and other facets; it never equals a regular spec or another substitute."""
    plan = Plan(recipe(["one", "two"], 40, intents=["simulation", "educational"]))
    every = range(1 + MAX_SUBSTITUTES + MAX_STAND_INS)
    found = [plan.spec(index, substitute) for index in range(len(plan)) for substitute in every]
    assert len({drawn(spec) for spec in found}) == len(found)
    assert all(spec.source == plan[spec.index].source for spec in found)
    assert all(spec.repeat < 0 for spec in found if spec.substitute)


def test_a_source_may_name_its_person() -> None:
    """A source may set its persona, which is then combined with all manners and flows."""
    plan = Plan(recipe(["one"], 60, persona="a lighthouse keeper"))
    assert {spec.persona for spec in plan} == {"a lighthouse keeper"}
    assert len({spec.manner for spec in plan}) > 5
    assert len({spec.intent.key for spec in plan}) == 9
    assert all(not spec.sensitive for spec in plan)


def test_the_seed_draws_other_facets_for_the_same_sources() -> None:
    """Another seed draws other facets for the same sources, and only the chosen intents are drawn."""
    one, other = (list(Plan(recipe(list("abcdef"), seed=seed))) for seed in (0, 1))
    assert [spec.source for spec in one] == [spec.source for spec in other]
    assert [spec.persona for spec in one] != [spec.persona for spec in other]
    assert {spec.intent.key for spec in Plan(recipe(list("abcdef"), intents=["simulation"]))} == {"simulation"}


@given(st.sets(st.integers(), min_size=40, max_size=60))
def test_no_source_is_in_two_splits(numbers: set[int]) -> None:
    """Each source is in exactly one split, and it stays there when another source is added."""
    made = recipe([str(number) for number in numbers], 2, splits={"train": 3, "test": 1})
    parts = {split: set(_sources(part)) for split, part in splits.recipes(made).items()}
    assert not parts["train"] & parts["test"]
    assert parts["train"] | parts["test"] == {str(number) for number in numbers}
    grown = replace(made, seeds=recipe([*map(str, numbers), "new"]).seeds)
    for split, part in splits.recipes(grown).items():
        assert parts[split] <= set(_sources(part))


def test_a_split_without_sources_is_an_error() -> None:
    """A split that would have no sources raises a RecipeError before any call."""
    with pytest.raises(RecipeError, match="1 sources are too few"):
        splits.recipes(recipe(["one"], splits={"train": 1, "test": 1}))


def _sources(made: Recipe) -> list[str]:
    seeds = made.loaded_seeds
    assert seeds is not None
    return [source.source for source in seeds.sources]
