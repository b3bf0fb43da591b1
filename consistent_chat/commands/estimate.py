"""Estimates what a build will take before it is paid for: calls, tokens, US dollars.

The prompts are rendered as the build will render them. The tokens of prompts, the lengths of answers and the share of
retries are measured on recorded responses; without any, the lengths that the plan sets are used. A pilot of a few
dialogues measures, and costs nothing extra: the build finds them recorded.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial

from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import ALTERNATIVE, FailedDraw
from consistent_chat.drivers.limits import Limits
from consistent_chat.drivers.replay import Progress, walk
from consistent_chat.plan.plan import Plan
from consistent_chat.prices import NO_TOKENS, Tokens, billed, is_counted, price_of
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.serving.batches import DISCOUNT as BATCH_DISCOUNT
from consistent_chat.serving.rehearsal import compared
from consistent_chat.store import ResponseStore
from consistent_chat.text import Summarized

JUDGE_WORDS = 12.0
"""Mean words of a judge's answer: half of it scores, half reasons of about 25 words."""
USUAL_WORDS = 53.0
"""Words of a message whose length the plan does not set, as in given conversations: the built-in mean of answers."""
SHAPES = 500
"""Number of dialogues whose shapes determine the mean words of a message."""
CHARACTERS_PER_WORD, TOKENS_PER_WORD, TOKENS_PER_CHARACTER = 5.7, 1.35, 0.24
"""Characters per token of English text, including spaces, in current tokenizers."""
ROLES = {
    **{"skeleton": "user", "answers": "assistant", "user_message": "user", "answer": "assistant"},
    ALTERNATIVE: "assistant",
}
"""The role whose messages a stage writes."""
OF_TURNS = ("user_message", "answer", ALTERNATIVE)
"""The stages of a single message, which occur once per turn, or once for a pair."""
REPEATED = (*OF_TURNS, "judge")
"""The stages that may occur several times in a dialogue."""
OTHER = "0 "
"""The text of the placeholder for the other answer of a pair, which differs from all other placeholders."""
FRAME_TOKENS = 8
"""Tokens of JSON around each message."""
LOOKED_AT = 5_000
"""The maximum number of positions that are read in the recorded beginning of a plan and in the rest."""
GAP = 100
"""Consecutive unrecorded dialogues after which the recorded beginning of a plan counts as ended."""
DEVIATIONS = 2.0
"""Standard errors of the mean on each side of an estimate; the range contains 19 of 20 builds."""
UNMEASURED = 2.0
"""The factor on each side of an estimate if too few responses are recorded for a standard error."""


@dataclass
class Stage:
    """One stage's recorded answers, including unusable ones: the number of answers with token counts, and the sums.

    `words` is the mean number of words of a message that the plan sets.
    """

    words: float
    finished: int = 0
    answers: int = 0
    counted: int = 0
    asked_characters: int = 0
    said_characters: int = 0
    said_messages: int = 0
    tokens: Tokens = NO_TOKENS

    def add(self, request: Request, response: Response) -> None:
        """Count an answer."""
        self.answers += 1
        if is_counted(response):
            self.counted += 1
            self.asked_characters += _characters(request)
            self.said_characters += len(response.text)
            self.said_messages += _messages(request)
            self.tokens = self.tokens.plus(billed(response))

    def asked(self, request: Request, weight: float) -> tuple[float, Tokens]:
        """Return the expected calls until `weight` requests like this have usable answers, and their billed tokens.

        The shares of cached tokens and of reasoning tokens are those measured so far.
        """
        draws = weight * (max(1.0, self.answers / self.finished) if self.finished else 1.0)
        if not self.counted:
            usual = Tokens(TOKENS_PER_CHARACTER * _characters(request), self._usual_tokens(request))
            return draws, usual.times(draws)
        prompt = self.tokens.times(_characters(request) / self.asked_characters)
        mean = self.tokens.times(1 / self.counted)
        return draws, prompt._replace(output=mean.output, reasoning=mean.reasoning).times(draws)

    @property
    def characters_each(self) -> int:
        """The characters of a message."""
        usual = self.words * CHARACTERS_PER_WORD
        return max(1, round(self.said_characters / self.said_messages if self.said_messages else usual))

    def _usual_tokens(self, request: Request) -> float:
        return _messages(request) * (self.words * TOKENS_PER_WORD + FRAME_TOKENS)


@dataclass(frozen=True, repr=False)
class Estimate(Summarized):
    """What a plan of `dialogues` still needs. Costs are in US dollars, and probably within a factor `spread` of `cost`.

    The estimate is based on `measured` recorded answers whose tokens are known; `usable` of `recorded` answers were
    usable.
    """

    model: str
    dialogues: int
    missing: int
    calls: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    measured: int
    recorded: int = 0
    usable: int = 0
    spread: float = UNMEASURED

    def __str__(self) -> str:
        recorded = f"{self.dialogues:,} dialogues, {self.dialogues - self.missing:,} of them recorded"
        if not self.missing:
            return f"{recorded}: nothing left to do"
        basis = _ASSUMED
        if self.measured:
            basis = (
                f"measured on {self.measured:,} recorded answers; {self.usable:,} of all {self.recorded:,} were usable"
            )
        cost = f"no price is known for {self.model!r}"
        if self.cost is not None:
            low, high = self.cost / self.spread, self.cost * self.spread
            cost = (
                f"${self.cost:,.4f} (likely ${low:,.4f} to ${high:,.4f}), as a batch ${self.cost * BATCH_DISCOUNT:,.4f}"
            )
        return (
            f"{recorded}\n"
            f"to do: {self.calls:,} calls, {self.input_tokens:,} tokens in, {self.output_tokens:,} tokens out\n"
            f"cost: {cost}\n"
            f"basis: {basis}"
        )


def estimate(recipe: Recipe, plan: Plan, store: ResponseStore, max_draws: int = Limits.max_draws) -> Estimate:
    """Return an estimate for the dialogues of a plan that are not in the store. Raises StoreError."""
    failed: list[FailedDraw] = []
    go = partial(_walk_through, recipe, plan, store, max_draws, failed)
    head, tail, scale = _sampled(go, len(plan))
    stages = {name: Stage(words) for name, words in _usual_words(plan).items()}
    unusable = {draw.key for draw in failed}
    low = {draw.key for draw in failed if draw.reason is Reason.LOW_SCORE}
    repeated = (*REPEATED, *(("answers",) if recipe.num_answers > 1 else ()))
    for progress in (*head, *tail):
        _measure(progress, stages, unusable.union(_made_again(progress, low, unusable)), repeated)
    expected = [*_expected(head, stages, 1.0), *_expected(tail, stages, scale)]
    calls, tokens = _sum(expected)
    costs = [_cost(model, [row for row in expected if row[0] == model]) for model in recipe.models]
    missing = sum(map(_is_missing, head)) + round(scale * sum(map(_is_missing, tail)))
    recorded = sum(stage.answers for stage in stages.values())
    return Estimate(
        model=next((model for model in recipe.models if price_of(model) is None), recipe.model or ""),
        dialogues=len(plan),
        missing=missing,
        calls=calls,
        input_tokens=round(tokens.input),
        output_tokens=round(tokens.output),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        measured=sum(stage.counted for stage in stages.values()),
        recorded=recorded,
        usable=recorded - len(failed),
        spread=_spread([*head, *tail], missing),
    )


def _sampled(walk_to: Callable[[int], Progress], dialogues: int) -> tuple[list[Progress], list[Progress], float]:
    """Return the recorded beginning of a plan, a sample of the rest, and how many dialogues each sample represents."""
    head = list(_head(map(walk_to, range(min(dialogues, LOOKED_AT)))))
    rest = range(len(head), dialogues)
    step = max(1, -(-len(rest) // LOOKED_AT))
    tail = [walk_to(index) for index in rest if (index + index // step) % step == 0]
    return head, tail, len(rest) / len(tail) if tail else 1.0


def _expected(walks: Sequence[Progress], stages: Mapping[str, Stage], weight: float) -> list[tuple[str, float, Tokens]]:
    """Return model, expected calls and billed tokens of each request that incomplete dialogues still need."""
    placeholders: dict[str, Callable[[Request], Response]] = {
        name: partial(_placeholders, ROLES[name], stages[name].characters_each) for name in ROLES
    }
    placeholders["judge"] = _best_scores
    return [
        (request.model, *stages[request.stage].asked(request, weight))
        for progress in walks
        for request in _requests(progress, placeholders)
    ]


def _walk_through(
    recipe: Recipe, plan: Plan, store: ResponseStore, max_draws: int, failed: list[FailedDraw], index: int
) -> Progress:
    """Walk through one dialogue, and add its unusable draws to `failed`."""
    own: list[FailedDraw] = []
    progress = walk(partial(fill, recipe, plan, index), store, max_draws, own)
    used = {request.key for request, _ in progress.used}
    failed += [draw for draw in own if draw.key in used]
    return progress


def _head(walks: Iterable[Progress]) -> Iterator[Progress]:
    """Yield the recorded beginning of a plan, which pilots and stopped builds leave, and the gap after it."""
    gap = 0
    for progress in walks:
        yield progress
        gap = 0 if progress.used else gap + 1
        if gap == GAP:
            return


def _is_missing(progress: Progress) -> bool:
    return isinstance(progress.step, Request)


def _spread(walks: Sequence[Progress], missing: int) -> float:
    """Return the factor on each side of the estimate.

    It follows from the variation between whole dialogues of calls, input tokens or output tokens, whichever is largest,
    in the mean of the recorded dialogues and of the `missing` ones. One dialogue with one more draw than the mean is
    added (Laplace's rule of succession), because unusable draws can occur even if a small pilot had none.
    """
    whole: list[tuple[float, ...]] = [_taken(progress) for progress in walks if not _is_missing(progress)]
    if len(whole) < 2 or not missing:
        return UNMEASURED
    calls, *tokens = (statistics.fmean(column) for column in zip(*whole))
    whole.append((calls + 1, *(mean * (calls + 1) / calls for mean in tokens)))
    varied: float = max(statistics.stdev(column) / max(1.0, statistics.fmean(column)) for column in zip(*whole))
    error = DEVIATIONS * varied * math.sqrt(1 / len(whole) + 1 / missing)
    return min(UNMEASURED, 1 + error)


def _taken(progress: Progress) -> tuple[int, int, int]:
    """Return the calls, tokens in and tokens out of a recorded dialogue."""
    tokens = [billed(response) for _, response in progress.used]
    return len(tokens), int(sum(each.input for each in tokens)), int(sum(each.output for each in tokens))


def _measure(progress: Progress, stages: dict[str, Stage], unusable: Set[str], repeated: Sequence[str]) -> None:
    """Add the recorded responses of a dialogue, and count the stages that it has finished; repeated ones by request."""
    for request, response in progress.used:
        stages[request.stage].add(request, response)
        stages[request.stage].finished += request.stage in repeated and request.key not in unusable
    names = tuple(stages)
    for name in names[: names.index(progress.step.stage)] if isinstance(progress.step, Request) else names:
        stages[name].finished += name not in repeated


def _made_again(progress: Progress, low: Set[str], unusable: Set[str]) -> Iterator[str]:
    """Yield the keys of responses that are made again although they could be read.

    These are all from the first answer up to a score that was too low, and comparisons with an answer that was dropped.
    """
    made: list[str] = []
    other = ""
    for request, _ in progress.used:
        other = request.key if request.stage == ALTERNATIVE else other if request.stage == "judge" else ""
        if other in unusable:
            yield request.key
        if made or request.stage in ("answers", "answer"):
            made.append(request.key)
        if request.key in low:
            yield from made
            made.clear()


def _usual_words(plan: Plan) -> dict[str, float]:
    """Return the mean words of a message by stage, in order, as set by the shapes of a plan."""
    shapes = [plan[index].shape for index in range(0, len(plan), -(-len(plan) // SHAPES))]
    sizes = {
        "skeleton": [size.words for shape in shapes for size in shape.messages],
        "answers": [size.words for shape in shapes for size in shape.replies],
    }
    sizes |= {"user_message": sizes["skeleton"], "answer": sizes["answers"], ALTERNATIVE: sizes["answers"]}
    means = {name: statistics.fmean(words) if words else USUAL_WORDS for name, words in sizes.items()}
    return {**means, "judge": JUDGE_WORDS}


def _placeholders(role: str, length: int, request: Request) -> Response:
    """Return placeholder messages of a typical length, made of numbers. They count as checked."""
    if request.stage == ALTERNATIVE:
        said = (OTHER * length)[:length]
    elif request.stage in OF_TURNS:
        text = (f"{len(request.messages)} " * length)[:length]
        said = text if request.schema is None else json.dumps({"message": text, "ends": False})
    else:
        names = [name for name in request.fields if name.startswith(role)]
        said = json.dumps({name: (f"{number} " * length)[:length] for number, name in enumerate(names, 1)})
    return Response.of({"text": said}, checked=True)


def _best_scores(request: Request) -> Response:
    """Return the response of a judge who gives the best scores, and who prefers our own of two answers."""
    properties = (request.schema or {}).get("properties", {})
    best = {name: about.get("enum", ["-"])[-1] for name, about in properties.items()}
    return Response(json.dumps({**best, **compared(request, OTHER)}))


def _requests(progress: Progress, placeholders: Mapping[str, Callable[[Request], Response]]) -> list[Request]:
    """Return the requests that an incomplete dialogue still needs if every answer is usable."""
    if not isinstance(progress.step, Request):
        return []
    requests = [progress.step]
    with contextlib.suppress(StopIteration):
        while (stage := requests[-1].stage) in placeholders:
            requests.append(progress.steps.send(placeholders[stage](requests[-1])))
    return requests


def _sum(expected: Sequence[tuple[str, float, Tokens]]) -> tuple[int, Tokens]:
    """Return the calls of all the requests, and their billed tokens in total."""
    tokens = functools.reduce(Tokens.plus, (tokens for *_, tokens in expected), Tokens())
    return round(sum(calls for _, calls, _ in expected)), tokens


def _cost(model: str, expected: Sequence[tuple[str, float, Tokens]]) -> float | None:
    price = price_of(model)
    return None if price is None else price.of(_sum(expected)[1])


def _messages(request: Request) -> int:
    return 1 if request.stage in OF_TURNS else len(request.fields)


def _characters(request: Request) -> int:
    return len(request.system) + sum(len(message["content"]) for message in request.messages)


_ASSUMED = "the lengths of the prompts, and the lengths that the plan sets; --pilot measures instead"
