"""Tests of the plan: which specs are drawn, and properties that are true of any seed and taxonomy."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.plan.plan import MAX_STAND_INS, MAX_SUBSTITUTES, Plan
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.shape import FACETS
from consistent_chat.recipe.taxonomy import Taxonomy
from tests.plan.plans import LAW, MOST, SEEDS, combination, combinations, is_sensitive, of_intent, plan, taxonomies

PINNED = {
    (0, 0): (
        *(0, "problem_solving", "Emails and Letters"),
        "a message to the whole team after layoffs",
        *("facts_change", "someone who heard something else from a relative", "playful"),
        *("cheerful", "user_corrects", "stops", "brief", "short"),
        (16, 11, 26, 14, 12, 7),
    ),
    (1, 0): (
        *(0, "educational", "Mathematics and Reasoning"),
        "the difference between independent and mutually exclusive events in card games",
        *("mistake_and_repair", "someone who distrusts confident answers", "terse"),
        *("cheerful", "partly", "remark", "brief", "short"),
        (13, 10, 6, 7, 15, 8),
    ),
    (9, 0): (
        *(0, "problem_solving", "Workshop and Craft Faults"),
        "a 3D printer whose tall prints shift sideways at the same height",
        *("away_and_back", "a beekeeper with forty hives", "sceptical"),
        *("cheerful", "partly", "stops", "medium", "fragments"),
        (12, 5, 12, 2, 5, 15),
    ),
    (179, 0): (
        *(0, "transaction", "Insurance and Claims"),
        "a burst pipe that ruined a parquet floor and a piano",
        *("in_pieces", "someone who jokes when it gets serious", "rambling"),
        *("neutral", "partly", "decides", "medium", "long"),
        (34, 42, 16, 8, 30, 18),
    ),
    (9 * MOST - 1, 0): (
        *(755, "transaction", "Online Orders and Deliveries"),
        "ordering forty school uniforms in mixed sizes before term starts",
        *("needs_to_solutions", "someone who wants one clear recommendation", "methodical"),
        *("impatient", "user_corrects", "decides", "medium", "mixed"),
        (27, 8, 20, 8, 4, 7),
    ),
    (0, 1): (
        *(-1, "problem_solving", "Code and Software Bugs"),
        "segfault in a C program that only happens without the debugger",
        *("own_material", "a physics undergraduate who likes to derive things", "precise"),
        *("tired", "user_corrects", "remark", "medium", "fragments"),
        (60, 11, 5, 3, 21, 2),
    ),
    (4, 8): (
        *(-1, "entertainment", "Comic Writing"),
        "a legal brief against my roommate's cooking",
        *("rounds", "someone who heard something else from a relative", "hesitant"),
        *("curious", "played_out", "stops", "medium", "short"),
        (9, 6, 3, 11, 25, 7),
    ),
}
"""(index, substitute) -> (repeat, intent, category, topic, flow, persona, manner, facets, words), for seed 0."""


@pytest.mark.parametrize("place", PINNED)
def test_seed_0_draws_what_it_always_drew(place: tuple[int, int]) -> None:
    """Seed 0 draws the pinned specs.

    An accidental change of the plan would cause the whole dataset of every user to be requested again.
    """
    spec = Plan(Recipe(num_dialogs_per_intent=MOST)).spec(*place)
    drawn = (spec.repeat, spec.intent.key, spec.category, spec.topic, spec.flow.key, spec.persona, spec.manner[0])
    facets = (getattr(spec.shape, facet).name for facet in FACETS)
    assert (*drawn, *facets, tuple(size.words for size in spec.shape.messages)) == PINNED[place]
    assert (spec.index, spec.substitute) == place


@LAW
@given(taxonomies(), SEEDS, st.integers(1, 30), st.integers(0, 30))
def test_a_longer_plan_begins_with_the_shorter(whole: Taxonomy, seed: int, dialogs: int, more: int) -> None:
    """A higher num_dialogs_per_intent changes no existing spec, and therefore no request."""
    short, long = plan(whole, seed, dialogs), plan(whole, seed, dialogs + more)
    assert len(short) == dialogs * len(whole.intents)
    assert list(long)[: len(short)] == list(short)


@LAW
@given(taxonomies(), SEEDS)
def test_no_combination_comes_back_before_all_are_used(whole: Taxonomy, seed: int) -> None:
    """Each cycle over an intent uses every combination once, and `repeat` counts the cycles."""
    for key in whole.intents:
        size = combinations(whole, key)
        specs = of_intent(plan(whole, seed), key, 2 * size)
        for cycle in (0, 1):
            dealt = specs[cycle * size : (cycle + 1) * size]
            assert len(set(map(combination, dealt))) == size
            assert {spec.repeat for spec in dealt} == {cycle}


@LAW
@given(taxonomies(), SEEDS)
def test_every_topic_is_used_once_before_any_is_used_twice(whole: Taxonomy, seed: int) -> None:
    """At any point of the plan, no topic of an intent is more than one use ahead of another."""
    for key, intent in whole.intents.items():
        topics = [(category.name, topic.text) for category in intent.categories for topic in category.topics]
        used = Counter(dict.fromkeys(topics, 0))
        for spec in of_intent(plan(whole, seed), key, 3 * len(topics)):
            used[spec.category, spec.topic] += 1
            assert max(used.values()) - min(used.values()) <= 1


@LAW
@given(taxonomies(), SEEDS)
def test_facets_are_balanced_over_a_cycle(whole: Taxonomy, seed: int) -> None:
    """In a cycle over an intent, each persona, manner and flow is drawn as often as any other."""
    for key in whole.intents:
        specs = of_intent(plan(whole, seed), key, combinations(whole, key))
        for facet in ("persona", "manner", "flow"):
            assert len(set(Counter(getattr(spec, facet) for spec in specs).values())) == 1


@LAW
@given(taxonomies(), SEEDS)
def test_intents_take_turns(whole: Taxonomy, seed: int) -> None:
    """The intents alternate, so any prefix of the plan is balanced."""
    made = plan(whole, seed)
    assert [made[i].intent.key for i in range(6)] == list(itertools.islice(itertools.cycle(whole.intents), 6))


@LAW
@given(taxonomies(), SEEDS)
def test_an_intent_that_is_added_leaves_the_others_alone(whole: Taxonomy, seed: int) -> None:
    """An added intent changes only the indices of other intents' specs."""
    added = replace(whole.intents["first"], key="added")
    more = replace(whole, intents={"added": added, **whole.intents})
    for key in whole.intents:
        before, after = (of_intent(plan(t, seed), key, 20) for t in (whole, more))
        assert [replace(spec, index=0) for spec in before] == [replace(spec, index=0) for spec in after]


@LAW
@given(taxonomies(), SEEDS)
def test_no_substitute_shares_a_request_with_another_spec(whole: Taxonomy, seed: int) -> None:
    """No substitute equals a regular spec or another substitute, even if there are too few combinations."""
    made = plan(whole, seed, 8)
    most = MAX_SUBSTITUTES + MAX_STAND_INS
    every = [made.spec(i, substitute) for i in range(len(made)) for substitute in range(most + 1)]
    assert len({(combination(spec), spec.repeat) for spec in every}) == len(every)
    assert all((spec.repeat < 0) == (spec.substitute > 0) for spec in every)


@LAW
@given(taxonomies(), SEEDS)
def test_substitutes_draw_unused_combinations_as_long_as_there_are_any(whole: Taxonomy, seed: int) -> None:
    """Regular specs and their substitutes all have different combinations, up to the number of combinations."""
    for number, key in enumerate(whole.intents):
        dialogs = combinations(whole, key) // (1 + MAX_SUBSTITUTES)
        made = plan(whole, seed)
        places = [number + len(whole.intents) * ordinal for ordinal in range(dialogs)]
        drawn = [combination(made.spec(i, n)) for i in places for n in range(MAX_SUBSTITUTES + 1)]
        assert len(set(drawn)) == len(drawn) == dialogs * (1 + MAX_SUBSTITUTES)


@LAW
@given(taxonomies(), SEEDS)
def test_substitutes_are_stable_too(whole: Taxonomy, seed: int) -> None:
    """A longer plan uses the same substitutes."""
    short, long = plan(whole, seed, 5), plan(whole, seed, 50)
    most = MAX_SUBSTITUTES + MAX_STAND_INS
    assert all(short.spec(i, n) == long.spec(i, n) for i in range(len(short)) for n in range(most + 1))


@pytest.mark.slow
def test_another_seed_is_another_plan() -> None:
    """Another seed draws the topics in another order, also within a category."""
    one, other = (Plan(Recipe(seed=seed, num_dialogs_per_intent=400)) for seed in (0, 1))
    assert sum(a.topic == b.topic for a, b in zip(one, other)) < len(one) / 10
    category = one[0].category
    orders = [[spec.topic for spec in made if spec.category == category] for made in (one, other)]
    assert set(orders[0]) & set(orders[1])
    assert orders[0] != orders[1]


def test_the_first_rounds_are_as_varied_as_can_be() -> None:
    """Thirty dialogues of an intent have thirty topics of all its categories.

    They also have at least 18 personas, 10 manners and 4 flows.
    """
    made = Plan(Recipe(num_dialogs_per_intent=30))
    for key in {spec.intent.key for spec in made}:
        specs = of_intent(made, key, 30)
        ordinary = {category.name for category in specs[0].intent.categories if not is_sensitive(category)}
        assert len({spec.topic for spec in specs}) == 30
        assert {spec.category for spec in specs} >= ordinary
        assert len({spec.persona for spec in specs}) >= 18
        assert len({spec.manner for spec in specs}) >= 10
        assert len({spec.flow.key for spec in specs}) >= 4


def test_the_plan_is_a_function_of_the_index() -> None:
    """Specs can be read in any order, and a spec depends only on its index, even in a plan of billions."""
    whole, again = (Plan(Recipe(num_dialogs_per_intent=MOST)) for _ in range(2))
    places = [9 * MOST - 1, 0, 5, 123_456_789, 5, -1]
    assert [whole[i] for i in places] == list(reversed([again[i] for i in reversed(places)]))
    assert whole[-1].index == len(whole) - 1 == 9 * MOST - 1


@pytest.mark.slow
def test_no_memory_grows_with_the_plan() -> None:
    """Iterating over thousands of specs keeps none of them in memory."""
    made = Plan(Recipe(num_dialogs_per_intent=MOST))
    walk = iter(made)
    for _ in range(5_000):  # until each class of needs and each case of a facet has come up
        next(walk)
    tracemalloc.start()
    try:
        for _ in range(5_000):
            next(walk)
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("index", [180, -181])
def test_there_is_nothing_beyond_the_end(index: int) -> None:
    """An index out of range raises IndexError, as with a list."""
    with pytest.raises(IndexError, match=f"index {index} is out of range: the plan has 180 dialogues"):
        _ = Plan(Recipe())[index]


def test_intents_that_run_out_are_named() -> None:
    """The plan names each intent with fewer combinations than dialogues, and where it starts to repeat."""
    one = {"personas": ["a baker"], "manners": {"terse": "short"}}
    two = {"first": ["a", "b"], "second": ["a", "b", "c"]}
    intents = {
        key: {"title": key, "purpose": "p", "flows": ["scene", "rounds"], "categories": {key.title(): topics}}
        for key, topics in two.items()
    }
    for dialogs, repeats in ((4, {}), (5, {"first": 4}), (7, {"first": 4, "second": 6})):
        made = Plan(Recipe(taxonomy={**one, "intents": intents}, num_dialogs_per_intent=dialogs))
        assert made.exhausted == repeats
        for key, first in repeats.items():
            assert [spec.repeat for spec in of_intent(made, key, dialogs)] == [0] * first + [1] * (dialogs - first)
