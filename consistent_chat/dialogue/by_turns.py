"""Makes one dialogue with one request per message: each answer comes from the real chat, without JSON or instructions.

The user's messages are written at once before the first answer (`users: at_once`), or one by one, each after the answer
to the one before it (`users: turn_by_turn`). Then a dialogue may end early, within the recipe's range of turns.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import NamedTuple

from consistent_chat.dialogue import message, prompts
from consistent_chat.dialogue.bill import Bill
from consistent_chat.dialogue.message import UserMessage
from consistent_chat.dialogue.skeleton import user_messages
from consistent_chat.dialogue.work import (
    ANSWER_TOKENS,
    FRAME_TOKENS,
    SKELETON_TOKENS,
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
        made = work.dialogue(talk.users, talk.answers, (*first, *talk.keys, *third), judgement)
        if work.accepts(made):
            return work.finished(made)
        draw = talk.draw


class _Talk(NamedTuple):
    """The messages of both sides, the keys of their requests, and the draw of the first answer."""

    users: tuple[str, ...]
    answers: tuple[str, ...]
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
    for turn in range(spec.shape.turns):
        if turn < len(known):
            said = known[turn]
        else:
            said, key = yield from _next_message(work, users, answers)
            keys.append(key)
        users.append(said.text)
        prompt, read = _chat(recipe, spec, users, answers), _answer(users, answers, spec, recipe)
        answer, key, drawn = yield from work.ask(_answering(recipe), prompt, read, 0 if turn else draw)
        answers.append(answer)
        keys.append(key)
        draw = draw if turn else drawn
        if said.ends and turn + 1 >= least:
            break
    return _Talk(tuple(users), tuple(answers), tuple(keys), draw)


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


def _chat(recipe: Recipe, spec: Spec, users: Sequence[str], answers: Sequence[str]) -> Prompt:
    """Return the chat so far, whose last message is the user's, with the system text of its assistant."""
    chat: list[Mapping[str, str]] = []
    for number, text in enumerate(users):
        chat.append({"role": "user", "content": text})
        if number < len(answers):
            chat.append({"role": "assistant", "content": answers[number]})
    system, instructions = spec.system_prompt(recipe.system_prompt), spec.instructions(recipe.instructions, "answers")
    return prompts.chat_system(spec, system, instructions), tuple(chat)


def _message(users: Sequence[str], spec: Spec, recipe: Recipe) -> Callable[[Response], UserMessage]:
    """Return a function that reads a response as the user's next message, and checks it beside those before it."""
    before = tuple(users)

    def read(response: Response) -> UserMessage:
        said = message.user_message(response)
        if not response.checked:
            from consistent_chat.dialogue import checks  # takes 0.1 s, and the first request does not need it

            checks.users((*before, said.text), spec, recipe)
        return said

    return read


def _answer(users: Sequence[str], answers: Sequence[str], spec: Spec, recipe: Recipe) -> Callable[[Response], str]:
    """Return a function that reads a response as the next answer, and checks it beside those before it."""
    asked, before, source = tuple(users), tuple(answers), spec.given_text(recipe.system_prompt)

    def read(response: Response) -> str:
        text = message.answer(response)
        if not response.checked:
            from consistent_chat.dialogue import checks

            checks.answers((*before, text), asked, recipe, source)
        return text

    return read
