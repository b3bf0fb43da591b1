"""Makes one dialogue, as a plain generator: it yields a Request, is sent a Response, returns a Dialogue.

It uses prompts and parsing, but no network, clock, file or store: those belong to a driver.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from consistent_chat.dialogue import parse, prompts
from consistent_chat.dialogue.bill import Bill
from consistent_chat.dialogue.judge import CRITERIA, Judgement
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.dialogue.reasoning import reasoning
from consistent_chat.errors import UnfilledSlot
from consistent_chat.plan.cards import MAX_STAND_INS, MAX_SUBSTITUTES, Spec
from consistent_chat.plan.plan import Plan
from consistent_chat.prices import NO_TOKENS, Tokens
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response, Schema

SKELETON_TOKENS = 256
ANSWER_TOKENS = 1024
FRAME_TOKENS = 1024
"""Token limits for a user message, an answer, and the text around them: several times what models usually write."""

JUDGE = "judge"
"""The name of the third stage."""

T = TypeVar("T")


class OutOfDraws(Exception):
    """Thrown into a dialogue by its driver instead of a response: this request will not be sent again."""


class FailedDraw(NamedTuple):
    """An unusable response: its spec, stage ("skeleton", "answers", "judge"), draw, and reason.

    A score that is too low is recorded as the judge's response, although the answers are drawn again.
    """

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

    `keys` are the request keys of its responses, one per stage; `draws` counts all responses of its spec, and the
    tokens are theirs (0 if the provider gave no count). `failed` lists the unusable responses so far, including those
    of specs given up before. `judgement` is the judge's, if there is one; `reasoning` is the model's reasoning before
    the answers if the recipe asks for it, else empty. `billed` is the billed tokens of all responses at its place, the
    writer's and the judge's, including those of specs given up before; the other counts are the providers' own.
    `rejected` lists the dialogues at its place that were judged below `min_score`, in order: most have the same user
    messages, those of specs given up before may have others.
    """

    spec: Spec
    user_messages: tuple[str, ...]
    answers: tuple[str, ...]
    keys: tuple[str, ...]
    draws: int
    input_tokens: int
    output_tokens: int
    failed: tuple[FailedDraw, ...]
    judgement: Judgement | None = None
    reasoning: str = ""
    billed: tuple[Tokens, Tokens] = (NO_TOKENS, NO_TOKENS)
    rejected: tuple[Dialogue, ...] = ()

    @property
    def scores(self) -> dict[str, int]:
        """The judge's scores by criterion; empty without a judge."""
        return {} if self.judgement is None else {name: getattr(self.judgement, name) for name in CRITERIA}


Steps = Generator[Request, Response, Dialogue]


def fill(recipe: Recipe, plan: Plan, index: int, failed: list[FailedDraw] | None = None, first: int = 0) -> Steps:
    """Make the dialogue for one place in the plan, passing to its substitutes if a spec fails for good.

    `first` is the substitute to begin with, if earlier ones were already given up; near-duplicates among them, which
    `failed` lists, do not count as failures of a spec. Unusable answers are appended to `failed` as they arrive. Raises
    UnfilledSlot if the substitutes are used up too.
    """
    failed = [] if failed is None else failed
    bill, rejected = Bill(), list[Dialogue]()
    for draw in failed:
        bill.add(draw.response, draw.stage == JUDGE)
    dropped = sum(draw.reason is Reason.NEAR_DUPLICATE for draw in failed)
    beyond = MAX_SUBSTITUTES + dropped + 1 if dropped <= MAX_STAND_INS else first
    for substitute in range(first, beyond):
        try:
            return (yield from converse(recipe, plan.spec(index, substitute), failed, bill, rejected))
        except _SpecFailed:
            continue
    reasons = ", ".join(f"{draw.reason.value} ({draw.detail})" for draw in failed[-3:])
    raise UnfilledSlot(
        f"{plan.spec(index).title} could not be made: {beyond} specs failed, {len(failed)} unusable answers, "
        f"the last: {reasons}. Look at what {recipe.model!r} answers; {_advice(failed)}"
    )


def _advice(failed: list[FailedDraw]) -> str:
    if failed and failed[-1].reason is Reason.NEAR_DUPLICATE:
        return "it repeats itself: try a higher temperature, a larger taxonomy or a higher drop_near_duplicates."
    return "try another model or a higher max_draws."


def converse(
    recipe: Recipe, spec: Spec, failed: list[FailedDraw], bill: Bill, rejected: list[Dialogue] | None = None
) -> Steps:
    """Make one spec's dialogue in two stages, or three if it is judged; append unusable draws to `failed`.

    The user messages of a given conversation are kept, without a first stage. Answers that the judge scores too low are
    drawn again, for the same user messages; the dialogues with them are appended to `rejected`.
    """
    language, turns, system = recipe.language, spec.shape.turns, spec.system_prompt(recipe.system_prompt)
    work = _Work(recipe, spec, failed, bill)
    skeleton, writing = (_writing(name, recipe, turns) for name in ("skeleton", "answers"))
    users, first = spec.given_messages, list[str]()
    if not users:
        users, *first = (yield from work.ask(skeleton, prompts.skeleton(spec, language), _users(spec, recipe)))[:2]
    prompt, read = prompts.answers(spec, users, language, system), _answers(users, spec, recipe)
    rejected = [] if rejected is None else rejected
    judgement, third, draw = None, list[str](), -1
    while True:
        (answers, thought), second, draw = yield from work.ask(writing, prompt, read, draw + 1)
        if recipe.judge_model is not None:
            shown = prompts.judge(spec, users, answers, language, system)
            judgement, *third = yield from work.judge(shown, _judging(recipe.judge_model))
        taken = (work.draws, work.input_tokens, work.output_tokens)
        made = Dialogue(spec, users, answers, (*first, second, *third), *taken, (), judgement, thought)
        if not _is_low(judgement, recipe):
            return made._replace(failed=tuple(failed), billed=bill.tokens, rejected=tuple(rejected))
        rejected.append(made)


class _SpecFailed(Exception):
    """The spec will not become a dialogue."""


@dataclass
class _Work:
    """A spec in progress, with the counts of its responses so far."""

    recipe: Recipe
    spec: Spec
    failed: list[FailedDraw]
    bill: Bill
    draws: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    judge_tokens: tuple[int, int] = (0, 0)

    def ask(
        self, stage: _Stage, prompt: tuple[str, str], read: Callable[[Response], T], beginning: int = 0
    ) -> Generator[Request, Response, tuple[T, str, int]]:
        """Draw until an answer is usable; return the parsed answer, the key of its request, and its draw."""
        widened = 0
        for draw in itertools.count(beginning):
            request = self._request(stage, prompt, draw, widened)
            try:
                response = yield request
            except OutOfDraws:
                raise _SpecFailed from None
            self._count(response, stage.name == JUDGE)
            try:
                return read(response), request.key, draw
            except Unusable as error:
                self._fail(stage, request, error, response)
                if error.reason is Reason.REFUSED:
                    raise _SpecFailed from None
                widened += error.reason is Reason.TRUNCATED
        raise AssertionError("unreachable: the loop has no end")

    def judge(self, prompt: tuple[str, str], stage: _Stage) -> Generator[Request, Response, tuple[Judgement, str]]:
        """Ask the judge, and record a score that is too low as a failure of the answers."""
        said: list[Response] = []

        def read(response: Response) -> tuple[tuple[int, str], ...]:
            said.append(response)
            return parse.scores(response, CRITERIA)

        (judge_in, judge_out), tokens_in, tokens_out = self.judge_tokens, self.input_tokens, self.output_tokens
        scores, key, draw = yield from self.ask(stage, prompt, read)
        self.judge_tokens = judge_in + self.input_tokens - tokens_in, judge_out + self.output_tokens - tokens_out
        judgement = Judgement.of(scores, stage.model, self.judge_tokens)
        if _is_low(judgement, self.recipe):
            low = Unusable(Reason.LOW_SCORE, judgement.worst)
            self.failed.append(FailedDraw(self.spec, stage.name, draw, key, low.reason, low.detail, said[-1]))
        return judgement, key

    def _count(self, response: Response, is_judge: bool) -> None:
        self.draws += 1
        self.input_tokens += response.input_tokens or 0
        self.output_tokens += response.output_tokens or 0
        self.bill.add(response, is_judge)

    def _fail(self, stage: _Stage, request: Request, error: Unusable, response: Response) -> None:
        self.failed.append(
            FailedDraw(self.spec, stage.name, request.draw, request.key, error.reason, error.detail, response)
        )

    def _request(self, stage: _Stage, prompt: tuple[str, str], draw: int, widened: int) -> Request:
        system, user = prompt
        return Request(
            model=stage.model,
            system=system,
            messages=({"role": "user", "content": user},),
            temperature=stage.temperature,
            schema=stage.schema,
            seed=self.recipe.seed,
            repeat=self.spec.repeat,
            draw=draw,
            max_tokens=stage.max_tokens << min(widened, 3),
            stage=stage.name,
        )


class _Stage(NamedTuple):
    """What the requests of a stage have in common."""

    name: str
    model: str
    temperature: float
    schema: Schema
    max_tokens: int


def _writing(name: str, recipe: Recipe, turns: int) -> _Stage:
    role, tokens = ("user", SKELETON_TOKENS) if name == "skeleton" else ("assistant", ANSWER_TOKENS)
    limit = FRAME_TOKENS + turns * tokens
    return _Stage(name, recipe.model or "", recipe.temperature, _schema(_names(role, turns)), limit)


def _judging(model: str) -> _Stage:
    """Return the judge's stage.

    At a temperature of 0 the same dialogue gets the same scores, as far as the model is deterministic.
    """
    return _Stage(JUDGE, model, 0.0, _scores_schema(), FRAME_TOKENS)


def _users(spec: Spec, recipe: Recipe) -> Callable[[Response], tuple[str, ...]]:
    def read(response: Response) -> tuple[str, ...]:
        messages = parse.messages(response, _names("user", spec.shape.turns))
        if not response.checked:
            from consistent_chat.dialogue import checks  # takes 0.1 s, and the first request does not need it

            checks.users(messages, spec, recipe)
        return messages

    return read


def _answers(users: tuple[str, ...], spec: Spec, recipe: Recipe) -> Callable[[Response], tuple[tuple[str, ...], str]]:
    """Return a function that reads a response as the answers, with the model's reasoning if the recipe asks for it."""
    names, source = _names("assistant", len(users)), spec.given_text(recipe.system_prompt)

    def read(response: Response) -> tuple[tuple[str, ...], str]:
        messages = parse.messages(response, names)
        if not response.checked:
            from consistent_chat.dialogue import checks

            checks.answers(messages, users, recipe, source)
        return messages, reasoning(response, names) if recipe.reasoning else ""

    return read


def _is_low(judgement: Judgement | None, recipe: Recipe) -> bool:
    return judgement is not None and recipe.min_score is not None and judgement.score < recipe.min_score


@functools.lru_cache(maxsize=64)
def _names(role: str, turns: int) -> tuple[str, ...]:
    return tuple(f"{role}_{number}" for number in range(1, turns + 1))


@functools.lru_cache(maxsize=64)
def _schema(names: tuple[str, ...]) -> Schema:
    """Return the JSON schema of an answer: one required text per turn, so that the schema fixes their number."""
    return _object({name: {"type": "string"} for name in names})


@functools.lru_cache(maxsize=1)
def _scores_schema() -> Schema:
    score = {"type": "integer", "enum": [1, 2, 3, 4, 5]}
    pairs = (((f"{name}_reason", {"type": "string"}), (name, score)) for name in CRITERIA)
    return _object(dict(itertools.chain.from_iterable(pairs)))


def _object(properties: dict[str, Any]) -> Schema:
    return Schema(
        {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    )
