"""Test the shape of dialogues: lengths by side and position, facets, openings, and uses of topics."""

from __future__ import annotations

import statistics
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.stats import DialogueSample, Distribution, shape
from consistent_chat.stats.shape import Frequent, ShapeStats


def talk(*messages: str, topic: str = "t", **facets: str) -> DialogueSample:
    """Return a dialogue of these messages, in which user and assistant alternate."""
    return DialogueSample("i", "c", topic, messages[::2], messages[1::2], facets=facets)


def of(*talks: DialogueSample) -> ShapeStats:
    """Return the shape of some dialogues."""
    found = ShapeStats()
    for each in talks:
        found.add(each)
    return found


def test_lengths_are_counted_by_side_and_position() -> None:
    """Lengths are counted by side and position. A dialogue of one turn has a first message and no last one."""
    found = of(talk("a", "b b", "a a", "b", "a a a", "b b b"), talk("a a a a", "b"))
    assert found.length("user messages", "first") == Counter({1: 1, 4: 1})
    assert found.length("user messages", "middle") == Counter({2: 1})
    assert found.length("answers", "last") == Counter({3: 1})
    assert found.length("answers") == Counter({2: 1, 1: 2, 3: 1})


@given(st.lists(st.integers(0, 100), min_size=1))
def test_the_variation_is_the_deviation_divided_by_the_mean(values: list[int]) -> None:
    """The variation is the population standard deviation divided by the mean, and 0 if all numbers are 0."""
    mean = statistics.fmean(values)
    expected = statistics.pstdev(values) / mean if mean else 0
    assert Distribution(values).variation == pytest.approx(expected)


def test_facets_are_counted_where_they_are_known() -> None:
    """Facets are counted in dialogues that have them; a dialogue without provenance is not counted."""
    found = of(talk("a", "b", outcome="solved"), talk("a", "b", outcome="solved", mood="tired"), talk("a", "b"))
    assert found.facets == {"outcome": Counter(solved=2), "mood": Counter(tired=1)}


def test_openings_are_compared_in_lower_case_without_punctuation() -> None:
    """Openings are compared in lower case without punctuation, and only those that occur more than once are common.

    A message without words has no opening.
    """
    found = of(talk("And then, what?", "Yes."), talk("and then what now", "No."), talk("Else", "?!"), talk("a", "?!"))
    assert found.common_openings("user messages", 5) == [("and then what", 2)]
    assert found.common_openings("answers", 5) == []


def test_dialogues_of_one_topic_are_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dialogues of one topic are compared, and the most similar topics come first.

    The numbers of dialogues and topics that are compared are limited.
    """
    same, other = ("red green blue", "one two three"), ("black white grey", "four five six")
    found = of(*(talk(*same, topic="same") for _ in range(3)), talk(*same, topic="mixed"), talk(*other, topic="mixed"))
    found.add(talk(*same, topic="once"))
    assert found.similar_topics == [("same", 1.0), ("mixed", 0.0)]
    assert found.common_topics(1) == [("same", 3)]
    assert found.uses == Counter({1: 1, 2: 1, 3: 1})
    monkeypatch.setattr(shape, "TOPICS", 1)
    assert [name for name, _ in of(*(talk(*same, topic=name) for name in "abab")).similar_topics] == ["a"]


def test_memory_is_bounded_and_frequent_values_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is a third of all stays among any number of rare ones, in bounded memory.

    Its count is too low by a limited number.
    """
    monkeypatch.setattr(shape, "OPENINGS", 10)
    counts = Frequent()
    for number in range(3000):
        counts.take("often" if number % 3 == 0 else f"rare {number}")
        assert len(counts) <= 10
    assert 1000 - 3000 / 10 <= counts["often"] <= 1000
