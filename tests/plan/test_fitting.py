"""Tests of which personas and topics the plan combines, and of the share of sensitive topics."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import Intent, Manner, Persona, Taxonomy, Topic, builtin
from consistent_chat.recipe.taxonomy.types import MINORS, SENSITIVE
from tests.plan.plans import LAW, MOST, SEEDS, combination, of_intent, plan, taxonomies

TAGS = st.frozensets(st.sampled_from(["adult", "worker", "coder", "anyone"]), max_size=2)


@st.composite
def tagged(draw: st.DrawFn) -> Taxonomy:
    """Draw a taxonomy with needs, marks and flows of categories, in which every topic fits a persona."""
    whole = draw(taxonomies())
    personas = tuple(persona._replace(tags=draw(TAGS)) for persona in whole.personas)
    marks = st.frozensets(st.sampled_from(["grave", "sensitive"]), max_size=1)
    intents = {
        key: replace(
            intent,
            categories=tuple(
                category._replace(
                    topics=tuple(topic._replace(needs=draw(TAGS) | draw(marks)) for topic in category.topics),
                    flows=intent.flows[: draw(st.integers(0, len(intent.flows)))],
                )
                for category in intent.categories
            ),
        )
        for key, intent in whole.intents.items()
    }
    manners = tuple(manner._replace(unlike=draw(marks)) for manner in whole.manners)
    everybody, usual = Persona("everybody"), Manner("usual", "so")
    return Taxonomy(intents, (everybody, *personas), (usual, *manners))


@pytest.mark.slow
@LAW
@given(tagged(), SEEDS)
def test_only_what_fits_is_dealt_and_all_of_it_before_anything_twice(whole: Taxonomy, seed: int) -> None:
    """Each topic is combined only with fitting personas, manners and flows.

    All these combinations are used before any of them is repeated.
    """
    people = {persona.text: persona for persona in whole.personas}
    manners = {manner.name: manner for manner in whole.manners}
    for key, intent in whole.intents.items():
        needs = {(category.name, topic.text): topic for category in intent.categories for topic in category.topics}
        flows = {category.name: category.flows or intent.flows for category in intent.categories}
        specs = of_intent(plan(whole, seed), key, 200)
        firsts = [spec for spec in specs if not spec.repeat]
        assert len(set(map(combination, firsts))) == len(firsts)
        for spec in specs:
            topic = needs[spec.category, spec.topic]
            assert people[spec.persona].fits(topic.needs)
            assert manners[spec.manner[0]].fits(people[spec.persona], topic.marks)
            assert spec.flow in flows[spec.category]
        for (category, text), topic in needs.items():
            uses = [spec for spec in specs if (spec.category, spec.topic) == (category, text)]
            pairs = [
                (p, m) for p in whole.personas for m in whole.manners if p.fits(topic.needs) and m.fits(p, topic.marks)
            ]
            if any(spec.repeat for spec in uses):
                assert sum(not spec.repeat for spec in uses) == len(pairs) * len(flows[category])


@pytest.mark.slow
@LAW
@given(tagged(), SEEDS)
def test_an_added_topic_asks_for_that_topic_alone(whole: Taxonomy, seed: int) -> None:
    """An added topic changes no spec of other topics: what each topic draws at its n-th use stays, including the shape.

    The requests of other topics therefore stay the same too.
    """
    intent = whole.intents["first"]
    category = intent.categories[0]
    more = category._replace(topics=(*category.topics, Topic("added")))
    grown = replace(
        whole, intents={**whole.intents, "first": replace(intent, categories=(more, *intent.categories[1:]))}
    )
    before, after = (of_intent(plan(t, seed), "first", 200) for t in (whole, grown))
    drawn = {(combination(spec), spec.repeat, spec.shape) for spec in after}
    topics = Counter(spec.topic for spec in after)
    used = Counter[str]()
    for spec in before:
        used[spec.topic] += 1
        if used[spec.topic] <= topics[spec.topic]:
            assert (combination(spec), spec.repeat, spec.shape) in drawn


@LAW
@given(tagged(), SEEDS, st.integers(0, 10_000))
def test_the_share_of_sensitive_topics_is_exact_in_every_prefix(whole: Taxonomy, seed: int, parts: int) -> None:
    """In every prefix of an intent with both kinds of topics, the sensitive share is right to within one dialogue."""
    made = Plan(Recipe(taxonomy=whole, seed=seed, sensitive_share=parts / 10_000, num_dialogs_per_intent=MOST))
    for key, intent in whole.intents.items():
        kinds = {SENSITIVE in topic.needs for topic in intent.topics()}
        so_far = 0
        for number, spec in enumerate(of_intent(made, key, 60), 1):
            so_far += spec.sensitive
            assert spec.sensitive == (SENSITIVE in dict(of_texts(intent))[spec.topic])
            if kinds == {True, False}:
                assert abs(so_far * 10_000 - number * parts) < 10_000
    if parts in (0, 10_000):
        assert {spec.sensitive for spec in of_intent(made, "first", 50)}


def of_texts(intent: Intent) -> list[tuple[str, Any]]:
    """Return pairs of the text and the needs of each topic of an intent."""
    return [(topic.text, topic.needs) for topic in intent.topics()]


def test_every_built_in_topic_has_people_and_no_minor_meets_an_adult_one() -> None:
    """Every built-in topic has at least ten fitting personas, and an adult topic fits no minor."""
    whole = builtin()
    classes = {topic.needs: topic for intent in whole.intents.values() for topic in intent.topics()}
    for topic in classes.values():
        fitting = [
            p for p in whole.personas if p.fits(topic.needs) and any(m.fits(p, topic.marks) for m in whole.manners)
        ]
        assert len(fitting) >= 10, topic
        if topic.needs - {"teen", "student", "grave", "play"}:
            assert not any(persona.tags & MINORS for persona in fitting), topic
        if topic.needs & {"teen", "student"}:
            assert not any("child" in persona.tags for persona in fitting), topic


@pytest.mark.slow
def test_every_built_in_intent_has_its_share_of_sensitive_topics() -> None:
    """Every built-in intent has its share of sensitive topics, so the share of all dialogues is the requested one."""
    made = Plan(Recipe(num_dialogs_per_intent=1000, sensitive_share=0.05))
    assert sum(spec.sensitive for spec in made) == 9 * 50
    assert not any(spec.sensitive for spec in Plan(Recipe(num_dialogs_per_intent=100, sensitive_share=0)))
