"""Shared by all ways of making a dialogue: its requests, the counts of draws and tokens, and the dialogue itself."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from consistent_chat.dialogue import judge, prompts
from consistent_chat.dialogue.judge import CRITERIA, FAULT, SIDES, Judgement, Opinion
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.plan.cards import Spec
from consistent_chat.prices import NO_TOKENS, Tokens, billed
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.review import Mark
from consistent_chat.request import Request, Response, Schema

OF_USERS = ("skeleton", "user_message")
"""The stages of the user's side, which a separate model may write."""


class Bill:
    """Adds up billed tokens by model: the writer's, each judge's, a user_model's, those of other answers of pairs."""

    def __init__(self, has_user_model: bool = False) -> None:
        self._has_user_model = has_user_model
        self.written, self.judged, self.users = NO_TOKENS, NO_TOKENS, NO_TOKENS
        self.by_judge: dict[str, Tokens] = {}
        self.alternatives: dict[str, Tokens] = {}

    def add(self, response: Response, stage: str, model: str = "") -> None:
        """Add a response of a stage. `model` is the judge, or the model of the other answer of a pair."""
        self._add(billed(response), stage, model)

    def add_draw(self, draw: FailedDraw) -> None:
        """Add an unusable draw; for a dropped dialogue, add all its billed tokens."""
        self.add(draw.response, draw.stage, draw.model)
        for stage, model, tokens in draw.others:
            self._add(tokens, stage, model)

    def _add(self, tokens: Tokens, stage: str, model: str) -> None:
        if stage == "judge":
            self.judged = self.judged.plus(tokens)
            self.by_judge[model] = self.by_judge.get(model, NO_TOKENS).plus(tokens)
        elif stage == ALTERNATIVE:
            self.alternatives[model] = self.alternatives.get(model, NO_TOKENS).plus(tokens)
        elif self._has_user_model and stage in OF_USERS:
            self.users = self.users.plus(tokens)
        else:
            self.written = self.written.plus(tokens)

    @property
    def tokens(self) -> tuple[Tokens, Tokens]:
        """The billed tokens of the writer and of all judges."""
        return self.written, self.judged


SKELETON_TOKENS = 256
ANSWER_TOKENS = 1024
FRAME_TOKENS = 1024
CRITERION_TOKENS = 256
"""Token limits for a user message, an answer, the text around them, and a criterion's reason with its score.

They are several times as high as what models usually write.
"""

ALTERNATIVE_REPEATS = 1_000_000
"""Added to the repeat of a request for each alternative to the first answers; no combination is used more often."""
JUDGE = "judge"
"""The name of the third stage."""
ALTERNATIVE = "alternative"
"""The name of the stage of pairs: another answer to a turn that has one already."""

T = TypeVar("T")
Prompt = tuple[str, str | tuple[Mapping[str, str], ...]]
"""A system text, with one user message or all messages of a chat."""
Render = Callable[[], "tuple[str, str]"]
"""Returns a system text and one user message, when they are needed."""


class OutOfDraws(Exception):
    """A driver throws this into a dialogue instead of a response: the request will not be sent again."""


class FailedDraw(NamedTuple):
    """An unusable response: its spec, stage ("skeleton", "answers", "judge"), draw, and reason.

    A score that is too low is recorded as the last judge's response, although the answers are drawn again. `model` is
    the model that was called, "" if unknown. For a dropped dialogue, `others` are the billed tokens of its other
    stages, as (stage, model, tokens).
    """

    spec: Spec
    stage: str
    draw: int
    key: str
    reason: Reason
    detail: str
    response: Response
    model: str = ""
    others: tuple[tuple[str, str, Tokens], ...] = ()

    def __str__(self) -> str:
        where = f"dialogue {self.spec.index}, {self.stage}, draw {self.draw}"
        substitute = f", substitute {self.spec.substitute}" if self.spec.substitute else ""
        return f"{where}{substitute}: {self.reason.value} ({self.detail})"


class Pair(NamedTuple):
    """Two answers to one turn (from 0) of a dialogue, after the same messages: text, mean score, reason and model.

    `is_own_better` tells whether the chosen answer is the dialogue's own; None if neither is clearly better. `keys` are
    the keys of the request for the other answer and of the two comparisons.
    """

    turn: int
    chosen: tuple[str, float, str, str]
    rejected: tuple[str, float, str, str]
    is_own_better: bool | None
    keys: tuple[str, ...]


class Dialogue(NamedTuple):
    """A finished dialogue: user messages and the same number of answers, in order.

    `keys` are the request keys of its responses, one per stage. `draws` counts all responses for its spec; the token
    counts are their sums (0 if the provider gave no counts). `failed` lists the unusable responses so far, including
    those of specs given up before. `judgement` is None without a judge. `reasoning` is the model's reasoning before the
    answers if the recipe asks for it, else empty. `billed` has the billed tokens of the writer's and the judge's
    responses at its position, including those of specs given up before; the other counts are as the providers report
    them. `billed_users` has the tokens of a user_model, `billed_judges` those of each judge by model if there are
    several, and `billed_alternatives` those of the other answers of pairs by model; comparisons are included in those
    of the first judge. `rejected` lists the dialogues at its position that were judged below `min_score`, in order;
    most have the same user messages, but those of specs given up before may have different ones. `alternatives` are
    dialogues with other answers to the same user messages that scored lower, from the best to the worst. `pair` is the
    pair made from this dialogue, if the recipe has preferences. `thoughts` has the reasoning before each answer, if
    answers were made one by one. `mark` is a reviewer's mark, and `edited` has the names of the messages that the
    review changed.
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
    billed_judges: tuple[tuple[str, Tokens], ...] = ()
    pair: Pair | None = None
    thoughts: tuple[str, ...] = ()
    alternatives: tuple[Dialogue, ...] = ()
    billed_alternatives: tuple[tuple[str, Tokens], ...] = ()

    @property
    def scores(self) -> dict[str, int]:
        """The judges' scores by criterion; empty without a judge."""
        return {} if self.judgement is None else self.judgement.scores


Steps = Generator[Request, Response, Dialogue]


class SpecFailed(Exception):
    """No dialogue can be made from this spec."""


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
    judge_tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    low: list[FailedDraw] = field(default_factory=list)
    """The scores that were too low since the last decision about answers."""

    def ask(
        self,
        stage: Stage,
        prompt: Prompt | Render,
        read: Callable[[Response], T],
        beginning: int = 0,
        alternative: int = 0,
    ) -> Generator[Request, Response, tuple[T, str, int]]:
        """Draw until an answer is usable. Return the parsed answer, the key of its request, and its draw.

        Draws are counted separately for each alternative to the first answer.
        """
        widened = 0
        for draw in itertools.count(beginning):
            request = self._request(stage, prompt, draw, widened, alternative)
            try:
                response = yield request
            except OutOfDraws:
                raise SpecFailed from None
            self._count(response, stage)
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
        """Have a dialogue scored. Return the judgement (None without judges) and the keys of the judges' requests."""
        if not self.recipe.judges:
            return None, ()
        recipe, system = self.recipe, self.spec.system_prompt(self.recipe.system_prompt)
        return (
            yield from self.scored(prompts.judge(self.spec, users, answers, recipe.language, system, recipe.rubric))
        )

    def scored(self, prompt: Prompt) -> Generator[Request, Response, tuple[Judgement, tuple[str, ...]]]:
        """Ask the recipe's judges one after the other. Return the judgement and the keys of their requests.

        Low scores are recorded as failures only if the answers are not accepted.
        """
        recipe, rubric = self.recipe, self.recipe.rubric
        names, said, keys = CRITERIA if rubric is None else rubric.names, list[Response](), list[str]()

        def read(response: Response) -> tuple[Any, str]:
            said.append(response)
            return judge.read(response, names, rubric is not None)

        opinions = list[Opinion]()
        for model in recipe.judges:
            tokens_in, tokens_out = self.judge_tokens.get(model, (0, 0))
            tokens_in, tokens_out = tokens_in - self.input_tokens, tokens_out - self.output_tokens
            (scores, fault), key, draw = yield from self.ask(judging(model, names, rubric is not None), prompt, read)
            taken = self.judge_tokens[model] = tokens_in + self.input_tokens, tokens_out + self.output_tokens
            opinions.append(Opinion(model, scores, fault, *taken))
            keys.append(key)
        judgement = Judgement(names, tuple(opinions), rubric)
        if is_low(judgement, recipe):
            low = (keys[-1], Reason.LOW_SCORE, judgement.worst, said[-1], opinions[-1].model)
            self.low.append(FailedDraw(self.spec, JUDGE, draw, *low))
        return judgement, tuple(keys)

    def accepts(self, made: Dialogue, others: Sequence[Dialogue] = ()) -> bool:
        """Return whether a dialogue's scores are high enough; if not, append it and the worse ones to `rejected`.

        In that case their low scores are recorded as failures. If one dialogue passes, the low scores of the others are
        not failures, because nothing is requested again. Raises SpecFailed if the user messages are at fault, since
        other answers would not help. This does not apply to given messages.
        """
        low, self.low = self.low, []
        if not is_low(made.judgement, self.recipe):
            return True
        self.failed.extend(low)
        self.rejected += [made, *others]
        if made.judgement is not None and made.judgement.fault == "user" and not self.spec.given_messages:
            raise SpecFailed
        return False

    def ranked(self, made: Sequence[Dialogue]) -> list[Dialogue]:
        """Return dialogues from the best to the worst by their scores. The first has the counts of all of them."""

        def rank(one: Dialogue) -> tuple[bool, float]:
            return not is_low(one.judgement, self.recipe), 0.0 if one.judgement is None else one.judgement.score

        if len(made) == 1:
            return [*made]
        best, *others = sorted(made, key=rank, reverse=True)
        if others and best.judgement is not None:
            opinions = (Opinion(*one[:3], *self.judge_tokens[one.model]) for one in best.judgement.opinions)
            best = best._replace(
                draws=self.draws,
                input_tokens=self.input_tokens,
                output_tokens=self.output_tokens,
                judgement=replace(best.judgement, opinions=tuple(opinions)),
            )
        return [best, *others]

    def dialogue(
        self,
        users: Sequence[str],
        answers: Sequence[str],
        keys: Sequence[str],
        judgement: Judgement | None,
        reasoning: str = "",
    ) -> Dialogue:
        """Return a dialogue with the counts of all draws so far."""
        taken = (self.draws, self.input_tokens, self.output_tokens)
        return Dialogue(self.spec, tuple(users), tuple(answers), tuple(keys), *taken, (), judgement, reasoning)

    def finished(self, made: Dialogue, others: Sequence[Dialogue] = ()) -> Dialogue:
        """Return the dialogue with all failures before it, and with the billed tokens of all of them."""
        bill, judges = self.bill, self.recipe.judges if len(self.recipe.judges) > 1 else ()
        return made._replace(
            failed=tuple(self.failed),
            billed=bill.tokens,
            rejected=tuple(self.rejected),
            billed_users=bill.users,
            billed_judges=tuple([(model, bill.by_judge.get(model, NO_TOKENS)) for model in judges]),
            billed_alternatives=tuple(bill.alternatives.items()),
            alternatives=tuple(others) or made.alternatives,
        )

    def _count(self, response: Response, stage: Stage) -> None:
        self.draws += 1
        self.input_tokens += response.input_tokens or 0
        self.output_tokens += response.output_tokens or 0
        self.bill.add(response, stage.name, stage.model)

    def _fail(self, stage: Stage, request: Request, error: Unusable, response: Response) -> None:
        why = (error.reason, error.detail, response, stage.model)
        self.failed.append(FailedDraw(self.spec, stage.name, request.draw, request.key, *why))

    def _request(self, stage: Stage, prompt: Prompt | Render, draw: int, widened: int, alternative: int) -> Request:
        fields: dict[str, Any] = {
            "model": stage.model,
            "temperature": stage.temperature,
            "schema": stage.schema,
            "seed": self.recipe.seed,
            "repeat": self.spec.repeat + alternative * ALTERNATIVE_REPEATS,
            "draw": draw,
            "max_tokens": stage.max_tokens << min(widened, 3),
            "stage": stage.name,
        }
        if callable(prompt):
            return Request.rendered_later(prompt, fields)
        system, said = prompt
        messages = ({"role": "user", "content": said},) if isinstance(said, str) else said
        return Request(system=system, messages=messages, **fields)


class Stage(NamedTuple):
    """The properties that all requests of a stage share."""

    name: str
    model: str
    temperature: float
    schema: Schema | None
    max_tokens: int


def is_low(judgement: Judgement | None, recipe: Recipe) -> bool:
    """Return whether a dialogue's scores are below the minimum score of the recipe or of one of its criteria."""
    if judgement is None:
        return False
    return bool(judgement.missed) or (recipe.min_score is not None and judgement.score < recipe.min_score)


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


def judging(model: str, criteria: tuple[str, ...] = CRITERIA, with_fault: bool = False) -> Stage:
    """Return a judge's stage.

    The temperature is 0, so that the same dialogue gets the same scores if the model is deterministic.
    """
    limit = FRAME_TOKENS + CRITERION_TOKENS * max(0, len(criteria) - len(CRITERIA))
    return Stage(JUDGE, model, 0.0, _scores_schema(criteria, with_fault), limit)


@functools.lru_cache(maxsize=16)
def _scores_schema(criteria: tuple[str, ...], with_fault: bool) -> Schema:
    score = {"type": "integer", "enum": [1, 2, 3, 4, 5]}
    pairs = (((f"{name}_reason", {"type": "string"}), (name, score)) for name in criteria)
    fault = {FAULT: {"type": "string", "enum": list(SIDES)}} if with_fault else {}
    return answer_schema({**dict(itertools.chain.from_iterable(pairs)), **fault})
