"""Helpers that the tests of the plan share: random taxonomies, and what identifies a spec."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from consistent_chat.plan.plan import Plan, Spec
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import Category, Flow, Intent, Manner, Persona, Taxonomy, Topic
from consistent_chat.recipe.taxonomy.types import SENSITIVE

LAW = settings(derandomize=True)


MOST = 10**9


@st.composite
def taxonomies(draw: st.DrawFn) -> Taxonomy:
    """Draw a small taxonomy with one or two intents and some dozens of combinations."""
    sizes = st.integers(1, 4)
    flows = [Flow(f"flow{n}", f"Flow {n}", ("begin", "end")) for n in range(draw(st.integers(1, 3)))]
    intents = {}
    for key in ("first", "second")[: draw(st.integers(1, 2))]:
        counts = draw(st.lists(sizes, min_size=1, max_size=3))
        named = ((f"C{c}", (f"{key} {c}.{n}" for n in range(count))) for c, count in enumerate(counts))
        categories = tuple(Category(name, tuple(map(Topic, texts))) for name, texts in named)
        intents[key] = Intent(key, key.title(), "a purpose", tuple(flows), categories)
    personas = tuple(Persona(f"persona {n}") for n in range(draw(sizes)))
    return Taxonomy(intents, personas, tuple(Manner(f"manner {n}", "so") for n in range(draw(sizes))))


def is_sensitive(category: Category) -> bool:
    """Return whether all topics of a category are sensitive."""
    return all(SENSITIVE in topic.needs for topic in category.topics)


SEEDS = st.integers(-(2**63), 2**63 - 1)


def plan(whole: Taxonomy, seed: int, dialogs: int = MOST) -> Plan:
    """Return the plan of a recipe with a given taxonomy."""
    return Plan(Recipe(taxonomy=whole, seed=seed, num_dialogs_per_intent=dialogs))


def combination(spec: Spec) -> tuple[Any, ...]:
    """Return the combination of values that a spec has drawn."""
    return (spec.intent.key, spec.category, spec.topic, spec.flow.key, spec.persona, spec.manner)


def of_intent(made: Plan, key: str, count: int) -> list[Spec]:
    """Return the first `count` specs of an intent."""
    return list(itertools.islice((spec for spec in made if spec.intent.key == key), count))


def combinations(whole: Taxonomy, key: str) -> int:
    """Return the number of combinations of an intent."""
    intent = whole.intents[key]
    topics = sum(1 for _ in intent.topics())
    return topics * len(intent.flows) * len(whole.personas) * len(whole.manners)
