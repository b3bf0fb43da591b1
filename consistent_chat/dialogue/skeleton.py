"""Gets all user messages of a dialogue with one request; those of a given conversation need no request."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator

from consistent_chat.dialogue import parse, prompts
from consistent_chat.dialogue.work import FRAME_TOKENS, SKELETON_TOKENS, Stage, Work, answer_schema
from consistent_chat.plan.cards import Spec
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response, Schema


def user_messages(work: Work) -> Generator[Request, Response, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the user messages of a spec and the key of their request; given messages have no request."""
    recipe, spec = work.recipe, work.spec
    if spec.given_messages and not spec.added_turns:
        return spec.given_messages, ()
    names = message_names("user", spec.added_turns)
    limit = FRAME_TOKENS + len(names) * SKELETON_TOKENS
    stage = Stage("skeleton", recipe.user_writer, recipe.temperature, texts_schema(names), limit)
    prompt = functools.partial(prompts.skeleton, spec, recipe.language, spec.instructions(recipe.instructions, "users"))
    users, key, _ = yield from work.ask(stage, prompt, _read(names, spec, recipe))
    return (*spec.given_messages, *users), (key,)


def _read(names: tuple[str, ...], spec: Spec, recipe: Recipe) -> Callable[[Response], tuple[str, ...]]:
    def read(response: Response) -> tuple[str, ...]:
        messages = parse.messages(response, names)
        if not response.checked:
            from consistent_chat.dialogue import checks  # takes 0.1 s, and the first request does not need it

            checks.users(messages, spec, recipe)
        return messages

    return read


@functools.lru_cache(maxsize=64)
def message_names(role: str, turns: int) -> tuple[str, ...]:
    """Return the names of the messages of a role: "user_1", "user_2", and so on."""
    return tuple(f"{role}_{number}" for number in range(1, turns + 1))


@functools.lru_cache(maxsize=64)
def texts_schema(names: tuple[str, ...]) -> Schema:
    """Return the JSON schema of an answer with one required text per turn, so that the schema fixes their number."""
    return answer_schema({name: {"type": "string"} for name in names})
