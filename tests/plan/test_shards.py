"""Tests of shards: properties that are true of any plan and any number of shards."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consistent_chat.errors import RecipeError
from consistent_chat.plan.plan import Plan
from consistent_chat.plan.splits import Shard
from consistent_chat.recipe import Recipe

LAW = settings(derandomize=True)
INTENTS = ("problem_solving", "educational", "simulation", "transaction")
RECIPES = st.builds(
    lambda dialogs, intents: Recipe(num_dialogs_per_intent=dialogs, intents=INTENTS[:intents]),
    st.integers(1, 20),
    st.integers(1, len(INTENTS)),
)
COUNTS = st.integers(1, 100)


def shards(count: int) -> list[Shard]:
    """Return all shards of a division into `count` shards."""
    return [Shard(number, count) for number in range(1, count + 1)]


@LAW
@given(st.integers(0, 10**12), COUNTS)
def test_the_union_of_all_shards_is_the_whole(length: int, count: int) -> None:
    """The shards follow one another without a gap, cover the whole plan, and have the same size to within one."""
    ranges = [shard.within(length) for shard in shards(count)]
    assert (ranges[0].start, ranges[-1].stop) == (0, length)
    assert all(one.stop == other.start for one, other in zip(ranges, ranges[1:]))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


@LAW
@given(RECIPES, COUNTS)
def test_each_shard_has_as_many_dialogues_of_one_intent_as_of_another(recipe: Recipe, count: int) -> None:
    """Each shard has the same number of dialogues of every intent to within one.

    This is also true if the numbers of shards and intents have a common divisor.
    """
    plan = Plan(recipe)
    for shard in shards(count):
        drawn = Counter(plan[index].intent.key for index in shard.within(len(plan)))
        assert max(drawn.values(), default=0) - min((drawn[key] for key in recipe.intents or ()), default=0) <= 1


@LAW
@given(st.lists(st.integers(0, 50), min_size=1, max_size=4), COUNTS)
def test_splits_are_laid_end_to_end(lengths: list[int], count: int) -> None:
    """Each dialogue of each split is in exactly one shard, and small splits do not all fall into the same shard."""
    plans = {f"split{number}": range(length) for number, length in enumerate(lengths)}
    parts = [shard.of(plans) for shard in shards(count)]
    for split, places in plans.items():
        assert [index for part in parts for index in part.get(split, ())] == list(places)
    sizes = [sum(map(len, part.values())) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_a_shard_is_written_as_a_fraction() -> None:
    """A shard is written and parsed as a fraction."""
    assert Shard.parse("3/16") == Shard(3, 16)
    assert str(Shard(3, 16)) == "3/16"


@pytest.mark.parametrize(
    "text", ["0/16", "17/16", "-1/16", "3", "3/", "a/b", "1/0", "1/2/3", " 1/2", "1/2\n", "٣/16", ""]
)
def test_what_is_no_shard_is_said(text: str) -> None:
    """An invalid shard raises a RecipeError that explains how shards are numbered."""
    with pytest.raises(RecipeError, match="Shards are numbered from 1: use 1/16 to 16/16"):
        Shard.parse(text)
