"""The plan: which specs are drawn, and what holds of any seed and taxonomy."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consistent_chat.plan.plan import MAX_STAND_INS, MAX_SUBSTITUTES, Plan, Spec
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import Flow, Intent, Taxonomy

LAW = settings(deadline=None, max_examples=60, derandomize=True)
MOST = 10**9

PINNED = {
    (0, 0): (
        *(0, "problem_solving", "Workshop and Craft Faults"),
        "epoxy resin in a tray mould that stayed sticky in patches",
        *("diagnosis_to_solution", "a football coach for under-twelves", "plain"),
    ),
    (1, 0): (
        *(0, "educational", "Statistics and Data Literacy"),
        "Simpson's paradox in admissions figures for two departments",
        *("concepts_to_connections", "a seamstress who repairs wedding dresses", "hesitant"),
    ),
    (9, 0): (
        *(0, "problem_solving", "Cooking and Kitchen Failures"),
        "chocolate for dipping that turns grey and streaky overnight",
        *("diagnosis_to_solution", "a high school student preparing for final exams", "playful"),
    ),
    (179, 0): (
        *(0, "transaction", "Repairs and Home Services"),
        "a boiler service booked around a night worker's sleeping hours",
        *("needs_to_solutions", "a deaf graphic designer who prefers everything in writing", "hesitant"),
    ),
    (9 * MOST - 1, 0): (
        *(4109, "transaction", "Enrolment and Memberships"),
        "a summer camp form for a child with an insulin pump",
        *("diagnosis_to_solution", "a gardener employed by a city park", "hurried"),
    ),
    (0, 1): (
        *(-1, "problem_solving", "Household Money Tangles"),
        "flatmates who cannot agree how to split heating for unequal rooms",
        *("diagnosis_to_solution", "a carpenter who measures twice", "plain"),
    ),
    (4, 8): (
        *(-1, "entertainment", "Verse for Fun"),
        "haiku exchanges on the theme of a broken umbrella",
        *("hypothesis_testing", "a diplomat's partner who moves every three years", "methodical"),
    ),
}
"""(index, substitute) -> (repeat, intent, category, topic, flow, persona, manner), for seed 0."""


@st.composite
def taxonomies(draw: st.DrawFn) -> Taxonomy:
    """Make up a small taxonomy: one or two intents, some dozens of combinations."""
    sizes = st.integers(1, 4)
    flows = [Flow(f"flow{n}", f"Flow {n}", ("begin", "end")) for n in range(draw(st.integers(1, 3)))]
    intents = {}
    for key in ("first", "second")[: draw(st.integers(1, 2))]:
        counts = draw(st.lists(sizes, min_size=1, max_size=3))
        categories = tuple((f"C{c}", tuple(f"{key} {c}.{n}" for n in range(count))) for c, count in enumerate(counts))
        intents[key] = Intent(key, key.title(), "a purpose", tuple(flows), categories)
    personas = tuple(f"persona {n}" for n in range(draw(sizes)))
    return Taxonomy(intents, personas, tuple((f"manner {n}", "so") for n in range(draw(sizes))))


SEEDS = st.integers(-(2**63), 2**63 - 1)


def plan(whole: Taxonomy, seed: int, dialogs: int = MOST) -> Plan:
    """Return the plan of a made-up taxonomy."""
    return Plan(Recipe(taxonomy=whole, seed=seed, num_dialogs_per_intent=dialogs))


def combination(spec: Spec) -> tuple[Any, ...]:
    """Return what a spec has drawn."""
    return (spec.intent.key, spec.category, spec.topic, spec.flow.key, spec.persona, spec.manner)


def of_intent(made: Plan, key: str, count: int) -> list[Spec]:
    """Return the first specs of an intent."""
    return list(itertools.islice((spec for spec in made if spec.intent.key == key), count))


def combinations(whole: Taxonomy, key: str) -> int:
    """Count the combinations of an intent."""
    intent = whole.intents[key]
    topics = sum(len(texts) for _, texts in intent.categories)
    return topics * len(intent.flows) * len(whole.personas) * len(whole.manners)


@pytest.mark.parametrize("place", PINNED)
def test_seed_0_draws_what_it_always_drew(place: tuple[int, int]) -> None:
    """A plan that changes by accident would ask everybody's whole dataset again."""
    spec = Plan(Recipe(num_dialogs_per_intent=MOST)).spec(*place)
    drawn = (spec.repeat, spec.intent.key, spec.category, spec.topic, spec.flow.key, spec.persona, spec.manner[0])
    assert drawn == PINNED[place]
    assert (spec.index, spec.substitute) == place


@LAW
@given(taxonomies(), SEEDS, st.integers(1, 30), st.integers(0, 30))
def test_a_longer_plan_begins_with_the_shorter(whole: Taxonomy, seed: int, dialogs: int, more: int) -> None:
    """Raising num_dialogs_per_intent changes no spec, and so no request."""
    short, long = plan(whole, seed, dialogs), plan(whole, seed, dialogs + more)
    assert len(short) == dialogs * len(whole.intents)
    assert list(long)[: len(short)] == list(short)


@LAW
@given(taxonomies(), SEEDS)
def test_no_combination_comes_back_before_all_are_used(whole: Taxonomy, seed: int) -> None:
    """Each cycle over an intent deals every combination once, and `repeat` counts the cycles."""
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
    """And so it goes on: no topic is ever more than one use ahead of another."""
    for key, intent in whole.intents.items():
        topics = [(category, topic) for category, texts in intent.categories for topic in texts]
        used = Counter(dict.fromkeys(topics, 0))
        for spec in of_intent(plan(whole, seed), key, 3 * len(topics)):
            used[spec.category, spec.topic] += 1
            assert max(used.values()) - min(used.values()) <= 1


@LAW
@given(taxonomies(), SEEDS)
def test_facets_are_balanced_over_a_cycle(whole: Taxonomy, seed: int) -> None:
    """Each persona, manner and flow is drawn as often as any other."""
    for key in whole.intents:
        specs = of_intent(plan(whole, seed), key, combinations(whole, key))
        for facet in ("persona", "manner", "flow"):
            assert len(set(Counter(getattr(spec, facet) for spec in specs).values())) == 1


@LAW
@given(taxonomies(), SEEDS)
def test_intents_take_turns(whole: Taxonomy, seed: int) -> None:
    """Any prefix of the plan is balanced."""
    made = plan(whole, seed)
    assert [made[i].intent.key for i in range(6)] == list(itertools.islice(itertools.cycle(whole.intents), 6))


@LAW
@given(taxonomies(), SEEDS)
def test_an_intent_that_is_added_leaves_the_others_alone(whole: Taxonomy, seed: int) -> None:
    """Their specs have other places in the plan, and nothing else is changed."""
    added = replace(whole.intents["first"], key="added")
    more = replace(whole, intents={"added": added, **whole.intents})
    for key in whole.intents:
        before, after = (of_intent(plan(t, seed), key, 20) for t in (whole, more))
        assert [replace(spec, index=0) for spec in before] == [replace(spec, index=0) for spec in after]


@LAW
@given(taxonomies(), SEEDS)
def test_no_substitute_shares_a_request_with_another_spec(whole: Taxonomy, seed: int) -> None:
    """Neither with a regular spec nor with another substitute, even where combinations run out."""
    made = plan(whole, seed, 25)
    most = MAX_SUBSTITUTES + MAX_STAND_INS
    every = [made.spec(i, substitute) for i in range(len(made)) for substitute in range(most + 1)]
    assert len({(combination(spec), spec.repeat) for spec in every}) == len(every)
    assert all((spec.repeat < 0) == (spec.substitute > 0) for spec in every)


@LAW
@given(taxonomies(), SEEDS)
def test_substitutes_draw_what_nobody_has_drawn_as_long_as_there_is_something(whole: Taxonomy, seed: int) -> None:
    """Regular specs and all of their substitutes together, up to the number of combinations."""
    for number, key in enumerate(whole.intents):
        dialogs = combinations(whole, key) // (1 + MAX_SUBSTITUTES)
        made = plan(whole, seed)
        places = [number + len(whole.intents) * ordinal for ordinal in range(dialogs)]
        drawn = [combination(made.spec(i, n)) for i in places for n in range(MAX_SUBSTITUTES + 1)]
        assert len(set(drawn)) == len(drawn) == dialogs * (1 + MAX_SUBSTITUTES)


@LAW
@given(taxonomies(), SEEDS)
def test_substitutes_are_stable_too(whole: Taxonomy, seed: int) -> None:
    """A longer plan passes to the same substitutes."""
    short, long = plan(whole, seed, 5), plan(whole, seed, 50)
    most = MAX_SUBSTITUTES + MAX_STAND_INS
    assert all(short.spec(i, n) == long.spec(i, n) for i in range(len(short)) for n in range(most + 1))


def test_another_seed_is_another_plan() -> None:
    """Topics come in another order, within their category too."""
    one, other = (Plan(Recipe(seed=seed, num_dialogs_per_intent=169)) for seed in (0, 1))
    assert sum(a.topic == b.topic for a, b in zip(one, other)) < len(one) / 10
    category = one[0].category
    orders = [[spec.topic for spec in made if spec.category == category] for made in (one, other)]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_the_first_rounds_are_as_varied_as_can_be() -> None:
    """Twenty dialogues of an intent have twenty topics of all its categories, and almost as many personas."""
    made = Plan(Recipe())
    for key in {spec.intent.key for spec in made}:
        specs = of_intent(made, key, 20)
        assert len({spec.topic for spec in specs}) == 20
        assert len({spec.category for spec in specs}) == len(specs[0].intent.categories)
        assert len({spec.persona for spec in specs}) == 20
        assert len({spec.manner for spec in specs}) == 10


def test_the_plan_is_a_function_of_the_index() -> None:
    """Specs may be asked for in any order; the billionth is as near as the first."""
    whole, again = (Plan(Recipe(num_dialogs_per_intent=MOST)) for _ in range(2))
    places = [9 * MOST - 1, 0, 5, 123_456_789, 5, -1]
    assert [whole[i] for i in places] == list(reversed([again[i] for i in reversed(places)]))
    assert whole[-1].index == len(whole) - 1 == 9 * MOST - 1


def test_no_memory_grows_with_the_plan() -> None:
    """Walking over thousands of specs keeps none of them."""
    made = Plan(Recipe(num_dialogs_per_intent=MOST))
    walk = iter(made)
    next(walk)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            next(walk)
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("index", [180, -181])
def test_there_is_nothing_beyond_the_end(index: int) -> None:
    """As with a list."""
    with pytest.raises(IndexError, match=f"the plan has 180 dialogues; there is none at {index}"):
        _ = Plan(Recipe())[index]


def test_intents_that_run_out_are_named() -> None:
    """Whoever asks for more dialogues than there are combinations is told so."""
    one = {"personas": ["a baker"], "manners": {"terse": "short"}}
    assert Plan(Recipe(taxonomy=one, intents=("problem_solving",), num_dialogs_per_intent=169)).exhausted == {}
    more = Plan(Recipe(taxonomy=one, intents=("problem_solving", "educational"), num_dialogs_per_intent=170))
    assert more.exhausted == {"problem_solving": 169}
