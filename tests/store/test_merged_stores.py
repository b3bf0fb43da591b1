"""Tests of merged stores of several writers: a dialogue replays if any writer has completed it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat import drivers
from consistent_chat.commands.estimate import estimate
from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import Limits, PendingRequests, PlanSlice, RunStats
from consistent_chat.drivers.replay import find_complete_path
from consistent_chat.errors import BudgetSpent, MissingResponse
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore, compact
from tests.answers import Answers

RECIPE = Recipe(model="m", num_dialogs_per_intent=2, num_turns_per_dialog=2)
PLAN = Plan(RECIPE)


def by(writer: str) -> Answers:
    """Return a serving whose answers depend on the writer and are sometimes unusable."""

    def script(request: Request, attempt: int) -> Response:
        dice = random.Random(writer + request.key)
        if dice.random() < 0.2:
            return Response("no")
        return Response(json.dumps({name: f"{name}, {writer}" for name in request.schema["required"]}))

    return Answers(script)


def build(place: str, writer: str = "", refresh: bool = False, **limits: int) -> list[Dialogue]:
    """Make all dialogues, with the writer's serving or, without a writer, from recorded responses."""
    serving = by(writer)
    store = ResponseStore(place, refresh=refresh)
    opener = (lambda: serving) if writer else None
    return list(drivers.run(RECIPE, range(len(PLAN)), store, opener, Limits(**limits), RunStats()))


def put_together(folder: Path, *places: str) -> str:
    """Copy the packs of several stores into a new one, and return its location."""
    packs = folder / "together" / "packs"
    packs.mkdir(parents=True)
    for place in places:
        for pack in Path(place, "packs").iterdir():
            shutil.copy(pack, packs)
    return str(folder / "together")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("calls", [1, 7, 20, 33])
def test_a_store_that_was_half_filled_harms_no_complete_one(tmp_path: Path, calls: int) -> None:
    """A complete store and a partial store of the same recipe, once merged, replay all dialogues without a call.

    The order of merging and a compaction make no difference.
    """
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    build(one, "one")
    with pytest.raises(BudgetSpent):
        build(two, "two", max_calls=calls)
    together = put_together(tmp_path, one, two)
    made = build(together)
    assert len(made) == len(PLAN)
    assert build(put_together(tmp_path / "again", two, one)) == made
    compact(together)
    assert build(together) == made
    recorded = list(ResponseStore(together).records())
    assert build(together, "three") == made
    assert list(ResponseStore(together).records()) == recorded


def test_an_estimate_misses_nothing_that_a_build_of_merged_stores_finds(tmp_path: Path) -> None:
    """If a build of merged stores finds everything, so do the estimate and the batch requests, in either order."""
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    build(one, "one")
    with pytest.raises(BudgetSpent):
        build(two, "two", max_calls=20)
    for number, stores in enumerate(((one, two), (two, one))):
        together = put_together(tmp_path / str(number), *stores)
        assert len(build(together)) == len(PLAN)
        assert estimate(RECIPE, PLAN, ResponseStore(together)).missing == 0
        pending = PendingRequests([PlanSlice(RECIPE, range(len(PLAN)))], 4)
        assert list(pending.requests(ResponseStore(together))) == []


def test_what_a_replay_finishes_is_not_asked_again_with_more_draws(tmp_path: Path) -> None:
    """A recording made with one draw per spec is complete for a build that may draw four times."""
    place = str(tmp_path / "place")

    def answer(request: Request, attempt: int) -> Response:
        unusable = request.repeat >= 0 and request.stage == "skeleton"
        return Response(
            "no" if unusable else json.dumps({name: f"{name} is said" for name in request.schema["required"]})
        )

    def made(answer: Callable[[Request, int], Response], max_draws: int) -> tuple[list[Dialogue], int]:
        serving = Answers(answer)
        limits = Limits(max_draws=max_draws)
        store = ResponseStore(place)
        rows = list(drivers.run(RECIPE, range(len(PLAN)), store, lambda: serving, limits, RunStats()))
        return rows, serving.calls

    rows, _ = made(answer, 1)
    assert any(row.spec.substitute for row in rows)
    assert made(answer, 4) == (rows, 0)
    assert estimate(RECIPE, PLAN, ResponseStore(place)).missing == 0


def test_what_neither_has_to_its_end_is_still_missing(tmp_path: Path) -> None:
    """A dialogue that neither writer has completed is missing, even if both together have responses for all its stages.

    Answers belong to the skeleton that they were requested for.
    """
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    for place, writer in ((one, "one"), (two, "two")):
        with pytest.raises(BudgetSpent):
            build(place, writer, max_calls=9)
    with pytest.raises(MissingResponse, match="No response is recorded"):
        build(put_together(tmp_path, one, two))


def test_a_refresh_that_was_stopped_is_gone_on_with(tmp_path: Path) -> None:
    """A build continues a refresh that was stopped.

    Refreshed responses supersede older ones even if the older dialogue was complete, because the user asked for them.
    """
    place = str(tmp_path / "place")
    build(place, "old")
    with pytest.raises(BudgetSpent):
        build(place, "new", refresh=True, max_calls=1)  # with more calls, the last may complete a dialogue
    with pytest.raises(MissingResponse):
        build(place)
    build(place, "new")
    assert len(build(place)) == len(PLAN)


@given(st.data())
def test_the_first_way_to_the_end_is_found_if_there_is_one(data: st.DataObject) -> None:
    """The search finds the first complete path through the recorded answers, if there is one.

    The expected path comes from trying all combinations in order.
    """
    known: dict[str, list[Response]] = {}

    def find_all(request: Request) -> list[Response]:
        if request.key not in known:
            texts = data.draw(st.lists(st.sampled_from("abc"), max_size=3, unique=True))
            names = request.schema["required"]
            known[request.key] = [Response(json.dumps(dict.fromkeys(names, text))) for text in texts]
        return known[request.key]

    def ends(*said: Response) -> Iterator[Dialogue]:
        steps = fill(RECIPE, PLAN, 0)
        request = next(steps)
        try:
            for answer in said:
                request = steps.send(answer)
        except StopIteration as finished:
            yield finished.value
        else:
            yield from (end for answer in find_all(request) for end in ends(*said, answer))

    expected = next(ends(), None)
    found = find_complete_path(lambda: fill(RECIPE, PLAN, 0), find_all, max_draws=1_000)
    assert (found and found.step) == expected
