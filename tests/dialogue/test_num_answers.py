"""Test several answers to a dialogue: the judge chooses the best one, and the others make preference pairs."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from consistent_chat import drivers
from consistent_chat.commands.estimate import estimate
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.errors import RecipeError, UnfilledSlot
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.row import rows
from consistent_chat.store import ResponseStore
from tests.answers import Answers

SMALL: dict[str, Any] = {
    **{"model": "claude-sonnet-4-6", "judge_model": "claude-haiku-4-5"},
    **{"num_dialogs_per_intent": 1, "num_turns_per_dialog": 2},
}


class Ranking(Answers):
    """Gives these scores in turn to the sets of answers of a dialogue."""

    def __init__(self, *scores: int) -> None:
        super().__init__(self._score)
        self._scores, self.stages, self.kept = scores, list[str](), dict[str, int]()

    def _score(self, request: Request, _: int) -> Response | None:
        self.stages.append(request.stage)
        if request.schema is None:
            return Response(f"It is {request.key[7:15]}.", input_tokens=100, output_tokens=50)
        if request.stage != "judge":
            return None
        score = self._scores[(sum(stage == "judge" for stage in self.stages) - 1) % len(self._scores)]
        said = {name: "So." if name.endswith("_reason") else score for name in request.fields}
        said |= {"at_fault": "user"} if "at_fault" in said else {}
        return Response(json.dumps(said), input_tokens=10, output_tokens=5)


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Return a folder for a response store."""
    return str(tmp_path / "responses")


def run(place: str, serving: Answers | None, **given: Any) -> Dialogue:
    """Make the first dialogue."""
    recipe, store = Recipe(**SMALL, **given), ResponseStore(place)
    opener = None if serving is None else lambda: serving
    (made,) = drivers.run(recipe, [0], store, opener, Limits(), RunStats())
    return made


def scores(dialogues: Any) -> list[Any]:
    """Return the scores of dialogues."""
    return [one.judgement and one.judgement.score for one in dialogues]


def test_the_best_is_taken_and_the_others_are_ranked(place: str) -> None:
    """The best set of answers is chosen, and the first of equals.

    The dialogue counts the calls of all sets, and a replay is the same.
    """
    judge = Ranking(2, 4, 3, 4)
    made = run(place, judge, num_answers=4)
    assert judge.stages == ["skeleton", *["answers", "judge"] * 4]
    assert (scores([made]), scores(made.alternatives)) == ([4], [4, 3, 2])
    assert made.judgement is not None
    assert (made.draws, made.judgement.opinions[0].input_tokens, made.input_tokens) == (9, 40, 5 * 100 + 40)
    assert len({one.answers for one in (made, *made.alternatives)}) == 4
    assert {one.user_messages for one in made.alternatives} == {made.user_messages}
    assert run(place, None, num_answers=4) == made


def test_more_answers_ask_for_those_alone(place: str) -> None:
    """A higher `num_answers` requests only the additional answers.

    The first set is that of a recipe without the field.
    """
    first = run(place, Ranking(3))
    more = Ranking(5, 1)
    made = run(place, more, num_answers=3)
    assert more.stages == ["answers", "judge"] * 2
    assert (scores([made]), scores(made.alternatives)) == ([5], [3, 1])
    assert made.alternatives[0].answers == first.answers
    assert run(place, None) == first


def test_worse_answers_are_pairs_in_order(place: str) -> None:
    """The best answer is paired with each worse one, but not with equals.

    With `min_score`, the labels of the layout `kto` tell what passes.
    """
    given: dict[str, Any] = {"num_answers": 4}
    made = run(place, Ranking(5, 2, 5, 3), **given)
    pairs = rows(made, Recipe(**SMALL, **given, layout="preference"))
    assert [(pair["score_chosen"], pair["score_rejected"]) for pair in pairs] == [(5, 3), (5, 2)]
    labelled = rows(made, Recipe(**SMALL, **given, layout="kto", min_score=3))
    assert [(row["score"], row["label"]) for row in labelled] == [(5, True), (3, True), (2, False), (5, True)]


def test_a_best_that_does_not_pass_has_all_written_again(place: str) -> None:
    """All answers are written again if the best one is below `min_score`.

    All answers of the first round are rejected.
    """
    made = run(place, Ranking(2, 1, 3, 4), num_answers=2, min_score=3)
    assert (scores([made]), scores(made.alternatives)) == ([4], [3])
    assert sorted(scores(made.rejected)) == [1, 2]
    assert [(draw.stage, draw.reason) for draw in made.failed] == [("judge", Reason.LOW_SCORE)] * 2
    assert run(place, None, num_answers=2, min_score=3) == made


def test_a_low_score_beside_a_better_one_is_no_failure(place: str) -> None:
    """A low score is no failure if another answer of the dialogue passes, and nothing is requested again."""
    made = run(place, Ranking(1, 2, 4), num_answers=3, min_score=3)
    assert (made.failed, made.rejected) == ((), ())
    assert (made.billed[1].input, scores(made.alternatives)) == (30, [2, 1])
    assert run(place, None, num_answers=3, min_score=3) == made


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("judged", "stops"), [((1, 4), False), ((1,), True)], ids=["each second time", "never"])
def test_a_judge_that_is_never_content_ends_the_run(place: str, judged: tuple[int, ...], stops: bool) -> None:
    """The run stops after 30 consecutive rounds without a passing answer.

    Worse answers in a round that passes do not count.
    """
    recipe, serving = Recipe(**{**SMALL, "num_dialogs_per_intent": 4}, num_answers=2, min_score=3), Ranking(*judged)
    limits = Limits(max_concurrency=1)
    made = drivers.run(recipe, range(36), ResponseStore(place), lambda: serving, limits, RunStats())
    with pytest.raises(UnfilledSlot, match="Stopping: 30 consecutive") if stops else nullcontext():
        assert len(list(made)) == 36


def test_all_answers_to_messages_at_fault_are_rejected(place: str) -> None:
    """If the user messages are at fault, all answers to them are rejected. The substitute lists them."""
    given: dict[str, Any] = {"num_answers": 2, "min_score": 3, "judge": {"criteria": {"tone": "Is it kind?"}}}
    made = run(place, Ranking(1, 2, 5, 4), **given)
    assert (made.spec.substitute, scores(made.rejected)) == (1, [2, 1])


@pytest.mark.parametrize(
    ("judged", "given", "calls"),
    [
        ((2, 1, 3, 4), {"num_answers": 2}, 9),
        ((2, 2, 4, 4), {"judge": {"model": ["claude-haiku-4-5", "gpt-4o-mini"]}}, 7),
        ((2, 4), {"answers": "turn_by_turn"}, 7),
    ],
    ids=["several answers", "several judges", "turn by turn"],
)
def test_an_estimate_counts_what_a_low_score_has_made_again(
    place: str, judged: tuple[int, ...], given: dict[str, Any], calls: int
) -> None:
    """An estimate includes all calls that a low score repeats: each answer and each judge."""
    made = run(place, Ranking(*judged), **given, min_score=3)
    recipe = Recipe(**SMALL, **given, min_score=3)
    assert made.draws == calls
    assert estimate(recipe, Plan(recipe), ResponseStore(place)).calls == 8 * calls


def test_an_estimate_counts_all_of_them(place: str) -> None:
    """An estimate includes all answers of each dialogue, before and after some are recorded."""
    recipe = Recipe(**SMALL, num_answers=3)
    assert recipe.most_waves == 7
    assert estimate(recipe, Plan(recipe), ResponseStore(place)).calls == 9 * 7
    run(place, Ranking(3, 4, 5), num_answers=3)
    assert estimate(recipe, Plan(recipe), ResponseStore(place)).calls == 8 * 7


@pytest.mark.parametrize(
    "given", [{"judge_model": None}, {"answers": "turn_by_turn"}, {"layout": "preference", "reasoning": True}]
)
def test_what_does_not_go_together_is_one_message(given: dict[str, Any]) -> None:
    """Fields that cannot be combined with `num_answers` are refused with one message before any call."""
    with pytest.raises(RecipeError, match=r"num_answers must be 1 without a judge|has no reasoning"):
        Recipe(**{**SMALL, "num_answers": 2, **given})
