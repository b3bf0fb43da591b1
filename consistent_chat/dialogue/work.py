"""What all forms of making a dialogue share: its requests, the count of what they took, and the dialogue itself."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from consistent_chat.dialogue import parse, prompts
from consistent_chat.dialogue.bill import Bill
from consistent_chat.dialogue.judge import CRITERIA, Judgement
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.plan.cards import Spec
from consistent_chat.prices import NO_TOKENS, Tokens
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.review import Mark
from consistent_chat.request import Request, Response, Schema

SKELETON_TOKENS = 256
ANSWER_TOKENS = 1024
FRAME_TOKENS = 1024
"""Token limits for a user message, an answer, and the text around them: several times what models usually write."""

JUDGE = "judge"
"""The name of the third stage."""

T = TypeVar("T")
Prompt = tuple[str, str | tuple[Mapping[str, str], ...]]
"""A system text with the one message of a user, or with all messages of a chat."""


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
    `billed_users` is the same of a user_model's. `rejected` lists the dialogues at its place that were judged below
    `min_score`, in order: many have the same user messages, those of specs given up before may have others.
    `mark` is what a review says of it, and `edited` are the names of the messages that the review has changed.
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
    billed_users: Tokens = NO_TOKENS
    mark: Mark | None = None
    edited: tuple[str, ...] = ()

    @property
    def scores(self) -> dict[str, int]:
        """The judge's scores by criterion; empty without a judge."""
        return {} if self.judgement is None else {name: getattr(self.judgement, name) for name in CRITERIA}


Steps = Generator[Request, Response, Dialogue]


class SpecFailed(Exception):
    """The spec will not become a dialogue."""


@dataclass
class Work:
    """A spec in progress, with the counts of its responses so far."""

    recipe: Recipe
    spec: Spec
    failed: list[FailedDraw]
    bill: Bill
    rejected: list[Dialogue]
    draws: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    judge_tokens: tuple[int, int] = (0, 0)

    def ask(
        self, stage: Stage, prompt: Prompt, read: Callable[[Response], T], beginning: int = 0
    ) -> Generator[Request, Response, tuple[T, str, int]]:
        """Draw until an answer is usable; return the parsed answer, the key of its request, and its draw."""
        widened = 0
        for draw in itertools.count(beginning):
            request = self._request(stage, prompt, draw, widened)
            try:
                response = yield request
            except OutOfDraws:
                raise SpecFailed from None
            self._count(response, stage.name)
            try:
                return read(response), request.key, draw
            except Unusable as error:
                self._fail(stage, request, error, response)
                if error.reason is Reason.REFUSED:
                    raise SpecFailed from None
                widened += error.reason is Reason.TRUNCATED
        raise AssertionError("unreachable: the loop has no end")

    def judge(
        self, users: Sequence[str], answers: Sequence[str]
    ) -> Generator[Request, Response, tuple[Judgement | None, tuple[str, ...]]]:
        """Ask the judge, if there is one; return what it says and the key of its request.

        A score that is too low is noted as a failure of the answers.
        """
        if self.recipe.judge_model is None:
            return None, ()
        system, stage = self.spec.system_prompt(self.recipe.system_prompt), _judging(self.recipe.judge_model)
        said: list[Response] = []

        def read(response: Response) -> tuple[tuple[int, str], ...]:
            said.append(response)
            return parse.scores(response, CRITERIA)

        (judge_in, judge_out), tokens_in, tokens_out = self.judge_tokens, self.input_tokens, self.output_tokens
        prompt = prompts.judge(self.spec, users, answers, self.recipe.language, system)
        scores, key, draw = yield from self.ask(stage, prompt, read)
        self.judge_tokens = judge_in + self.input_tokens - tokens_in, judge_out + self.output_tokens - tokens_out
        judgement = Judgement.of(scores, stage.model, self.judge_tokens)
        if is_low(judgement, self.recipe):
            low = Unusable(Reason.LOW_SCORE, judgement.worst)
            self.failed.append(FailedDraw(self.spec, stage.name, draw, key, low.reason, low.detail, said[-1]))
        return judgement, (key,)

    def dialogue(
        self,
        users: Sequence[str],
        answers: Sequence[str],
        keys: Sequence[str],
        judgement: Judgement | None,
        reasoning: str = "",
    ) -> Dialogue:
        """Return a dialogue with the counts of all that it took so far."""
        taken = (self.draws, self.input_tokens, self.output_tokens)
        return Dialogue(self.spec, tuple(users), tuple(answers), tuple(keys), *taken, (), judgement, reasoning)

    def finished(self, made: Dialogue) -> Dialogue:
        """Return the dialogue with what failed on the way to it, and what all of that is billed for."""
        billed, users = self.bill.tokens, self.bill.users
        failed, rejected = tuple(self.failed), tuple(self.rejected)
        return made._replace(failed=failed, billed=billed, rejected=rejected, billed_users=users)

    def _count(self, response: Response, stage: str) -> None:
        self.draws += 1
        self.input_tokens += response.input_tokens or 0
        self.output_tokens += response.output_tokens or 0
        self.bill.add(response, stage)

    def _fail(self, stage: Stage, request: Request, error: Unusable, response: Response) -> None:
        self.failed.append(
            FailedDraw(self.spec, stage.name, request.draw, request.key, error.reason, error.detail, response)
        )

    def _request(self, stage: Stage, prompt: Prompt, draw: int, widened: int) -> Request:
        system, said = prompt
        return Request(
            model=stage.model,
            system=system,
            messages=({"role": "user", "content": said},) if isinstance(said, str) else said,
            temperature=stage.temperature,
            schema=stage.schema,
            seed=self.recipe.seed,
            repeat=self.spec.repeat,
            draw=draw,
            max_tokens=stage.max_tokens << min(widened, 3),
            stage=stage.name,
        )


class Stage(NamedTuple):
    """What the requests of a stage have in common."""

    name: str
    model: str
    temperature: float
    schema: Schema | None
    max_tokens: int


def is_low(judgement: Judgement | None, recipe: Recipe) -> bool:
    """Tell whether the judge scores a dialogue below the least score of the recipe."""
    return judgement is not None and recipe.min_score is not None and judgement.score < recipe.min_score


def answer_schema(properties: dict[str, Any]) -> Schema:
    """Return the schema of an object with exactly these properties."""
    return Schema(
        {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    )


def _judging(model: str) -> Stage:
    """Return the judge's stage.

    At a temperature of 0 the same dialogue gets the same scores, as far as the model is deterministic.
    """
    return Stage(JUDGE, model, 0.0, _scores_schema(), FRAME_TOKENS)


@functools.lru_cache(maxsize=1)
def _scores_schema() -> Schema:
    score = {"type": "integer", "enum": [1, 2, 3, 4, 5]}
    pairs = (((f"{name}_reason", {"type": "string"}), (name, score)) for name in CRITERIA)
    return answer_schema(dict(itertools.chain.from_iterable(pairs)))
