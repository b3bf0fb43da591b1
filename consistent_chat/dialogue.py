"""How one dialogue is made, as a plain generator: it yields a Request, is sent a Response, returns a Dialogue.

It knows prompts and parsing. It knows no network, clock, file or store: those are a driver's.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

from consistent_chat import parse, prompts
from consistent_chat.errors import UnfilledSlot
from consistent_chat.parse import Reason, Unusable
from consistent_chat.plan import MAX_STAND_INS, MAX_SUBSTITUTES, Plan, Spec
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response, Schema

SKELETON_TOKENS = 256
ANSWER_TOKENS = 1024
FRAME_TOKENS = 1024
"""Limits of tokens for a user message, an answer, and around them: several times what models usually write."""


STAGES = {"user": "skeleton", "assistant": "answers"}
"""What a stage is called, by whose messages it writes."""


class OutOfDraws(Exception):
    """Thrown into a dialogue by its driver instead of a response: this request will not be asked again."""


class FailedDraw(NamedTuple):
    """A response that was of no use: to which spec, at which stage ("skeleton" or "answers") and draw, and why."""

    spec: Spec
    stage: str
    draw: int
    key: str
    reason: Reason
    detail: str
    response: Response

    def __str__(self) -> str:
        where = f"dialogue {self.spec.index}, {self.stage}, draw {self.draw}"
        substitute = f", substitute {self.spec.substitute}" if self.spec.substitute else ""
        return f"{where}{substitute}: {self.reason.value} ({self.detail})"


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


def fill(recipe: Recipe, plan: Plan, index: int, failed: list[FailedDraw] | None = None, first: int = 0) -> Steps:
    """Make the dialogue for one place in the plan, passing to its substitutes where a spec fails for good.

    `first` is the substitute to begin with, where those before it were given up already; near-duplicates among them, of
    which `failed` tells, do not count as failures of a spec. Unusable answers are appended to `failed` as they come.
    Raises UnfilledSlot when the substitutes are used up too.
    """
    failed = [] if failed is None else failed
    dropped = sum(draw.reason is Reason.NEAR_DUPLICATE for draw in failed)
    beyond = MAX_SUBSTITUTES + dropped + 1 if dropped <= MAX_STAND_INS else first
    for substitute in range(first, beyond):
        try:
            return (yield from converse(recipe, plan.spec(index, substitute), failed))
        except _SpecFailed:
            continue
    reasons = ", ".join(f"{draw.reason.value} ({draw.detail})" for draw in failed[-3:])
    raise UnfilledSlot(
        f"Dialogue {index} could not be made: {beyond} specs failed, {len(failed)} unusable answers, "
        f"the last: {reasons}. Look at what {recipe.model!r} answers; {_advice(failed)}"
    )


def _advice(failed: list[FailedDraw]) -> str:
    if failed and failed[-1].reason is Reason.NEAR_DUPLICATE:
        return "it repeats itself: try a higher temperature, a larger taxonomy or a higher drop_near_duplicates."
    return "try another model or a higher max_draws."


def converse(recipe: Recipe, spec: Spec, failed: list[FailedDraw]) -> Steps:
    """Make one spec's dialogue in two stages; append unusable draws to `failed`."""
    turns, language = recipe.num_turns_per_dialog, recipe.language
    work = _Work(recipe, spec, failed)
    users, first = yield from work.ask("user", prompts.skeleton(spec, turns, language))
    answers, second = yield from work.ask("assistant", prompts.answers(spec, users, language, recipe.system_prompt))
    return Dialogue(
        spec, users, answers, (first, second), work.draws, work.input_tokens, work.output_tokens, tuple(failed)
    )


class _SpecFailed(Exception):
    """The spec will not become a dialogue."""


@dataclass
class _Work:
    """One spec on its way to a dialogue, and what its responses have taken so far."""

    recipe: Recipe
    spec: Spec
    failed: list[FailedDraw]
    draws: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def ask(self, role: str, prompt: tuple[str, str]) -> Generator[Request, Response, tuple[tuple[str, ...], str]]:
        """Ask for the messages of a role until an answer is usable; return them and the key of its request."""
        names, widened = _names(role, self.recipe.num_turns_per_dialog), 0
        for draw in itertools.count():
            request = self._request(role, prompt, draw, widened)
            try:
                response = yield request
            except OutOfDraws:
                raise _SpecFailed from None
            self._count(response)
            try:
                return parse.messages(response, names), request.key
            except Unusable as error:
                self.failed.append(
                    FailedDraw(self.spec, STAGES[role], draw, request.key, error.reason, error.detail, response)
                )
                if error.reason is Reason.REFUSED:
                    raise _SpecFailed from None
                widened += error.reason is Reason.TRUNCATED
        raise AssertionError("unreachable: draws are counted without end")

    def _count(self, response: Response) -> None:
        self.draws += 1
        self.input_tokens += response.input_tokens or 0
        self.output_tokens += response.output_tokens or 0

    def _request(self, role: str, prompt: tuple[str, str], draw: int, widened: int) -> Request:
        system, user = prompt
        turns = self.recipe.num_turns_per_dialog
        tokens = FRAME_TOKENS + turns * (SKELETON_TOKENS if role == "user" else ANSWER_TOKENS)
        return Request(
            model=self.recipe.model or "",
            system=system,
            messages=({"role": "user", "content": user},),
            temperature=self.recipe.temperature,
            schema=_schema(role, turns),
            seed=self.recipe.seed,
            repeat=self.spec.repeat,
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
