"""Test dialogues that are made turn by turn: the requests, repeated draws, the end, and replays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consistent_chat.dialogue import by_turns
from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.dialogue.work import Dialogue, OutOfDraws, Steps
from consistent_chat.errors import RecipeError
from consistent_chat.plan.plan import MAX_SUBSTITUTES, Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.row import row

pytestmark = pytest.mark.usefixtures("folder")

ANSWERS: dict[str, Any] = {"answers": "turn_by_turn"}
BOTH: dict[str, Any] = {"users": "turn_by_turn", "answers": "turn_by_turn"}
SYSTEM = "You work for a bicycle shop."


def begin(turns: Any = 2, **given: Any) -> Steps:
    """Begin the first dialogue of a recipe."""
    recipe = Recipe(model="writer", user_model="caller", num_turns_per_dialog=turns, system_prompt=SYSTEM, **given)
    return fill(recipe, Plan(recipe), 0)


def said(text: str, ends: bool = False) -> Response:
    """Return a message of the user's side."""
    return Response(json.dumps({"message": text, "ends": ends}), "stop", 10, 5)


def finish(steps: Steps, response: Response) -> Dialogue:
    """Send the last response and return the dialogue."""
    with pytest.raises(StopIteration) as caught:
        steps.send(response)
    made = caught.value.value
    assert isinstance(made, Dialogue)
    return made


def chat(request: Request) -> list[str]:
    """Return the roles and texts of a request."""
    return [f"{each['role']}: {each['content']}" for each in request.messages]


def test_answers_come_from_the_real_chat() -> None:
    """Requests for answers contain the system prompt and the chat so far, without a schema or parts of the spec.

    They follow one request for all user messages.
    """
    steps = begin(**ANSWERS)
    skeleton = next(steps)
    first = steps.send(Response(json.dumps({"user_1": "My chain jumps.", "user_2": "Which size?"})))
    second = steps.send(Response("It is worn. Replace it.", "stop", 7, 8))
    made = finish(steps, Response("Measure the old one.", "stop", 9, 10))
    assert (skeleton.stage, skeleton.model) == ("skeleton", "caller")
    assert [(one.stage, one.model, one.system, one.schema) for one in (first, second)] == [
        ("answer", "writer", SYSTEM, None)
    ] * 2
    assert chat(first) == ["user: My chain jumps."]
    assert chat(second) == ["user: My chain jumps.", "assistant: It is worn. Replace it.", "user: Which size?"]
    assert "schema" not in json.loads(first.canonical)
    assert first.identity() == json.loads(first.canonical)
    assert (made.user_messages, made.answers) == (
        ("My chain jumps.", "Which size?"),
        ("It is worn. Replace it.", "Measure the old one."),
    )
    assert made.keys == (skeleton.key, first.key, second.key)


def test_users_react_to_what_was_said() -> None:
    """Both sides alternate: the user's side gets the spec and the chat so far, the assistant only the chat."""
    steps = begin(**BOTH)
    requests = [next(steps)]
    for response in (said("My chain jumps."), Response("It is worn. Replace it."), said("Which size?")):
        requests.append(steps.send(response))
    made = finish(steps, Response("Measure the old one."))
    assert [one.stage for one in requests] == ["user_message", "answer"] * 2
    assert [one.model for one in requests] == ["caller", "writer"] * 2
    spec, asked = made.spec, requests[2].messages[0]["content"]
    assert spec.topic in asked
    assert '"assistant_1": "It is worn. Replace it."' in asked
    assert requests[0].messages[0]["content"].split("\n\n")[0] == asked.split("\n\n")[0]  # a prefix that can be cached
    assert "message 2 of at most 2" in asked
    assert "It is the last one" in asked
    assert made.keys == tuple(one.key for one in requests)
    assert (made.billed[0].input, made.billed_users.input) == (0, 20)


def test_a_dialogue_ends_early_within_its_range() -> None:
    """The user's side can end a dialogue, but not before the minimum number of turns."""
    steps = begin({2: 0.0001, 5: 1}, **BOTH)
    next(steps)
    for number in range(1, 4):
        answer = steps.send(said(f"Question {number * 11}, please?", ends=number != 2))
        assert answer.stage == "answer"
        if number < 3:
            assert steps.send(Response(f"Reply {number * 13} it is.")).stage == "user_message"
    assert len(finish(steps, Response("Reply 39 it is.")).answers) == 3


def test_with_a_fixed_number_of_turns_nothing_ends_early() -> None:
    """The user's side cannot end a dialogue early if the recipe has a fixed number of turns."""
    steps = begin(2, **BOTH)
    next(steps)
    steps.send(said("Is 11 enough?", ends=True))
    assert steps.send(Response("It is not enough.")).stage == "user_message"


@pytest.mark.parametrize("form", [ANSWERS, BOTH], ids=["answers", "both"])
def test_a_bad_message_is_drawn_again_by_itself(form: dict[str, Any]) -> None:
    """An unusable answer costs one more draw of that answer; earlier messages are not repeated."""
    steps = begin(**form)
    next(steps)
    first = said("My chain jumps.") if form is BOTH else Response('{"user_1": "My chain jumps.", "user_2": "Size?"}')
    asked = steps.send(first)
    again = steps.send(Response("   "))
    assert (again.draw, again.messages) == (asked.draw + 1, asked.messages)
    third = steps.send(Response("<think>Hm."))
    assert third.draw == 2
    assert steps.send(Response("It is worn. Replace it.")).draw == 0


def test_a_spec_that_fails_for_good_is_replaced() -> None:
    """A substitute begins from the start after a refusal, or if the draws are used up."""
    steps = begin(**BOTH)
    first = next(steps)
    steps.send(said("My chain jumps."))
    other = steps.send(Response("", "refusal"))
    assert other.stage == "user_message"
    assert other.messages != first.messages
    third = steps.throw(OutOfDraws())
    assert third.messages not in (first.messages, other.messages)
    assert MAX_SUBSTITUTES > 2


def test_a_low_score_has_the_answers_made_again() -> None:
    """After a low score, the dialogue is made again from the first answer on.

    The first user message stays, and the judge sees the whole dialogue.
    """
    scores = {f"{name}{end}": 2 if not end else "Why." for name in ("consistency", "helpfulness", "naturalness")
              for end in ("_reason", "")}  # fmt: skip
    steps = begin(1, judge_model="judge", min_score=3, **BOTH)
    next(steps)
    steps.send(said("My chain jumps."))
    judged = steps.send(Response("It is worn. Replace it."))
    again = steps.send(Response(json.dumps(scores)))
    assert (judged.stage, judged.model, again.stage, again.draw) == ("judge", "judge", "answer", 1)
    assert steps.send(Response("Buy another chain.")).stage == "judge"
    made = finish(steps, Response(json.dumps({name: 5 if value == 2 else value for name, value in scores.items()})))
    assert made.answers == ("Buy another chain.",)
    assert [draw.reason for draw in made.failed] == [Reason.LOW_SCORE]


def test_the_reasoning_before_each_answer_is_kept() -> None:
    """Each answer keeps its own reasoning, and the column `reasoning` has all of it in order.

    The next request does not contain it.
    """
    recipe = Recipe(model="writer", num_turns_per_dialog=3, reasoning=True, layout="messages", **ANSWERS)
    steps = fill(recipe, Plan(recipe), 0)
    next(steps)
    steps.send(Response('{"user_1": "My chain jumps.", "user_2": "Which size?", "user_3": "Thank you."}'))
    second = steps.send(Response("It is worn. Replace it.", reasoning="Worn, I think."))
    assert "Worn, I think." not in str(second.messages)
    steps.send(Response("Measure the old one."))
    made = finish(steps, Response("<think>They thank me.</think>You are welcome."))
    assert made.answers[2] == "You are welcome."
    values = row(made, recipe)
    assert values["reasoning"] == "Worn, I think.\n\nThey thank me."
    thoughts = [each["reasoning_content"] for each in values["messages"]]
    assert thoughts == [None, "Worn, I think.", None, None, None, "They thank me."]


def test_the_length_of_answers_is_part_of_the_system_text() -> None:
    """The length of answers follows the system prompt and is the same in all turns."""
    steps = begin(3, answer_length=40, **BOTH)
    next(steps)
    first = steps.send(said("My chain jumps."))
    assert first.system.startswith(f"{SYSTEM}\n\nLength of each of your answers in words, roughly: 1: ")
    assert "2: " in first.system
    steps.send(Response("It is worn. Replace it."))
    assert steps.send(said("Which size?")).system == first.system


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("Plain.", "Plain."),
        ("<think>Let me see.</think>\n\nSo it is.", "So it is."),
        ("Let me see.</think>So it is.", "So it is."),
        (
            "A model writes <think>...</think> before it answers.",
            "A model writes <think>...</think> before it answers.",
        ),
        ('{"assistant_1": "JSON is a text too."}', '{"assistant_1": "JSON is a text too."}'),
    ],
)
def test_the_text_of_an_answer(text: str, taken: str) -> None:
    """The text of an answer is all that the model wrote, without the reasoning in front."""
    assert by_turns.answer(Response(text)) == taken


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no JSON at all", Reason.NO_JSON),
        ('{"text": "Hello there"}', Reason.WRONG_SHAPE),
        ('{"message": "Hello", "ends": "maybe"}', Reason.WRONG_SHAPE),
        ('{"message": "", "ends": true}', Reason.EMPTY_MESSAGE),
        ('{"message": 5}', Reason.NOT_TEXT),
    ],
)
def test_a_message_that_cannot_be_read(text: str, reason: Reason) -> None:
    """A user message that cannot be parsed is unusable, and its reason is named."""
    with pytest.raises(Unusable) as caught:
        by_turns.user_message(Response(text))
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"users": "turn_by_turn"}, "needs answers: turn_by_turn"),
        ({"users": "by_turns"}, "turn_by_turn"),
    ],
)
def test_fields_that_do_not_combine(given: dict[str, Any], words: str) -> None:
    """Fields that cannot be combined are refused when the recipe is read, with a hint how to correct them."""
    with pytest.raises(RecipeError, match=words):
        Recipe(model="m", **given)
