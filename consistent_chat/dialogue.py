"""How one dialogue is made, as a plain generator: it yields a Request, is sent a Response, returns a Dialogue.

It knows prompts and parsing. It knows no network, clock, file or store: those are a driver's.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consistent_chat import parse, prompts
from consistent_chat.errors import UnfilledSlot
from consistent_chat.parse import Reason, Unusable
from consistent_chat.plan import MAX_SUBSTITUTES, Plan, Spec
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response, Schema

SKELETON_TOKENS = 256
ANSWER_TOKENS = 1024
FRAME_TOKENS = 1024
"""Limits of tokens for a user message, an answer, and around them: several times what models usually write."""


class OutOfDraws(Exception):
    """Thrown into a dialogue by its driver instead of a response: this request will not be asked again."""


@dataclass(frozen=True)
class FailedDraw:
    """A response that was of no use: the request's key, why, and what was found."""

    key: str
    reason: Reason
    detail: str


class Dialogue(NamedTuple):
    """A finished dialogue: as many answers as user messages, in order.

    `keys` are the request keys of the two responses it is made of; `draws` counts all responses that its spec
    took, and the tokens are theirs (0 where the provider gave no count). `failed` lists the unusable responses
    on the way here, of specs given up before this one too.
    """

    spec: Spec
    user_messages: tuple[str, ...]
    answers: tuple[str, ...]
    keys: tuple[str, str]
    draws: int
    input_tokens: int
    output_tokens: int
    failed: tuple[FailedDraw, ...]


Steps = Generator[Request, Response, Dialogue]


def fill(recipe: Recipe, plan: Plan, index: int, failed: list[FailedDraw] | None = None) -> Steps:
    """Make the dialogue for one place in the plan, passing to its substitutes where a spec fails for good.

    Unusable answers are appended to `failed` as they come. Raises UnfilledSlot when the substitutes are used up too.
    """
    failed = [] if failed is None else failed
    for substitute in range(MAX_SUBSTITUTES + 1):
        try:
            return (yield from converse(recipe, plan.spec(index, substitute), failed))
        except _SpecFailed:
            continue
    reasons = ", ".join(f"{draw.reason.value} ({draw.detail})" for draw in failed[-3:])
    raise UnfilledSlot(
        f"Dialogue {index} could not be made: {MAX_SUBSTITUTES + 1} specs failed, {len(failed)} unusable answers, "
        f"the last: {reasons}. Look at what {recipe.model!r} answers; try another model or a higher max_draws."
    )


def converse(recipe: Recipe, spec: Spec, failed: list[FailedDraw]) -> Steps:
    """Make one spec's dialogue in two stages; append unusable draws to `failed`."""
    tally = _Tally()
    turns = recipe.num_turns_per_dialog

    skeleton = functools.partial(_request, recipe, spec, "user", prompts.skeleton(spec, turns, recipe.language))
    users, first = yield from _stage(skeleton, _names("user", turns), failed, tally)

    answering = functools.partial(_request, recipe, spec, "assistant", prompts.answers(spec, users, recipe.language))
    answers, second = yield from _stage(answering, _names("assistant", turns), failed, tally)

    return Dialogue(
        spec, users, answers, (first, second), tally.draws, tally.input_tokens, tally.output_tokens, tuple(failed)
    )


def _stage(
    request_of: Callable[[int, int], Request], names: Sequence[str], failed: list[FailedDraw], tally: _Tally
) -> Generator[Request, Response, tuple[tuple[str, ...], str]]:
    """Ask until an answer is usable; return its messages and the key of its request."""
    widened = 0
    for draw in itertools.count():
        request = request_of(draw, widened)
        try:
            response = yield request
        except OutOfDraws:
            raise _SpecFailed from None
        tally.add(response)
        try:
            return parse.messages(response, names), request.key
        except Unusable as error:
            failed.append(FailedDraw(request.key, error.reason, error.detail))
            if error.reason is Reason.REFUSED:
                raise _SpecFailed from None
            widened += error.reason is Reason.TRUNCATED
    raise AssertionError("unreachable: draws are counted without end")


def _request(recipe: Recipe, spec: Spec, role: str, prompt: tuple[str, str], draw: int, widened: int) -> Request:
    system, user = prompt
    turns = recipe.num_turns_per_dialog
    tokens = FRAME_TOKENS + turns * (SKELETON_TOKENS if role == "user" else ANSWER_TOKENS)
    return Request(
        model=recipe.model or "",
        system=system,
        messages=({"role": "user", "content": user},),
        temperature=recipe.temperature,
        schema=_schema(role, turns),
        seed=recipe.seed,
        repeat=spec.repeat,
        draw=draw,
        max_tokens=tokens << min(widened, 3),
    )


@functools.lru_cache(maxsize=64)
def _names(role: str, turns: int) -> tuple[str, ...]:
    return tuple(f"{role}_{number}" for number in range(1, turns + 1))


@functools.lru_cache(maxsize=64)
def _schema(role: str, turns: int) -> Schema:
    """Return the JSON schema of an answer: one required text a turn, so that the schema fixes their number."""
    names = _names(role, turns)
    return Schema(
        {
            "type": "object",
            "properties": {name: {"type": "string"} for name in names},
            "required": list(names),
            "additionalProperties": False,
        }
    )


class _SpecFailed(Exception):
    """The spec will not become a dialogue."""


@dataclass
class _Tally:
    """What one spec's responses have taken so far."""

    draws: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, response: Response) -> None:
        self.draws += 1
        self.input_tokens += response.input_tokens or 0
        self.output_tokens += response.output_tokens or 0
