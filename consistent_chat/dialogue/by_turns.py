"""Makes one dialogue with one request per message: each answer comes from the real chat, without JSON or instructions.

The user's messages are written at once before the first answer (`users: at_once`), or one by one, each after the answer
to the one before it (`users: turn_by_turn`). Then a dialogue may end early, within the recipe's range of turns.
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
    """Make one spec's dialogue message by message, and have it judged; append unusable draws to `failed`.

    A dialogue that the judge scores too low is appended to `rejected`, and made again from its first answer on.
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
    """Return the user messages that do not depend on an answer, all or the first, and the keys of their requests."""
    if work.recipe.users == "at_once":
        users, keys = yield from user_messages(work)
        return tuple(UserMessage(text, False) for text in users), keys
    said, key = yield from _next_message(work, (), ())
    return (said,), (key,)


def _talk(work: Work, known: Sequence[UserMessage], draw: int) -> Generator[Request, Response, _Talk]:
    """Go from turn to turn, with `draw` as the first answer's first draw."""
    recipe, spec = work.recipe, work.spec
    users, answers, keys, least = list[str](), list[str](), list[str](), min(recipe.turn_weights)
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
    """Return the chat so far, whose last message is the user's, with the system text of its assistant."""
    chat: list[Mapping[str, str]] = []
    for number, text in enumerate(users):
        chat.append({"role": "user", "content": text})
        if number < len(answers):
            chat.append({"role": "assistant", "content": answers[number]})
    system, instructions = spec.system_prompt(recipe.system_prompt), spec.instructions(recipe.instructions, "answers")
    return prompts.chat_system(spec, system, instructions, recipe.answer_length is not None), tuple(chat)


def _message(users: Sequence[str], spec: Spec, recipe: Recipe) -> Callable[[Response], UserMessage]:
    """Return a function that reads a response as the user's next message, and checks it beside those before it."""
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
    """Return a function that reads a response as the next answer, and checks it beside those before it.

    The answer comes with the reasoning before it if the recipe asks for that.
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
    """A message of the user, and whether it is meant as the last one."""

    text: str
    ends: bool


def user_message(response: Response) -> UserMessage:
    """Return the message of an object `{"message": ..., "ends": ...}` in JSON; without `ends` it goes on.

    Raises Unusable.
    """
    check_finish(response)
    return _read(json_answer(response, _read))


def answer(response: Response) -> str:
    """Return the text of a chat's answer, without the reasoning that some models write in front of it.

    Raises Unusable.
    """
    check_finish(response)
    return message_text(_after_reasoning(response.text), "assistant")


def _read(value: Any) -> UserMessage:
    if not isinstance(value, dict) or not {"message"} <= value.keys() <= {"message", "ends"}:
        raise Unusable(Reason.WRONG_SHAPE, 'not an object of "message" and "ends"')
    if not isinstance(value.get("ends", False), bool):
        raise Unusable(Reason.WRONG_SHAPE, '"ends" is neither true nor false')
    return UserMessage(message_text(value["message"], "user"), value.get("ends", False))


def _after_reasoning(text: str) -> str:
    """Return what follows the closing tag of reasoning at the beginning; templates may write the opening tag.

    A tag that a text mentions elsewhere, after an opening one, is part of the text.
    """
    opened, closed = _OPENING.search(text), REASONING_END.search(text)
    begins = opened is not None and not text[: opened.start()].strip()
    if begins and closed is None:
        raise Unusable(Reason.LEAKS_REASONING, "the reasoning at the beginning has no end")
    is_reasoning = closed is not None and (opened is None or begins or closed.start() < opened.start())
    return text[closed.end() :] if closed is not None and is_reasoning else text


_OPENING = re.compile(REASONING_END.pattern.replace("</", "<"), re.IGNORECASE)
