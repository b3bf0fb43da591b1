"""Makes one dialogue with one request per message: each answer comes from the real chat, without JSON or instructions.

The user's messages are either written together before the first answer (`users: at_once`), or one by one, each after
the answer to the previous one (`users: turn_by_turn`). In the second case a dialogue may end early, within the recipe's
range of turns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

from consistent_chat.dialogue import prompts
from consistent_chat.dialogue.parse import (
    REASONING_END,
    Reason,
    Unusable,
    check_finish,
    json_answer,
    message_text,
)
from consistent_chat.dialogue.reasoning import thought_before
from consistent_chat.dialogue.skeleton import user_messages
from consistent_chat.dialogue.work import (
    ANSWER_TOKENS,
    FRAME_TOKENS,
    SKELETON_TOKENS,
    Bill,
    Dialogue,
    FailedDraw,
    Prompt,
    Stage,
    Steps,
    Work,
    answer_schema,
)
from consistent_chat.plan.cards import Spec
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response

USER_MESSAGE, ANSWER = "user_message", "answer"
"""The names of the stages: one message of the user, one answer."""
USER_SCHEMA = answer_schema({"message": {"type": "string"}, "ends": {"type": "boolean"}})


def converse(recipe: Recipe, spec: Spec, failed: list[FailedDraw], bill: Bill, rejected: list[Dialogue]) -> Steps:
    """Make the dialogue of one spec message by message, and have it judged; append unusable draws to `failed`.

    A dialogue that the judge scores too low is appended to `rejected`, and is made again, starting with its first
    answer.
    """
    work = Work(recipe, spec, failed, bill, rejected)
    known, first = yield from _known(work)
    draw = -1
    while True:
        talk = yield from _talk(work, known, draw + 1)
        judgement, third = yield from work.judge(talk.users, talk.answers)
        reasoning = "\n\n".join(filter(None, talk.thoughts))
        made = work.dialogue(talk.users, talk.answers, (*first, *talk.keys, *third), judgement, reasoning)
        made = made._replace(thoughts=talk.thoughts)
        if work.accepts(made):
            return work.finished(made)
        draw = talk.draw


class _Talk(NamedTuple):
    """The messages of both sides, the reasoning before each answer, the keys, and the draw of the first answer."""

    users: tuple[str, ...]
    answers: tuple[str, ...]
    thoughts: tuple[str, ...]
    keys: tuple[str, ...]
    draw: int


def _known(work: Work) -> Generator[Request, Response, tuple[tuple[UserMessage, ...], tuple[str, ...]]]:
    """Return the user messages that do not depend on answers (all, or only the first), and their requests' keys."""
    if work.recipe.users == "at_once":
        users, keys = yield from user_messages(work)
        return tuple(UserMessage(text, False) for text in users), keys
    said, key = yield from _next_message(work, (), ())
    return (said,), (key,)


def _talk(work: Work, known: Sequence[UserMessage], draw: int) -> Generator[Request, Response, _Talk]:
    """Make the turns one after the other; `draw` is the first draw of the first answer."""
    recipe, spec = work.recipe, work.spec
    users: list[str] = []
    answers: list[str] = []
    keys: list[str] = []
    least = min(recipe.turn_weights)
    given, thoughts = len(spec.given_answers), [""] * len(spec.given_answers)
    for turn in range(spec.shape.turns):
        if turn < len(known):
            said = known[turn]
        else:
            said, key = yield from _next_message(work, users, answers)
            keys.append(key)
        users.append(said.text)
        if turn < given:
            answers.append(spec.given_answers[turn])
            continue
        prompt, read = chat(recipe, spec, users, answers), _answer(users, answers, spec, recipe)
        (answer, thought), key, drawn = yield from work.ask(
            _answering(recipe), prompt, read, 0 if turn > given else draw
        )
        answers.append(answer)
        thoughts.append(thought)
        keys.append(key)
        draw = draw if turn > given else drawn
        if said.ends and turn + 1 >= least:
            break
    return _Talk(tuple(users), tuple(answers), tuple(thoughts), tuple(keys), draw)


def _next_message(
    work: Work, users: Sequence[str], answers: Sequence[str]
) -> Generator[Request, Response, tuple[UserMessage, str]]:
    recipe, spec = work.recipe, work.spec
    limit = FRAME_TOKENS + SKELETON_TOKENS
    stage = Stage(USER_MESSAGE, recipe.user_writer, recipe.temperature, USER_SCHEMA, limit)
    least, instructions = min(recipe.turn_weights), spec.instructions(recipe.instructions, "users")
    prompt = prompts.user_message(spec, users, answers, recipe.language, least, instructions)
    said, key, _ = yield from work.ask(stage, prompt, _message(users, spec, recipe))
    return said, key


def _answering(recipe: Recipe) -> Stage:
    return Stage(ANSWER, recipe.model or "", recipe.temperature, None, FRAME_TOKENS + ANSWER_TOKENS)


def chat(recipe: Recipe, spec: Spec, users: Sequence[str], answers: Sequence[str]) -> Prompt:
    """Return the assistant's system text and the chat so far, which ends with a user message."""
    chat: list[Mapping[str, str]] = []
    for number, text in enumerate(users):
        chat.append({"role": "user", "content": text})
        if number < len(answers):
            chat.append({"role": "assistant", "content": answers[number]})
    system, instructions = spec.system_prompt(recipe.system_prompt), spec.instructions(recipe.instructions, "answers")
    return prompts.chat_system(spec, system, instructions, recipe.answer_length is not None), tuple(chat)


def _message(users: Sequence[str], spec: Spec, recipe: Recipe) -> Callable[[Response], UserMessage]:
    """Return a function that reads a response as the next user message, and checks it together with earlier ones."""
    before = tuple(users)

    def read(response: Response) -> UserMessage:
        said = user_message(response)
        if not response.checked:
            from consistent_chat.dialogue import checks  # takes 0.1 s, and the first request does not need it

            checks.users((*before, said.text), spec, recipe)
        return said

    return read


def _answer(
    users: Sequence[str], answers: Sequence[str], spec: Spec, recipe: Recipe
) -> Callable[[Response], tuple[str, str]]:
    """Return a function that reads a response as the next answer, and checks it together with earlier ones.

    If the recipe asks for reasoning, the function also returns the reasoning before the answer.
    """
    asked, before, source = tuple(users), tuple(answers), spec.given_text(recipe.system_prompt)

    def read(response: Response) -> tuple[str, str]:
        text = answer(response)
        if not response.checked:
            from consistent_chat.dialogue import checks

            checks.answers((*before, text), asked, recipe, source)
        return text, thought_before(response, _after_reasoning(response.text)) if recipe.reasoning else ""

    return read


class UserMessage(NamedTuple):
    """A user message, and whether the user means it to be the last."""

    text: str
    ends: bool


def user_message(response: Response) -> UserMessage:
    """Return the message of a JSON object `{"message": ..., "ends": ...}`; `ends` defaults to false.

    Raises Unusable.
    """
    check_finish(response)
    return _read(json_answer(response, _read))


def answer(response: Response) -> str:
    """Return the text of an answer, without the reasoning that some models write before it. Raises Unusable."""
    check_finish(response)
    return message_text(_after_reasoning(response.text), "assistant")


def _read(value: Any) -> UserMessage:
    if not isinstance(value, dict) or not {"message"} <= value.keys() <= {"message", "ends"}:
        raise Unusable(Reason.WRONG_SHAPE, 'not an object with "message" and "ends"')
    if not isinstance(value.get("ends", False), bool):
        raise Unusable(Reason.WRONG_SHAPE, '"ends" is neither true nor false')
    return UserMessage(message_text(value["message"], "user"), value.get("ends", False))


def _after_reasoning(text: str) -> str:
    """Return the text after the reasoning at the beginning. The opening tag may be missing: some templates write it.

    A tag elsewhere in the text is part of the text.
    """
    opened, closed = _OPENING.search(text), REASONING_END.search(text)
    begins = opened is not None and not text[: opened.start()].strip()
    if begins and closed is None:
        raise Unusable(Reason.LEAKS_REASONING, "the reasoning at the beginning has no closing tag")
    is_reasoning = closed is not None and (opened is None or begins or closed.start() < opened.start())
    return text[closed.end() :] if closed is not None and is_reasoning else text


_OPENING = re.compile(REASONING_END.pattern.replace("</", "<"), re.IGNORECASE)
