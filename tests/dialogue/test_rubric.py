"""Test judges with the recipe's own criteria: weights, minimum scores, faults, several judges, hostile answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consistent_chat import drivers
from consistent_chat.card.header import Seen
from consistent_chat.commands.estimate import estimate
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue import at_once
from consistent_chat.dialogue.judge import Judgement, Opinion, stage_of
from consistent_chat.dialogue.work import Dialogue, is_low
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.rubric import Criterion, Rubric
from consistent_chat.reports import report
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from tests.answers import Answers, good

WRITER, JUDGE, OTHER = "claude-sonnet-4-6", "claude-haiku-4-5", "gpt-4o-mini"
CRITERIA = {"consistency": True, "tone": {"text": "Is it kind?", "weight": 3, "least": 2}}
SMALL: dict[str, Any] = {"model": WRITER, "num_dialogs_per_intent": 1, "num_turns_per_dialog": 2}
RECIPE = Recipe(**SMALL, min_score=3, judge={"model": JUDGE, "criteria": CRITERIA})
Said = Callable[[Request], dict[str, Any]]


def verdict(consistency: Any, tone: Any, fault: Any = "assistant") -> dict[str, Any]:
    """Return what a judge says."""
    return {"consistency_reason": "So.", "consistency": consistency, "tone_reason": "Thus.", "tone": tone,
            "at_fault": fault}  # fmt: skip


def run(place: str, recipe: Recipe, said: Said, indices: Any = range(3)) -> tuple[list[Dialogue], list[Request]]:
    """Make dialogues with judges that give these answers; return the dialogues and all requests."""
    asked = []

    def script(request: Request, _: int) -> Response | None:
        asked.append(request)
        return Response(json.dumps(said(request)), input_tokens=10, output_tokens=5) if is_judge(request) else None

    store = ResponseStore(place)
    return list(drivers.run(recipe, indices, store, lambda: Answers(script), Limits(), RunStats())), asked


def replay(place: str, recipe: Recipe, indices: Any = range(3)) -> list[Dialogue]:
    """Make the same dialogues from the store."""
    return list(drivers.run(recipe, indices, ResponseStore(place), None, Limits(), RunStats()))


def is_judge(request: Request) -> bool:
    """Tell whether a request is for a judge."""
    return request.stage == "judge"


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Return a folder for a response store."""
    return str(tmp_path / "responses")


def judged(recipe: Recipe) -> Request:
    """Return the first request to a judge."""
    steps = at_once.fill(recipe, Plan(recipe), 0)
    request = next(steps)
    while not is_judge(request):
        request = steps.send(good(request))
    return request


def test_without_criteria_a_judge_is_asked_as_ever() -> None:
    """Without criteria, the first request to a judge has its earlier key.

    `judge: {model: ...}` equals the field `judge_model`.
    """
    flat = {"model": "m", "num_dialogs_per_intent": 1, "num_turns_per_dialog": 2}
    assert judged(Recipe(**flat, judge_model="j")).key == (
        "sha256:da190f5fd2d43f09ed5d0d328557d9d94460c91bc31d6cda54e3ff250b0d0f4b"
    )
    assert Recipe(**flat, judge={"model": "j"}) == Recipe(**flat, judge={"model": ["j"]})
    assert Recipe(**flat, judge={"model": "j"}) == Recipe(**flat, judge_model="j")


def test_the_order_of_criteria_has_no_effect() -> None:
    """Recipes whose criteria differ only in order are equal and send equal requests."""
    other = Recipe(**SMALL, min_score=3, judge={"criteria": dict(reversed(CRITERIA.items())), "model": JUDGE})
    assert other == RECIPE
    assert judged(other).key == judged(RECIPE).key


def test_a_judge_is_shown_the_criteria_and_gives_the_fault_last() -> None:
    """The prompt contains the user's criteria literally and the text of the built-in ones.

    The schema asks for the fault last.
    """
    recipe = Recipe(**SMALL, judge={"model": JUDGE, "criteria": {"consistency": True, "tone": "50 % kind, $5 {x}?"}})
    request = judged(recipe)
    assert "\n- consistency: over the turns, do facts" in request.system
    assert "\n- tone: 50 % kind, $5 {x}?\n" in request.system
    assert request.schema is not None
    assert request.schema["required"] == ["consistency_reason", "consistency", "tone_reason", "tone", "at_fault"]
    assert stage_of(request.schema) == "judge"


@pytest.mark.parametrize("fault", ["user", "assistant", "none"])
def test_a_bad_skeleton_is_replaced_at_once(place: str, fault: str) -> None:
    """A substitute replaces a dialogue whose user is at fault; otherwise the same messages are answered again.

    Replays are equal.
    """
    seen: set[str] = set()

    def said(request: Request) -> dict[str, Any]:
        first = not seen
        seen.add(request.key)
        return verdict(5, 2, fault) if first else verdict(5, 4)

    made, asked = run(place, RECIPE, said, [0])
    (one,) = made
    assert one.spec.substitute == (fault == "user")
    assert [request.stage for request in asked] == [
        *("skeleton", "answers", "judge"),
        *(("skeleton", "answers", "judge") if fault == "user" else ("answers", "judge")),
    ]
    assert [draw.detail for draw in one.failed] == [f"tone 2: Thus. (at fault: {fault})"]
    assert len(one.rejected) == 1
    assert replay(place, RECIPE, [0]) == made


def test_given_messages_are_answered_again_whoever_is_at_fault(place: str, tmp_path: Path) -> None:
    """Given messages are answered again even if the user is at fault. A substitute would have the same messages."""
    chat = [{"role": "user", "content": "Is it far?"}, {"role": "assistant", "content": "old"}]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": chat}))
    seeds = {"data": str(tmp_path / "chats.jsonl"), "fields": {"conversation": "messages"}}
    recipe = Recipe(WRITER, seeds=seeds, min_score=3, judge={"model": JUDGE, "criteria": CRITERIA})
    seen: list[Request] = []

    def said(request: Request) -> dict[str, Any]:
        seen.append(request)
        return verdict(1, 1, "user") if len(seen) == 1 else verdict(5, 5)

    (one,), asked = run(place, recipe, said, [0])
    assert (one.spec.substitute, [request.stage for request in asked]) == (0, ["answers", "judge"] * 2)


@pytest.mark.parametrize(
    ("scores", "passes", "score"),
    [((1, 4), True, 3.25), ((5, 2), False, 2.75), ((5, 3), True, 3.5), ((5, 1), False, 2.0), ((3, 3), True, 3.0)],
)
def test_the_score_is_the_weighted_mean(scores: tuple[int, int], passes: bool, score: float) -> None:
    """The score is the weighted mean of the criteria, and each criterion can have its own minimum."""
    said = Judgement(("consistency", "tone"), (Opinion(JUDGE, tuple((one, "so") for one in scores), "none"),),
                     RECIPE.rubric)  # fmt: skip
    assert said.score == score
    assert is_low(said, RECIPE) is not passes


def test_weights_that_do_not_add_up_exactly_pass_exactly() -> None:
    """Scores of 4 with the weights 0.1 and 0.2 have a mean of exactly 4."""
    rubric = Rubric((Criterion("a", "x", 0.1), Criterion("b", "y", 0.2), Criterion("c", "z", 0.0)))
    assert rubric.score({"a": 4, "b": 4, "c": 1}) == 4


def test_a_least_score_alone_rejects(place: str) -> None:
    """A minimum score of one criterion rejects answers without `min_score`. The layout `kto` accepts such a recipe."""
    recipe = Recipe(**SMALL, layout="kto", judge={"model": JUDGE, "criteria": {"tone": {"text": "Kind?", "least": 4}}})
    seen: set[str] = set()

    def said(request: Request) -> dict[str, Any]:
        seen.add(request.key)
        return {"tone_reason": "So.", "tone": 3 if len(seen) == 1 else 4, "at_fault": "assistant"}

    (one,), _ = run(place, recipe, said, [0])
    assert [draw.reason.value for draw in one.failed] == ["low_score"]
    assert one.scores == {"tone": 4}


HOSTILE: dict[str, Any] = {
    "a text for a score": verdict("5", 5),
    "true": verdict(True, 5),
    "too high": verdict(5, 6),
    "a fraction": verdict(4.5, 5),
    "a list": verdict([5], 5),
    "another fault": verdict(5, 5, "both"),
    "a fault of a list": verdict(5, 5, ["user"]),
    "no fault": {name: value for name, value in verdict(5, 5).items() if name != "at_fault"},
    "a criterion missing": {name: value for name, value in verdict(5, 5).items() if not name.startswith("tone")},
    "one more": {**verdict(5, 5), "politeness": 5},
    "a huge reason": {**verdict(5, 5), "tone_reason": "so " * 5000},
    "an empty reason": {**verdict(5, 5), "tone_reason": " "},
    "a list of all": [verdict(5, 5)],
}


@pytest.mark.slow_after(4)
@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_judgement_is_asked_again(place: str, said: Any) -> None:
    """An invalid judgement is asked for again; no score is guessed."""
    made, _ = run(place, RECIPE, lambda request: said if request.draw == 0 else verdict(4, 4, "none"), [0])
    assert {(draw.stage, draw.model) for draw in made[0].failed} == {("judge", JUDGE)}
    assert made[0].scores == {"consistency": 4, "tone": 4}


def of_several(request: Request) -> dict[str, Any]:
    """Return scores of two judges that differ by one in one criterion."""
    return verdict(5, 4 if request.model == JUDGE else 3, "none" if request.model == JUDGE else "user")


SEVERAL = Recipe(**SMALL, judge={"model": [JUDGE, OTHER], "criteria": CRITERIA})


def test_several_judges_are_asked_and_their_agreement_is_known(place: str) -> None:
    """The lower score of two judges counts, and their agreement and tokens are recorded.

    The estimate and a replay include both.
    """
    told = estimate(SEVERAL, Plan(SEVERAL), ResponseStore(place))
    made, asked = run(place, SEVERAL, of_several, range(9))
    assert told.calls == len(asked) == 9 * 4
    assert SEVERAL.most_waves == 4
    plain = made[0].judgement.plain() if made[0].judgement else {}
    assert (plain["tone"], plain["agreement"], plain["at_fault"], plain["score"]) == (3, 0.875, "assistant", 3.5)
    assert [(one["model"], one["tone"], one["input_tokens"]) for one in plain["judges"]] == [
        (JUDGE, 4, 10),
        (OTHER, 3, 10),
    ]
    assert len(made[0].keys) == 4
    assert replay(place, SEVERAL, range(9)) == made
    assert estimate(SEVERAL, Plan(SEVERAL), ResponseStore(place)).missing == 0


@pytest.mark.slow
def test_each_judge_is_billed_at_its_price(place: str) -> None:
    """The card and the reports count each judge's tokens at the price of its model."""
    made, _ = run(place, SEVERAL, of_several, range(9))
    seen = Seen()
    for dialogue in made:
        seen.see("train", dialogue)
    spent = (18 * (100 * 3 + 50 * 15) + 9 * (10 * 1 + 5 * 5) + 9 * (10 * 0.15 + 5 * 0.6)) / 1e6
    assert seen.cost({"train": SEVERAL}) == pytest.approx(spent)
    for summary in (report(place), report(None, responses=place, judge=SEVERAL.judge, **SMALL)):
        assert {used.model: used.cost for used in summary.used} == {
            WRITER: pytest.approx(18 * (100 * 3 + 50 * 15) / 1e6),
            JUDGE: pytest.approx(9 * (10 * 1 + 5 * 5) / 1e6),
            OTHER: pytest.approx(9 * (10 * 0.15 + 5 * 0.6) / 1e6),
        }
        assert summary.scores["agreement of the judges in percent"].mean == 88
        assert summary.scores["judgement: tone"].mean == 3


def test_rows_have_what_the_judges_say(place: str, tmp_path: Path) -> None:
    """Rows contain the judgements in the columns that the recipe announces, with one entry for each rehearsed judge."""
    builder = open_builder(None, serving="rehearsal", responses=place, judge=SEVERAL.judge, cache_dir=str(tmp_path),
                           num_dialogs_per_intent=1, num_turns_per_dialog=1)  # fmt: skip
    builder.download_and_prepare()
    row = builder.as_dataset(split="train")[0]["judgement"]
    assert row["model"] == "rehearsal-1, rehearsal-2"
    assert [one["model"] for one in row["judges"]] == ["rehearsal-1", "rehearsal-2"]
    assert row["tone"] == min(one["tone"] for one in row["judges"])
    assert {"consistency", "tone_reason", "score", "at_fault", "agreement"} <= set(row)
