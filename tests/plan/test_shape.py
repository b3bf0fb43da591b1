"""Tests of the shape of a dialogue: what is drawn, and what it depends on."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import pytest

from consistent_chat.dialogue import prompts
from consistent_chat.plan.plan import Plan, Spec
from consistent_chat.recipe import Recipe, shape
from consistent_chat.recipe.taxonomy import builtin

MANY = 150
"""Dialogues of an intent: 1,350 together."""
RECIPE = Recipe(num_dialogs_per_intent=MANY, num_turns_per_dialog=(3, 8))


def drawn(**fields: Any) -> list[Spec]:
    """Return the specs of the plan of `RECIPE` with some fields replaced."""
    return list(Plan(replace(RECIPE, **fields)))


@pytest.fixture(scope="module")
def usual() -> list[Spec]:
    """Return the specs of the built-in taxonomy with 3 to 8 turns."""
    return drawn()


def facets(spec: Spec) -> dict[str, Any]:
    """Return the facets of a spec and the sizes of its first two messages and replies.

    Every spec has at least as many.
    """
    own = {facet: getattr(spec.shape, facet).name for facet in shape.FACETS}
    return {**own, "turns": spec.shape.turns, "messages": spec.shape.messages[:2], "replies": spec.shape.replies[:2]}


OTHERS = {
    "turns": {"num_turns_per_dialog": {3: 1, 8: 4}},
    "mood": {"mood": {"tired": 1, "neutral": 1}},
    "outcome": {"outcome": "partly"},
    "ending": {"ending": {"stops": 1, "new_question": 1}},
    "answer_length": {"answer_length": "brief"},
    "message_length": {"message_length": 30},
}
SIZES = {"answer_length": "replies", "message_length": "messages"}


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("changed", OTHERS)
def test_other_weights_of_one_facet_move_no_other(changed: str, usual: list[Spec]) -> None:
    """Other weights of one facet change no other facet, because each facet uses a separate part of the digest."""
    moved = drawn(**OTHERS[changed])
    for one, other in zip(usual, moved):
        before, after = facets(one), facets(other)
        for name in before.keys() - {changed, SIZES.get(changed)}:
            assert before[name] == after[name]
    assert any(facets(one)[changed] != facets(other)[changed] for one, other in zip(usual, moved))


def test_a_number_is_exact_a_range_is_whole_and_weights_are_kept(usual: list[Spec]) -> None:
    """A number of turns is exact, every number of a range occurs, and weights give the shares.

    Of 3 to 8 turns each number occurs, and a weight of three parts in four gives about three quarters.
    """
    assert {spec.shape.turns for spec in drawn(num_turns_per_dialog=6)} == {6}
    assert {spec.shape.turns for spec in usual} == {3, 4, 5, 6, 7, 8}
    turns = [spec.shape.turns for spec in drawn(num_turns_per_dialog={2: 3, 5: 1, 9: 0})]
    assert set(turns) == {2, 5}
    assert 0.7 < turns.count(2) / len(turns) < 0.8
    assert all(len(spec.shape.messages) == len(spec.shape.replies) == spec.shape.turns for spec in usual)


def test_lengths_vary_as_peoples_do(usual: list[Spec]) -> None:
    """The median is about 11 words for user messages and 38 for replies; both vary with a coefficient of about 0.8."""
    for side, median in (("messages", 11), ("replies", 38)):
        words = [size.words for spec in usual for size in getattr(spec.shape, side)]
        assert abs(statistics.median(words) - median) <= 2
        assert 0.7 < statistics.pstdev(words) / statistics.fmean(words) < 0.85


@pytest.mark.parametrize(("field", "side"), [("message_length", "messages"), ("answer_length", "replies")])
def test_a_length_in_words_is_the_mean(field: str, side: str) -> None:
    """A length in words is the mean of the lengths, some of which are much shorter or longer.

    Endings have other lengths.
    """
    specs = drawn(**{field: 40, "ending": "stops"})
    words = [size.words for spec in specs for size in getattr(spec.shape, side) if size.kind == "=40"]
    assert 38 < statistics.fmean(words) < 42
    assert min(words) < 20
    assert max(words) > 60


def test_nothing_that_clashes_is_drawn(usual: list[Spec]) -> None:
    """No facet conflicts with the topic's marks, the persona's tags, or the manner, flow, intent or number of turns."""
    whole = builtin()
    tags = {persona.text: persona.tags for persona in whole.personas}
    marks = {(key, topic.text): topic.marks for key, one in whole.intents.items() for topic in one.topics()}
    for spec in usual:
        told = tags[spec.persona] | marks[spec.intent.key, spec.topic] | {spec.manner[0], spec.flow.key}
        for facet in shape.FACETS:
            option = getattr(spec.shape, facet)
            assert option.unlike.isdisjoint(told)
            assert not option.intents or spec.intent.key in option.intents
            assert option.turns <= spec.shape.turns


@pytest.mark.parametrize("turns", [1, 2, 3, 7])
def test_the_messages_of_an_outcome_come_in_order_and_before_the_last(turns: int) -> None:
    """The two messages of an outcome are in order and before the last message, which belongs to the ending.

    With too few turns, there are no such messages.
    """
    for spec in drawn(num_turns_per_dialog=turns):
        early, late = spec.shape.early, spec.shape.late
        assert (early, late) == (0, 0) or 1 <= early < late < turns
        assert bool(early) == (spec.shape.outcome.turns == 3)
        assert "{" not in "".join(prompts.skeleton(spec, "English"))


def test_what_a_recipe_asks_for_goes_before_what_suits() -> None:
    """Values that a recipe sets take precedence over what suits the dialogue.

    For example, every dialogue is solved, even a game or a bereavement.
    """
    assert {spec.shape.outcome.name for spec in drawn(outcome="solved")} == {"solved"}
    assert {spec.shape.ending.name for spec in drawn(ending={"thanks": 1, "stops": 0})} == {"thanks"}
    short = {spec.shape.outcome.name for spec in drawn(outcome="advice_failed", num_turns_per_dialog=2)}
    assert short == {"partly", "left_open"}  # nothing can fail in two turns


def test_all_values_come_up(usual: list[Spec]) -> None:
    """By default, every value of every facet occurs."""
    for facet in shape.FACETS:
        assert {getattr(spec.shape, facet).name for spec in usual} == set(shape.names(facet))


def test_the_second_prompt_tells_where_an_assumption_fails() -> None:
    """The prompt for the answers says where an assumption fails, but nothing of the user's ending.

    The assistant cannot know the user's mood or ending.
    """
    specs = drawn(outcome="advice_failed", num_turns_per_dialog=5)
    for spec in specs[:50]:
        _, user = prompts.answers(spec, ["?"] * 5, "English")
        assert f"The advice in answer {spec.shape.early} is sensible" in user
        assert f"When message {spec.shape.late} reports it" in user
        assert spec.shape.ending.description not in user
        assert spec.flow.answers in user


def test_few_cases_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that holds one case at a time draws the same shapes."""
    recipe = Recipe(model="claude-haiku-4-5", num_dialogs_per_intent=5)
    held = [spec.shape for spec in Plan(recipe)]
    monkeypatch.setattr("consistent_chat.plan.shape.MOST_CASES", 1)
    assert [spec.shape for spec in Plan(recipe)] == held
