"""What a build will take, told before it is paid for: calls, tokens, US dollars.

The prompts are rendered as the build will render them. How many tokens they have, how long the answers are and how
often one is asked again is measured on what is recorded; where nothing is, the paper's mean lengths stand in. A pilot
of a few dialogues measures, and costs nothing extra: the build finds them recorded.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consistent_chat.dialogue.at_once import Dialogue, OutOfDraws, Steps, fill
from consistent_chat.drivers.replay import replay_until_missing
from consistent_chat.errors import UnfilledSlot
from consistent_chat.plan.plan import Plan
from consistent_chat.prices import price_of
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.serving.batches import DISCOUNT as BATCH_DISCOUNT
from consistent_chat.store import ResponseStore

WORDS = {"skeleton": 19.8, "answers": 59.3, "judge": 12.0}
"""By stage, in their order: mean words of a user message and of an answer, the middle of the ranges that the
ConsistentChat paper (arXiv 2506.03558) reports over its nine intents, 18.7-20.8 and 55.6-62.9; and what a judge says,
of which half are scores and half reasons of about 25 words."""
CHARACTERS_PER_WORD, TOKENS_PER_WORD, TOKENS_PER_CHARACTER = 5.7, 1.35, 0.24
"""English text, with its spaces, in the tokenizers of the day."""
ROLES = {"skeleton": "user", "answers": "assistant"}
"""Whose messages a stage writes."""
FRAME_TOKENS = 8
"""Tokens of JSON around each message."""
LOOKED_AT = 5_000
"""Places of a plan that are looked at, at the most; the others are taken to be like them."""


@dataclass
class Stage:
    """One stage's recorded answers, unusable ones too: of how many the tokens are known, and how many those are."""

    finished: int = 0
    answers: int = 0
    counted: int = 0
    asked_characters: int = 0
    said_characters: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, request: Request, response: Response) -> None:
        """Count an answer."""
        self.answers += 1
        if response.input_tokens is not None and response.output_tokens is not None:
            self.counted += 1
            self.asked_characters += _characters(request)
            self.said_characters += len(response.text)
            self.input_tokens += response.input_tokens
            self.output_tokens += response.output_tokens

    def asked(self, request: Request) -> tuple[float, float, float]:
        """Return the calls, and the tokens in and out, that it will likely take until a request is answered usably."""
        draws = max(1.0, self.answers / self.finished) if self.finished else 1.0
        per_character = self.input_tokens / self.asked_characters if self.counted else TOKENS_PER_CHARACTER
        output = self.output_tokens / self.counted if self.counted else _usual_tokens(request)
        return draws, draws * per_character * _characters(request), draws * output


@dataclass(frozen=True)
class Estimate:
    """What is still to be done for a plan of `dialogues`. `measured` answers were recorded; costs are in US dollars."""

    model: str
    dialogues: int
    missing: int
    calls: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    measured: int

    def __str__(self) -> str:
        recorded = f"{self.dialogues:,} dialogues, {self.dialogues - self.missing:,} of them recorded"
        if not self.missing:
            return f"{recorded}: nothing is left to do"
        basis = f"measured on {self.measured:,} recorded answers" if self.measured else _ASSUMED
        cost = f"no price is known for {self.model!r}"
        if self.cost is not None:
            cost = f"${self.cost:,.4f}, as a batch ${self.cost * BATCH_DISCOUNT:,.4f}"
        return (
            f"{recorded}\n"
            f"to do: {self.calls:,} calls, {self.input_tokens:,} tokens in, {self.output_tokens:,} tokens out\n"
            f"cost: {cost}\n"
            f"basis: {basis}"
        )


def estimate(recipe: Recipe, plan: Plan, store: ResponseStore) -> Estimate:
    """Return what the dialogues of a plan that the store lacks will take. Raises StoreError."""
    step = max(1, -(-len(plan) // LOOKED_AT))
    looked_at = [index for index in range(len(plan)) if (index + index // step) % step == 0]
    stages = {name: Stage() for name in WORDS}
    walks = [_walk(recipe, plan, index, store, stages) for index in looked_at]
    missing = [walk for walk in walks if walk is not None]
    made_up = {name: _made_up(name, stages[name], recipe.num_turns_per_dialog) for name in ROLES}
    asked = [request for walk in missing for request in _requests(*walk, made_up)]
    expected = [(request.model, *stages[request.stage].asked(request)) for request in asked]
    scale = len(plan) / len(looked_at)
    _, calls, tokens_in, tokens_out = _sum(expected, scale)
    costs = [_cost(model, [row for row in expected if row[0] == model], scale) for model in _models(recipe)]
    return Estimate(
        model=next((model for model in _models(recipe) if price_of(model) is None), recipe.model or ""),
        dialogues=len(plan),
        missing=round(scale * len(missing)),
        calls=calls,
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        measured=sum(stage.counted for stage in stages.values()),
    )


def _walk(
    recipe: Recipe, plan: Plan, index: int, store: ResponseStore, stages: dict[str, Stage]
) -> tuple[Steps, Request] | None:
    """Go through a dialogue's recorded answers; return it with the first request that has none, or None at its end."""
    steps = fill(recipe, plan, index)
    request = next(steps)
    try:
        while (response := store.find(request)) is not None or _is_given_up(request, recipe, plan, index, store):
            if response is None:
                request = steps.throw(OutOfDraws())
                continue
            stages[request.stage].add(request, response)
            request = steps.send(response)
    except StopIteration:
        _finish(stages, tuple(stages))
        return None
    _finish(stages, tuple(stages)[: tuple(stages).index(request.stage)])
    return steps, request


def _is_given_up(request: Request, recipe: Recipe, plan: Plan, index: int, store: ResponseStore) -> bool:
    """Tell whether a request is not recorded since its spec was given up, and another one finished."""
    if not request.draw:
        return False
    try:
        replayed = replay_until_missing(fill(recipe, plan, index), None, store.find, lambda asked: asked.draw < 1)
    except UnfilledSlot:
        return False
    return isinstance(replayed, Dialogue)


def _finish(stages: dict[str, Stage], names: Iterable[str]) -> None:
    for name in names:
        stages[name].finished += 1


def _made_up(name: str, stage: Stage, turns: int) -> Response:
    """Return messages of about the length that such have: numbers, in which no check finds anything."""
    usual = WORDS[name] * CHARACTERS_PER_WORD
    length = max(1, round(stage.said_characters / stage.counted / turns if stage.counted else usual))
    texts = {f"{ROLES[name]}_{turn}": (f"{turn} " * length)[:length] for turn in range(1, turns + 1)}
    return Response(json.dumps(texts))


def _requests(steps: Steps, request: Request, made_up: dict[str, Response]) -> list[Request]:
    """Return what is still to be asked if every answer is usable."""
    requests = [request]
    with contextlib.suppress(StopIteration):
        while (stage := requests[-1].stage) in made_up:
            requests.append(steps.send(made_up[stage]))
    return requests


def _sum(expected: Iterable[tuple[str, float, float, float]], scale: float) -> tuple[str, int, int, int]:
    """Return what all the requests take together."""
    _, *columns = zip(("", 0, 0, 0), *expected)
    calls, tokens_in, tokens_out = (round(scale * sum(column)) for column in columns)
    return "", calls, tokens_in, tokens_out


def _cost(model: str, expected: Iterable[tuple[str, float, float, float]], scale: float) -> float | None:
    price, (*_, tokens_in, tokens_out) = price_of(model), _sum(expected, scale)
    return None if price is None else price.of(tokens_in, tokens_out)


def _models(recipe: Recipe) -> list[str]:
    """Return the models that are called: the writer, and the judge if it is another."""
    return list(dict.fromkeys(model for model in (recipe.model or "", recipe.judge_model) if model is not None))


def _names(request: Request) -> Sequence[str]:
    names: Sequence[str] = request.schema["required"]
    return names


def _characters(request: Request) -> int:
    return len(request.system) + sum(len(message["content"]) for message in request.messages)


def _usual_tokens(request: Request) -> float:
    return len(_names(request)) * (WORDS[request.stage] * TOKENS_PER_WORD + FRAME_TOKENS)


_ASSUMED = "the prompts' lengths, and the mean lengths of the paper's messages; --pilot measures instead"
