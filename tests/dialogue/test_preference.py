"""Test pairs of two answers to one turn: the requests, the winner, the handling of ties, and the rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from consistent_chat import drivers
from consistent_chat.builder.config import ConsistentChatConfig
from consistent_chat.builder.features import features
from consistent_chat.dialogue import Dialogue, fill
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.preference import turn_of
from consistent_chat.dialogue.work import OutOfDraws
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.errors import UnfilledSlot
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.row import rows
from consistent_chat.serving.rehearsal import compared
from consistent_chat.store import ResponseStore
from tests.answers import Answers

OWN, REFUSAL = "Take the early train, since it waits for the ferry.", "Other things, as an AI, I cannot help with that."
FIELDS: dict[str, Any] = {"model": "writer", "judge_model": "judge", "layout": "preference", "num_turns_per_dialog": 3}
Scores = Callable[[str, str], tuple[int, int]]


def better(first: str, second: str) -> tuple[int, int]:
    """Prefer the recipe's own answers."""
    return (2, 4) if "Other" in first else (4, 2)


def made(scores: Scores, asked: list[Request] | None = None, index: int = 0, **given: Any) -> Dialogue:
    """Make a dialogue; `scores` gives the scores of the two answers in a comparison.

    Each request has at most four draws.
    """
    recipe = Recipe(**{**FIELDS, "preferences": {"rejected_model": "student"}, **given})
    steps = fill(recipe, Plan(recipe), index)
    request = next(steps)
    try:
        while True:
            if asked is not None:
                asked.append(request)
            out = request.draw >= 4
            request = steps.throw(OutOfDraws()) if out else steps.send(_answer(request, scores))
    except StopIteration as finished:
        done: Dialogue = finished.value
        return done


def _answer(request: Request, scores: Scores) -> Response:
    words = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath")
    if request.stage == "alternative" and (request.model, request.draw) == ("shy", 0):
        return Response(REFUSAL)
    if request.stage == "alternative" and request.model == "dull":
        return Response("Other things are to be said.")
    if request.stage == "alternative":
        return Response(f"Other {words[request.draw]}: take the late boat from {request.key[7:12]}.", "stop", 7, 5)
    if "first" in request.fields:
        first, second = (json.loads(line.partition(": ")[2].rstrip(",")) for line in _lines(request))
        one, two = scores(first, second)
        said: dict[str, Any] = {"first_reason": f"of {first}", "first": one, "second_reason": "x", "second": two}
        return Response(json.dumps(said), "stop", 11, 3)
    if request.stage == "judge":
        return Response(json.dumps({name: 4 if name.isalpha() else "It holds." for name in request.fields}))
    said = {name: f"The {words[at]} path {request.key[7 + at : 12 + at]}?" for at, name in enumerate(request.fields)}
    if request.stage == "answers":
        said = {name: f"{OWN} The {words[at]} one, at {at + 3}." for at, name in enumerate(request.fields)}
    return Response(json.dumps(said), "stop", 100, 10)


def _lines(request: Request) -> list[str]:
    return [line for line in request.messages[-1]["content"].splitlines() if line.startswith(('"first"', '"second"'))]


def test_one_turn_is_answered_once_more_and_compared_in_both_orders() -> None:
    """The other model answers one turn of the real chat, and the judge compares both answers in both orders.

    The row has the columns that trainers read and counts all tokens.
    """
    asked = list[Request]()
    done = made(better, asked, preferences={"rejected_model": "student", "temperature": 0.3, "turn": "last"})
    *_, judged, other, one, two = asked
    assert [request.stage for request in asked] == ["skeleton", "answers", "judge", "alternative", "judge", "judge"]
    assert (other.model, other.temperature, other.schema) == ("student", 0.3, None)
    assert [one.model, two.model, one.temperature] == ["judge", "judge", 0.0]
    assert [message["content"] for message in other.messages[::2]] == list(done.user_messages)
    assert [message["content"] for message in other.messages[1::2]] == list(done.answers[:2])
    texts = [json.loads(line.partition(": ")[2].rstrip(",")) for line in (*_lines(one), *_lines(two))]
    assert texts == [done.answers[2], texts[1], texts[1], done.answers[2]]
    recipe = Recipe(**FIELDS, preferences={"rejected_model": "student"})
    (row,) = rows(done, recipe)
    assert row["prompt"] == [
        *({"role": role, "content": text} for pair in zip(done.user_messages, done.answers) for role, text in
          zip(("user", "assistant"), pair)),
    ][:-1]  # fmt: skip
    assert row["chosen"] == [{"role": "assistant", "content": done.answers[2]}]
    assert row["rejected"] == [{"role": "assistant", "content": texts[1]}]
    assert (row["score_chosen"], row["score_rejected"]) == (4.0, 2.0)
    assert row["reason_chosen"] == f"of {done.answers[2]}"
    origin = row["provenance"]
    assert (origin["turn"], origin["chosen_model"], origin["rejected_model"]) == (3, "writer", "student")
    assert origin["pair_request_keys"] == [other.key, one.key, two.key]
    assert origin["request_keys"] == [request.key for request in asked[:3]]
    other_student = made(better, preferences={"rejected_model": "shy", "temperature": 0.3, "turn": "last"})
    assert rows(other_student, recipe)[0]["provenance"]["id"] != origin["id"]
    assert (origin["draws"], origin["input_tokens"], row["judgement"]["input_tokens"]) == (6, 229, 22)
    assert list(row) == list(features(recipe))
    assert set(origin) == set(features(recipe)["provenance"])
    assert judged.key == made(better, asked=None).keys[2]


def test_the_better_answer_is_chosen_whoever_wrote_it() -> None:
    """The other model's answer is chosen if it has the better score.

    It must pass the checks, or else the turn is answered again.
    """
    done = made(lambda first, second: (5, 3) if "Other" in first else (3, 5))
    assert done.pair is not None
    assert (done.pair.chosen[0][:5], done.pair.chosen[3], done.pair.rejected[3]) == ("Other", "student", "writer")
    assert done.pair.rejected[0] == done.answers[done.pair.turn]
    done = made(lambda first, second: (5, 3) if "Other" in first else (3, 5), preferences={"rejected_model": "shy"})
    assert [draw.reason for draw in done.failed] == [Reason.BOILERPLATE]
    assert done.pair is not None
    assert done.pair.chosen[0].startswith("Other birch")


def test_an_answer_that_is_rejected_may_have_flaws_but_break_no_rule() -> None:
    """A rejected answer may fail the checks, because models learn from it what not to say.

    The recipe's own rules apply to it as to all texts.
    """
    done = made(better, preferences={"rejected_model": "shy"})
    assert done.pair is not None
    assert done.pair.rejected[0] == REFUSAL
    done = made(better, preferences={"rejected_model": "shy"}, rules={"no refusal": {"forbidden": ["cannot help"]}})
    assert done.pair is not None
    assert [draw.reason for draw in done.failed] == [Reason.RULE]
    assert done.pair.rejected[0].startswith("Other birch")


@pytest.mark.parametrize(
    ("scores", "gap"),
    [
        (lambda first, second: (4, 4), 0),  # a tie
        (lambda first, second: (5, 3), 0),  # the first answer in both orders
        (lambda first, second: (4, 3) if "Other" not in first else (3, 4), 1.5),  # a gap that is too small
        (lambda first, second: (5, 3) if "Other" not in first else (4, 4), 0),  # a winner in only one order
    ],
)
def test_without_a_clear_winner_the_turn_is_answered_again(scores: Scores, gap: float) -> None:
    """A turn without a clear winner is answered again until the draws are used up.

    Then a substitute replaces the dialogue, or the build fails.
    """
    asked = list[Request]()
    given: dict[str, Any] = {"preferences": {"rejected_model": "student", "min_gap": gap}}

    def at_last(first: str, second: str) -> tuple[int, int]:
        return better(first, second) if asked[-1].repeat else scores(first, second)

    done = made(at_last, asked, **given)
    assert done.spec.substitute == 1
    assert done.pair is not None
    assert [request.draw for request in asked if request.stage == "alternative"] == [0, 1, 2, 3, 4, 0]
    assert [draw.reason for draw in done.failed] == [Reason.NO_PREFERENCE] * 4
    assert done.failed[0].stage == "alternative"
    assert done.failed[0].model == "student"
    with pytest.raises(UnfilledSlot, match="no_preference"):
        made(scores, **given)


def test_the_turn_is_drawn_by_what_the_dialogue_is_about() -> None:
    """The turn of a pair is drawn from the dialogue's spec.

    Every turn occurs, and a larger dataset keeps the turns of a smaller one.
    """
    few, many = (Recipe(**{**FIELDS, "num_dialogs_per_intent": n, "preferences": {}}) for n in (2, 4))
    done = [made(better, index=index, num_dialogs_per_intent=2) for index in range(18)]
    assert {one.pair.turn for one in done if one.pair} == {0, 1, 2}
    assert [turn_of(one, few) for one in done] == [turn_of(one, many) for one in done]
    assert [one.pair.turn for one in done if one.pair] == [turn_of(one, few) for one in done]


def test_an_answer_without_a_winner_is_not_compared_again() -> None:
    """A repeated alternative answer that had no winner is not compared again. The requests would be the same."""
    asked = list[Request]()
    with pytest.raises(UnfilledSlot):
        made(lambda first, second: (3, 3), asked, preferences={"rejected_model": "dull"})
    assert [request.stage for request in asked][3:9] == ["alternative", "judge", "judge", *["alternative"] * 3]


def test_a_turn_that_was_given_makes_no_pair(tmp_path: Path) -> None:
    """Pairs are made only of added turns, because the answers of given turns are by another model or a person."""
    chats = [[f"Is number {n} open?", "Yes.", "And what time does it close?", "At six."] for n in range(6)]
    rows = [{"chat": [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, chat)]}
            for chat in chats]  # fmt: skip
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)))
    seeds = {"data": str(tmp_path / "chats.jsonl"), "fields": {"conversation": "chat"}, "extend": 2}
    done = [made(better, index=index, seeds=seeds) for index in range(6)]
    assert {one.pair.turn for one in done if one.pair} == {2, 3}


@pytest.mark.parametrize("form", ["at_once", "turn_by_turn"])
def test_the_same_model_is_drawn_until_it_says_something_else(form: str) -> None:
    """Without a rejected model, the same model is asked again until its answer differs.

    With turn-by-turn answers, its first draw is the answer itself.
    """
    asked = list[Request]()

    def answer(request: Request, scores: Scores) -> Response:
        if request.stage in ("answer", "alternative"):
            return Response(f"Take the boat number {len(request.messages)} at {request.draw + 4}.")
        return _answer(request, scores)

    recipe = Recipe(**{**FIELDS, "preferences": {"turn": "last"}, "answers": form})
    steps = fill(recipe, Plan(recipe), 0)
    request = next(steps)
    try:
        while True:
            asked.append(request)
            request = steps.send(answer(request, lambda one, two: (5, 3) if one < two else (3, 5)))
    except StopIteration as finished:
        done = finished.value
    tried = [request for request in asked if request.stage == "alternative"]
    assert len(tried) == (1 if form == "at_once" else 2)
    assert {request.model for request in tried} == {"writer"}
    assert done.pair.chosen[0] != done.pair.rejected[0]


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("ties", [(0, 1), (0, 2)], ids=["all", "each second one"])
def test_a_judge_that_prefers_none_ends_the_run(tmp_path: Path, ties: tuple[int, int]) -> None:
    """The run stops after 30 consecutive answers without a winner, but not if every second answer has a winner."""
    recipe = Recipe(**{**FIELDS, "num_turns_per_dialog": 1, "preferences": {}, "num_dialogs_per_intent": 4})
    drawn = list[str]()

    def script(request: Request, attempt: int) -> Response | None:
        if request.stage == "alternative":
            drawn.append(request.key)
            return Response(f"Other things {request.key[7:15]}.")
        if "first" not in request.fields or len(drawn) % ties[1] == ties[0]:
            return None
        scores = (1, 5) if "Other" in _lines(request)[0] else (5, 1)
        return Response(
            json.dumps({"first_reason": "So.", "first": scores[0], "second_reason": "So.", "second": scores[1]})
        )

    store, limits = ResponseStore(str(tmp_path)), Limits(max_concurrency=1)
    made_ones = drivers.run(recipe, range(36), store, lambda: Answers(script), limits, RunStats())
    with pytest.raises(UnfilledSlot, match="Stopping: 30 consecutive") if ties[1] == 1 else nullcontext():
        assert len(list(made_ones)) == 36


def test_a_rehearsed_answer_is_no_models() -> None:
    """A rehearsed alternative has the model name `rehearsal`, even if the recipe names no other model."""
    serving = {**dict.fromkeys(("user", "assistant", "judge"), "anthropic"), "alternative": "rehearsal"}
    for given in ({}, {"rejected_model": "student"}):
        config = ConsistentChatConfig(**{**FIELDS, "preferences": given}, serving=serving)
        (recipe,) = config.recipes(lambda url: {}).values()
        assert (recipe.model, (recipe.preferences or {})["rejected_model"]) == ("writer", "rehearsal")


def test_a_rehearsal_prefers_the_same_text_in_both_orders() -> None:
    """A rehearsed judge prefers the same text in both orders. It gives no scores for requests that compare nothing."""
    asked = list[Request]()
    made(better, asked)
    one, two = (compared(request) for request in asked[-2:])
    assert one == {name: two[other] for name, other in (("first", "second"), ("second", "first"))}
    assert compared(asked[0]) == {}
