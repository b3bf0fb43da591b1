"""Makes dialogues with DataFlow's prompt objects, and reads the formats of answers that these request.

    build_prompt(mode="query", num_dialogs_per_intent=n)         all skeletons' prompts
    build_prompt(mode="response", topic=category, queries=turns) the prompt for one dialogue's answers

A skeleton is `{"category": ..., "turns": [...]}`, answers are `[{"response": ...}, ...]`, alone or as `responses`.
Such an object draws its own topics, from Python's `random`: seeded here, so that the same recipe gets the same.
"""

from __future__ import annotations

import functools
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from string import Template
from typing import Any, TypeVar

from consistent_chat.dialogue import parse
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.dialogue.work import (
    ANSWER_TOKENS,
    FRAME_TOKENS,
    SKELETON_TOKENS,
    Dialogue,
    FailedDraw,
    OutOfDraws,
    Steps,
)
from consistent_chat.errors import RecipeError, UnfilledSlot
from consistent_chat.plan.cards import MAX_SUBSTITUTES, Spec
from consistent_chat.plan.shape import NO_SHAPE
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import Flow, Intent
from consistent_chat.request import Request, Response, Schema

T = TypeVar("T")

_TEXT = {"type": "string"}
SKELETON_SCHEMA = Schema(
    {
        "type": "object",
        "properties": {"category": _TEXT, "turns": {"type": "array", "items": _TEXT}},
        "required": ["category", "turns"],
        "additionalProperties": False,
    }
)
ANSWERS_SCHEMA = Schema(
    {
        "type": "object",
        "properties": {
            "responses": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"response": _TEXT},
                    "required": ["response"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["responses"],
        "additionalProperties": False,
    }
)
SCHEMAS = {"skeleton": SKELETON_SCHEMA, "answers": ANSWERS_SCHEMA}
OPENINGS = 200
"""Maximum brackets of an answer at which JSON is searched, so that hostile text takes bounded time."""
NOWHERE = Intent("", "", "", (), ())
NO_FLOW = Flow("", "", ())


class Templates:
    """The plan of a prompt object: `len` is its number of dialogues, `begin` makes one of them."""

    def __init__(self, template: Any, recipe: Recipe) -> None:
        self._template, self._recipe = template, recipe
        self._queries = _queries(template, recipe.num_dialogs_per_intent, f"{recipe.seed}")
        seen: Counter[str] = Counter()
        self._repeats = [_count(seen, query) for query in self._queries]

    def __len__(self) -> int:
        return len(self._queries)

    def begin(self, index: int, failed: list[FailedDraw], first: int = 0) -> Steps:
        """Make the dialogue at an index; a substitute replaces a prompt that fails after all draws.

        `first` is the substitute to begin with. Raises UnfilledSlot when the substitutes are used up too.
        """
        for substitute in range(first, MAX_SUBSTITUTES + 1):
            query, repeat = self._query(index, substitute)
            spec = Spec(index, substitute, repeat, NOWHERE, "", "", NO_FLOW, "", ("", ""), NO_SHAPE)
            try:
                return (yield from _Work(self._template, self._recipe, spec, failed).converse(query))
            except _Failed:
                continue
        raise UnfilledSlot(
            f"Dialogue {index} could not be made: {MAX_SUBSTITUTES + 1} prompts, {len(failed)} unusable answers, "
            f"the last: {failed[-1] if failed else 'none'}. Look at what {self._recipe.model!r} answers; try another "
            "model or a higher max_draws."
        )

    def _query(self, index: int, substitute: int) -> tuple[str, int]:
        """Return a prompt and its repeat, the number of earlier draws; substitutes have unique numbers below 0."""
        if not substitute:
            return self._queries[index], self._repeats[index]
        spare = _queries(self._template, 1, f"{self._recipe.seed} {index} {substitute}")
        return spare[index * len(spare) // len(self)], -(index * MAX_SUBSTITUTES + substitute)


class _Failed(Exception):
    """No draw of the prompt gives a dialogue."""


@dataclass
class _Work:
    """A prompt in progress."""

    template: Any
    recipe: Recipe
    spec: Spec
    failed: list[FailedDraw]
    draws: int = 0

    def converse(self, query: str) -> Steps:
        turns = self.recipe.most_turns
        read = self._ask("skeleton", query, turns * SKELETON_TOKENS, lambda said: skeleton(said, turns))
        (category, users), first = yield from read
        prompt = _built(self.template, mode="response", topic=category, queries=list(users))
        if not isinstance(prompt, str):
            raise _wrong(self.template, "response", "text", prompt)
        read_answers = self._ask("answers", prompt, turns * ANSWER_TOKENS, lambda said: answers(said, turns))
        replies, second = yield from read_answers
        spec = replace(self.spec, category=category)
        return Dialogue(spec, users, replies, (first, second), self.draws, 0, 0, tuple(self.failed))

    def _ask(
        self, stage: str, prompt: str, tokens: int, read: Callable[[Response], T]
    ) -> Generator[Request, Response, tuple[T, str]]:
        """Draw until an answer is usable; return the parsed answer and its request's key."""
        for draw in itertools.count():
            request = self._request(stage, prompt, FRAME_TOKENS + tokens, draw)
            try:
                response = yield request
            except OutOfDraws:
                raise _Failed from None
            self.draws += 1
            try:
                return read(response), request.key
            except Unusable as error:
                self.failed.append(
                    FailedDraw(self.spec, stage, draw, request.key, error.reason, error.detail, response)
                )
                if error.reason is Reason.REFUSED:
                    raise _Failed from None
        raise AssertionError("unreachable: the loop has no end")

    def _request(self, stage: str, prompt: str, tokens: int, draw: int) -> Request:
        recipe, spec = self.recipe, self.spec
        # Two skeletons may be the same, word for word, and still each has its own answers.
        repeat = spec.repeat if stage == "skeleton" or spec.substitute else spec.index
        return Request(
            model=recipe.model or "",
            system=_system(stage, recipe.most_turns, spec.language or recipe.language),
            messages=({"role": "user", "content": prompt},),
            temperature=recipe.temperature,
            schema=SCHEMAS[stage],
            seed=recipe.seed,
            repeat=repeat,
            draw=draw,
            max_tokens=tokens,
            stage=stage,
        )


def skeleton(response: Response, turns: int) -> tuple[str, tuple[str, ...]]:
    """Return the category and the user messages of a skeleton. Raises Unusable.

    If there are more turns than requested, the first ones are used, because the object's own prompt may demand more,
    and no turn has been answered yet.
    """
    found = _found(response, lambda value: isinstance(value, dict) and isinstance(value.get("turns"), list))
    (category,) = _texts(response, [found.get("category")], "category")
    return category, _texts(response, found["turns"][:turns], "user", turns)


def answers(response: Response, turns: int) -> tuple[str, ...]:
    """Return the answers of a dialogue, in exactly the requested number. Raises Unusable."""
    found = _found(response, lambda value: isinstance(_listed(value), list))
    said = [item.get("response") if isinstance(item, dict) else item for item in _listed(found)]
    return _texts(response, said, "assistant", turns)


def _listed(value: Any) -> Any:
    """Return the list of answers: the value of `responses`, or the only value of an object."""
    if not isinstance(value, dict):
        return value
    return value.get("responses", next(iter(value.values())) if len(value) == 1 else None)


def _found(response: Response, fits: Callable[[Any], bool]) -> Any:
    """Return the first JSON in an answer with the expected shape."""
    if response.finish in ("refusal", "length"):
        parse.messages(response, ("",))  # which says so
    values = list(_values(response.text.rpartition("</think>")[2]))
    for value in values:
        if fits(value):
            return value
    if values:
        raise Unusable(Reason.WRONG_SHAPE, f"{type(values[0]).__name__} of another shape than requested")
    raise Unusable(Reason.NO_JSON, f"no JSON in {len(response.text)} characters")


def _values(text: str) -> Iterator[Any]:
    """Yield the outermost JSON objects and lists in a text."""
    end = 0
    for opening in itertools.islice(re.finditer(r"[{\[]", text), OPENINGS):
        if opening.start() < end:
            continue
        try:
            value, end = _DECODER.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            continue
        if value:
            yield value


def _texts(response: Response, texts: Sequence[Any], stem: str, count: int = 1) -> tuple[str, ...]:
    """Return the texts of messages. Raises Unusable for a wrong number, an empty message or a value that is no text."""
    names = tuple(f"{stem}_{number}" for number in range(1, count + 1))
    if len(texts) != count:
        raise Unusable(Reason.WRONG_TURN_COUNT, f"{len(texts)} messages instead of {count}")
    return parse.messages(replace(response, text=json.dumps(dict(zip(names, texts)))), names)


@functools.lru_cache(maxsize=16)
def _system(stage: str, turns: int, language: str) -> str:
    """Return the system text, which sets the number of turns: the object's own text requests another number."""
    text = resources.files("consistent_chat.dataflow").joinpath(f"{stage}.system.txt").read_text("utf-8").strip()
    return Template(text).substitute(turns=turns, language=language)


def _queries(template: Any, number: int, seed: str) -> list[str]:
    state = random.getstate()
    random.seed(f"consistent_chat {seed}")
    try:
        queries = _built(template, mode="query", num_dialogs_per_intent=number)
    finally:
        random.setstate(state)
    if not isinstance(queries, (list, tuple)) or not queries or not all(isinstance(query, str) for query in queries):
        raise _wrong(template, "query", "a list of texts", queries)
    return list(queries)


def _built(template: Any, **given: Any) -> Any:
    try:
        return template.build_prompt(**given)
    except Exception as error:
        raise RecipeError(
            f"{type(template).__name__}.build_prompt(mode={given['mode']!r}, ...) failed with {type(error).__name__}: "
            f"{error}. A prompt_template takes the arguments of DataFlow's ConsistentChatPrompt."
        ) from error


def _wrong(template: Any, mode: str, wanted: str, given: Any) -> RecipeError:
    name, kind = type(template).__name__, type(given).__name__
    return RecipeError(f"{name}.build_prompt(mode={mode!r}, ...) must return {wanted}, not {kind}.")


def _count(seen: Counter[str], item: str) -> int:
    seen[item] += 1
    return seen[item] - 1


_DECODER = json.JSONDecoder(strict=False)  # which takes raw line breaks inside strings
