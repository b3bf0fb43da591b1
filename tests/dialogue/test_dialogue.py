"""Test one dialogue step by step: the tests take the driver's place, send answers and examine the requests."""

from __future__ import annotations

import json
from dataclasses import replace
from string import Template

import pytest

from consistent_chat.dialogue import at_once, prompts, work
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import Bill, Dialogue, OutOfDraws, Steps
from consistent_chat.errors import UnfilledSlot
from consistent_chat.plan.plan import MAX_SUBSTITUTES, Plan, Spec
from consistent_chat.prices import NO_TOKENS
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response

RECIPE = Recipe(model="m", num_turns_per_dialog=2, language="Dutch", temperature=0.5, seed=7)
USERS, ANSWERS = ("Hello?", "And then?"), ("Good day.", "That is all.")
SKELETON = Response(json.dumps({"user_1": USERS[0], "user_2": USERS[1]}), "stop", 10, 20)
REPLIES = Response(json.dumps({"assistant_1": ANSWERS[0], "assistant_2": ANSWERS[1]}), "stop", 30, 40)
NONSENSE = Response("Sorry, what?", "stop", 1, 2)
CUT = Response('{"user_1": "Hel', "length", 3, 4)
DECLINED = Response("", "refusal")


@pytest.fixture
def steps() -> Steps:
    """Begin the dialogue for the first position of the plan."""
    return at_once.fill(RECIPE, Plan(RECIPE), 0)


def spec(substitute: int = 0) -> Spec:
    """Return the spec of the first position, or one of its substitutes."""
    return Plan(RECIPE).spec(0, substitute)


def finished(steps: Steps, response: Response) -> Dialogue:
    """Send the last response and return the dialogue."""
    with pytest.raises(StopIteration) as caught:
        steps.send(response)
    made = caught.value.value
    assert isinstance(made, Dialogue)
    return made


def names(request: Request) -> list[str]:
    """Return the keys that a request asks for."""
    return list(request.schema["properties"])


def test_two_responses_make_a_dialogue(steps: Steps) -> None:
    """The first response has all user messages, and the second has the answers to them."""
    first = next(steps)
    second = steps.send(SKELETON)
    assert finished(steps, REPLIES) == Dialogue(
        spec(),
        USERS,
        ANSWERS,
        (first.key, second.key),
        draws=2,
        input_tokens=40,
        output_tokens=60,
        failed=(),
        billed=(NO_TOKENS._replace(input=40, output=60), NO_TOKENS),
    )


def test_what_is_asked_in_the_first_stage(steps: Steps) -> None:
    """The first request contains every part of the recipe that shapes an answer."""
    system, user = prompts.skeleton(spec(), "Dutch")
    assert next(steps) == Request(
        model="m",
        system=system,
        messages=({"role": "user", "content": user},),
        temperature=0.5,
        schema={
            "type": "object",
            "properties": {"user_1": {"type": "string"}, "user_2": {"type": "string"}},
            "required": ["user_1", "user_2"],
            "additionalProperties": False,
        },
        seed=7,
        repeat=0,
        draw=0,
    )


def test_what_is_asked_in_the_second_stage(steps: Steps) -> None:
    """The second request contains the user messages of the first response and asks for one answer to each."""
    next(steps)
    second = steps.send(SKELETON)
    assert names(second) == second.schema["required"] == ["assistant_1", "assistant_2"]
    assert '"user_1": "Hello?",\n"user_2": "And then?"' in second.messages[0]["content"]
    assert (second.temperature, second.seed, second.repeat, second.draw) == (0.5, 7, 0, 0)


def test_the_key_of_the_first_request_is_pinned() -> None:
    """A pinned request key shows that no prompt has changed.

    A changed word in a prompt makes every user repeat all calls.
    """
    recipe = Recipe(model="claude-haiku-5-5")
    first = next(at_once.fill(recipe, Plan(recipe), 0))
    assert first.key == "sha256:f1ddd2df1656f39a0a3617a62fea038492f4e64d1508061c4e7ef7e8ad98ad73"


def test_a_bad_answer_is_asked_again_with_the_next_draw(steps: Steps) -> None:
    """An unusable answer repeats the request with the next draw number, and the failures are recorded in order."""
    asked = [next(steps), steps.send(NONSENSE), steps.send(SKELETON), steps.send(NONSENSE), steps.send(NONSENSE)]
    made = finished(steps, REPLIES)
    assert [request.draw for request in asked] == [0, 1, 0, 1, 2]
    assert asked[1] == replace(asked[0], draw=1)
    assert asked[4] == replace(asked[2], draw=2)
    assert made.keys == (asked[1].key, asked[4].key)
    assert [failed.key for failed in made.failed] == [asked[0].key, asked[2].key, asked[3].key]
    assert {(failed.reason, failed.detail) for failed in made.failed} == {
        (Reason.NO_JSON, "no JSON object in 12 characters")
    }
    assert (made.draws, made.input_tokens, made.output_tokens) == (5, 43, 66)


def test_a_cut_answer_is_asked_again_with_a_wider_limit(steps: Steps) -> None:
    """Each truncated answer doubles the token limit, up to eight times the first limit.

    Other failures do not change it.
    """
    limits = [next(steps).max_tokens]
    limits += [steps.send(response).max_tokens for response in (CUT, NONSENSE, CUT, CUT, CUT)]
    narrow = work.FRAME_TOKENS + 2 * work.SKELETON_TOKENS
    assert limits == [narrow, 2 * narrow, 2 * narrow, 4 * narrow, 8 * narrow, 8 * narrow]


def test_the_second_stage_begins_with_its_own_limit(steps: Steps) -> None:
    """A truncated answer in the first stage does not change the token limit of the second."""
    next(steps)
    steps.send(CUT)
    assert steps.send(SKELETON).max_tokens == work.FRAME_TOKENS + 2 * work.ANSWER_TOKENS


def test_a_refusal_passes_to_the_substitute(steps: Steps) -> None:
    """A refused request is not repeated; a substitute spec replaces the dialogue."""
    first = next(steps)
    other = steps.send(DECLINED)
    assert (first.repeat, other.repeat, other.draw) == (0, -1, 0)
    assert other.messages[0]["content"] == prompts.skeleton(spec(1), "Dutch")[1]
    steps.send(SKELETON)
    made = finished(steps, REPLIES)
    assert made.spec == spec(1)
    assert [(failed.key, failed.reason) for failed in made.failed] == [(first.key, Reason.REFUSED)]
    assert (made.draws, made.input_tokens) == (2, 40)


def test_a_refusal_to_answer_passes_to_the_substitutes_skeleton(steps: Steps) -> None:
    """A refusal in the second stage discards the user messages as well. The substitute begins with its own skeleton."""
    next(steps)
    steps.send(SKELETON)
    other = steps.send(DECLINED)
    assert names(other) == ["user_1", "user_2"]
    assert other == next(at_once.converse(RECIPE, spec(1), [], Bill()))


def test_spent_draws_pass_to_the_substitute(steps: Steps) -> None:
    """A substitute replaces the dialogue in either stage if the driver reports that the draws are used up."""
    next(steps)
    steps.send(NONSENSE)
    other = steps.throw(OutOfDraws())
    assert other == next(at_once.converse(RECIPE, spec(1), [], Bill()))
    steps.send(SKELETON)
    steps.send(NONSENSE)
    assert steps.throw(OutOfDraws()) == next(at_once.converse(RECIPE, spec(2), [], Bill()))


def test_a_place_that_cannot_be_filled_is_an_error(steps: Steps) -> None:
    """A dialogue fails if its spec and all substitutes fail.

    Each sends a different request, and the error names the reasons.
    """
    asked = [next(steps)]
    asked += [steps.send(DECLINED) for _ in range(MAX_SUBSTITUTES)]
    with pytest.raises(UnfilledSlot) as caught:
        steps.send(DECLINED)
    refused = "refused (the model declined to answer)"
    assert str(caught.value) == (
        f"Dialogue 0 could not be made: 9 specs failed, 9 unusable answers, the last: {refused}, {refused}, {refused}. "
        "Look at what 'm' answers; try another model or a higher max_draws."
    )
    assert len({request.key for request in asked}) == 1 + MAX_SUBSTITUTES


def test_the_same_answers_make_the_same_dialogue() -> None:
    """The same responses, including the failed ones, make the same dialogue again."""
    story = (NONSENSE, CUT, SKELETON, DECLINED, SKELETON, NONSENSE)
    made = []
    for _ in range(2):
        steps = at_once.fill(RECIPE, Plan(RECIPE), 5)
        next(steps)
        for response in story:
            steps.send(response)
        made.append(finished(steps, REPLIES))
    assert made[0] == made[1]
    assert [failed.reason.value for failed in made[0].failed] == ["no_json", "truncated", "refused", "no_json"]


def test_tokens_that_were_not_counted_are_none() -> None:
    """The sum of tokens includes only the known counts, because some providers return none."""
    steps = at_once.fill(RECIPE, Plan(RECIPE), 0)
    next(steps)
    steps.send(Response(SKELETON.text))
    assert finished(steps, REPLIES).input_tokens == 30


@pytest.mark.parametrize("turns", [1, 6, 100])
def test_a_dialogue_has_exactly_as_many_turns_as_were_asked_for(turns: int) -> None:
    """A dialogue has exactly the requested number of turns, with one answer to each message."""
    recipe = replace(RECIPE, num_turns_per_dialog=turns)
    steps = at_once.fill(recipe, Plan(recipe), 0)
    first = next(steps)
    second = steps.send(Response(json.dumps({name: f"Text of {name}" for name in names(first)})))
    made = finished(steps, Response(json.dumps({name: f"Text of {name}" for name in names(second)})))
    assert made.user_messages == tuple(f"Text of user_{number}" for number in range(1, turns + 1))
    assert made.answers == tuple(f"Text of assistant_{number}" for number in range(1, turns + 1))


def test_the_first_prompt_says_all_that_was_drawn() -> None:
    """The first prompt contains each facet of the spec, the number of turns and the language.

    No placeholder is left.
    """
    drawn = spec()
    system, user = prompts.skeleton(drawn, "Dutch")
    for text in (drawn.intent.title, drawn.intent.purpose, drawn.category, drawn.topic, drawn.flow.title):
        assert text in user
    for text in (*drawn.flow.steps, drawn.persona, *drawn.manner, "exactly 2", "Language: Dutch"):
        assert text in user
    for option in (drawn.shape.mood, drawn.shape.outcome, drawn.shape.ending):
        assert option.description in user
    assert f"1: {drawn.shape.messages[0].words}, 2: {drawn.shape.messages[1].words}\n" in user
    assert 'the keys "user_1" to "user_2"' in user
    assert "Write in Dutch" in system
    assert "$" not in system + user


def test_the_second_prompt_does_not_show_how_messages_were_made() -> None:
    """The second prompt contains neither the topic nor the persona, manner or flow of the user."""
    drawn = spec()
    system, user = prompts.answers(drawn, USERS, "Dutch")
    assert drawn.category in user
    assert 'the keys "assistant_1" to "assistant_2"' in user
    assert not any(text in system + user for text in (drawn.topic, drawn.persona, drawn.manner[1], drawn.flow.title))
    assert "$" not in system + user


def test_percent_signs_in_texts_are_percent_signs() -> None:
    """A percent sign in a topic or message reaches the prompt unchanged.

    Prompts are filled in with the `%` operator.
    """
    drawn = replace(spec(), topic="5% of %(topic)s, %s %%", persona="100%")
    assert "Topic: 5% of %(topic)s, %s %%\n" in prompts.skeleton(drawn, "Dutch")[1]
    assert '"user_1": "5%, %(turns)s"' in prompts.answers(drawn, ("5%, %(turns)s", "?"), "Dutch")[1]


def test_prompts_are_filled_in_as_templates() -> None:
    """Filled-in prompts equal the files filled in with `string.Template`."""
    drawn, language = spec(), {"language": "Dutch"}
    texts = {name: Template(text) for name, text in prompts.contents().items()}
    about = {"intent": drawn.intent.title, "purpose": drawn.intent.purpose, "category": drawn.category, "turns": 2}
    messages = '{\n"user_1": "\\"Hello\\"?",\n"user_2": "é\\n"\n}'
    assert prompts.answers(drawn, ('"Hello"?', "é\n"), "Dutch") == (
        "\n\n".join(texts[f"answers.{name}"].substitute(language) for name in ("system", "system_language")),
        texts["answers.user"].substitute(
            about,
            messages=messages,
            part=drawn.flow.answers,
            outcome=prompts.NOTHING_HAPPENS,
            sizes=", ".join(f"{n}: {size.words}" for n, size in enumerate(drawn.shape.replies, 1)),
        ),
    )
    steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(drawn.flow.steps, 1))
    facets = dict(zip(("manner", "manner_description"), drawn.manner), topic=drawn.topic, persona=drawn.persona)
    assert prompts.skeleton(drawn, "Dutch") == (
        "\n\n".join(texts[f"skeleton.{name}"].substitute(language) for name in ("system", "system_language")),
        texts["skeleton.user"].substitute(
            about,
            flow=drawn.flow.title,
            steps=steps,
            **facets,
            **language,
            **{name: getattr(drawn.shape, name).description for name in ("mood", "outcome", "ending")},
            sizes=", ".join(f"{n}: {size.words}" for n, size in enumerate(drawn.shape.messages, 1)),
        ),
    )


def test_a_percent_sign_in_a_prompt_is_a_percent_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """A percent sign in a prompt file is an ordinary character. Prompt files are templates of `string.Template`."""
    monkeypatch.setattr(prompts, "_text", lambda name: "100% of $turns, $$5 and %(turns)s in ${language}!")
    form = prompts._form.__wrapped__("any")
    assert form % {"turns": 2, "language": "Dutch"} == "100% of 2, $5 and %(turns)s in Dutch!"


def test_dollars_in_texts_are_dollars() -> None:
    """A dollar sign in a topic, persona or message is not a placeholder."""
    drawn = replace(spec(), topic="a $100 fine and ${persona}", persona="$topic")
    assert "Topic: a $100 fine and ${persona}\n" in prompts.skeleton(drawn, "Dutch")[1]
    assert '"user_1": "It cost $5, ${turns}"' in prompts.answers(drawn, ("It cost $5, ${turns}", "?"), "Dutch")[1]


def test_the_system_text_is_the_same_for_all_dialogues() -> None:
    """All dialogues have the same system text, whatever their number of turns. Providers can cache it."""
    made = list(Plan(Recipe(num_turns_per_dialog=(1, 9))))
    assert len({drawn.shape.turns for drawn in made}) == 9
    assert len({prompts.skeleton(drawn, "English")[0] for drawn in made}) == 1
    assert len({prompts.answers(drawn, ["?"] * drawn.shape.turns, "English")[0] for drawn in made}) == 1
