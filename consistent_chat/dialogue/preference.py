"""Makes a preference pair from a finished dialogue: one turn is answered again, and a judge compares both answers.

Both answers follow the same conversation, which is the prompt that trainers read. The judge compares the answers in
both orders, because judges are biased by position. Without a clear winner the turn is answered again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from consistent_chat.dialogue import by_turns, judge, prompts
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.dialogue.work import (
    ALTERNATIVE,
    ANSWER_TOKENS,
    FRAME_TOKENS,
    Dialogue,
    FailedDraw,
    Pair,
    Stage,
    Steps,
    Work,
    judging,
)
from consistent_chat.plan.cards import Spec
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response, canonical_json


def paired(work: Work, made: Dialogue) -> Steps:
    """Return a dialogue with its pair. Raises SpecFailed if no draw gives a clear winner."""
    recipe, spec, turn = work.recipe, made.spec, turn_of(made, work.recipe)
    users, before, own = made.user_messages[: turn + 1], made.answers[:turn], made.answers[turn]
    stage, prompt = _answering(recipe), by_turns.chat(recipe, spec, users, before)
    said, draw = list[Response](), -1
    read = _other_than(own, before, recipe, said)
    work.draws, work.input_tokens, work.output_tokens = made.draws, made.input_tokens, made.output_tokens
    while True:
        other, key, draw = yield from work.ask(stage, prompt, read, draw + 1)
        tokens = work.input_tokens, work.output_tokens
        verdict = yield from _compared(work, (users, before), (own, other))
        made = _judged_for(made, work.input_tokens - tokens[0], work.output_tokens - tokens[1])
        pair = _pair(recipe, turn, (own, other), (key, *verdict.keys), verdict, stage.model)
        why = _objection(pair, recipe, before, users, spec)
        if why is None:
            return work.finished(_with_counts(work, made)._replace(pair=pair))
        work.failed.append(FailedDraw(spec, stage.name, draw, key, why.reason, why.detail, said[-1], stage.model))


def turn_of(made: Dialogue, recipe: Recipe) -> int:
    """Return the turn, from 0, that a pair is made of: the last one, or one drawn by the dialogue's digest.

    Turns with given answers are excluded: the recipe's model did not write them.
    """
    spec, turns = made.spec, len(made.answers)
    if (recipe.preferences or {})["turn"] == "last":
        return turns - 1
    about = [recipe.seed, spec.repeat, spec.intent.key, spec.category, spec.topic, spec.flow.key, spec.persona]
    digest = hashlib.sha256(canonical_json([*about, *spec.manner])).digest()
    given = len(spec.given_answers)
    return given + int.from_bytes(digest[:8], "big") % (turns - given)


class _Verdict(NamedTuple):
    """The scores of our answer and the other one in both orders, the reasons in the first order, and the requests."""

    own: tuple[int, int]
    other: tuple[int, int]
    reasons: tuple[str, str]
    keys: tuple[str, str]

    @property
    def is_own_better(self) -> bool | None:
        """Whether our answer is better in both orders; None if the orders disagree or one of them is a tie."""
        signs = {(one > two) - (one < two) for one, two in zip(self.own, self.other)}
        return None if len(signs) > 1 or 0 in signs else 1 in signs


def _compared(
    work: Work, before: tuple[Sequence[str], Sequence[str]], answers: tuple[str, str]
) -> Generator[Request, Response, _Verdict]:
    """Ask the first judge to compare two answers, in both orders."""
    recipe, spec = work.recipe, work.spec

    def read(response: Response) -> Any:
        return judge.read(response, judge.PLACES)[0]

    stage, system = judging(recipe.judges[0], judge.PLACES), spec.system_prompt(recipe.system_prompt)
    prompt = prompts.comparison(spec, *before, answers, recipe.language, system)
    ((own, why), (other, why_other)), key, _ = yield from work.ask(stage, prompt, read)
    prompt = prompts.comparison(spec, *before, answers[::-1], recipe.language, system)
    ((other_first, _), (own_second, _)), turned, _ = yield from work.ask(stage, prompt, read)
    return _Verdict((own, own_second), (other, other_first), (why, why_other), (key, turned))


def _pair(
    recipe: Recipe, turn: int, answers: tuple[str, str], keys: tuple[str, ...], verdict: _Verdict, other_model: str
) -> Pair:
    own = (answers[0], sum(verdict.own) / 2, verdict.reasons[0], recipe.model or "")
    other = (answers[1], sum(verdict.other) / 2, verdict.reasons[1], other_model)
    chosen, rejected = (other, own) if verdict.is_own_better is False else (own, other)
    return Pair(turn, chosen, rejected, verdict.is_own_better, keys)


def _objection(pair: Pair, recipe: Recipe, before: Sequence[str], users: Sequence[str], spec: Spec) -> Unusable | None:
    """Return why a pair is unusable: it has no clear winner, or the winner does not pass the checks of answers."""
    least = (recipe.preferences or {})["min_gap"]
    gap = pair.chosen[1] - pair.rejected[1]
    if pair.is_own_better is None or gap < least:
        return Unusable(Reason.NO_PREFERENCE, f"scores {pair.chosen[1]:g} and {pair.rejected[1]:g} in both orders")
    if not pair.is_own_better:
        from consistent_chat.dialogue import checks

        try:
            checks.answers((*before, pair.chosen[0]), users, recipe, spec.given_text(recipe.system_prompt))
        except Unusable as error:
            return error
    return None


def _other_than(own: str, before: Sequence[str], recipe: Recipe, said: list[Response]) -> Callable[[Response], str]:
    """Return a function that reads a response, appended to `said`, as another answer than those compared so far.

    The answer may have flaws that the checks find, since most of these answers are rejected. The recipe's rules apply
    to all texts.
    """
    compared = {own}

    def read(response: Response) -> str:
        from consistent_chat.dialogue import checks

        said.append(response)
        text = by_turns.answer(response)
        if text in compared:
            raise Unusable(Reason.NO_PREFERENCE, "identical to an earlier answer")
        if not response.checked:
            checks.follow((*before, text), "answers", recipe)
        compared.add(text)
        return text

    return read


def _answering(recipe: Recipe) -> Stage:
    given = recipe.preferences or {}
    temperature = recipe.temperature if given["temperature"] is None else given["temperature"]
    return Stage(
        ALTERNATIVE, given["rejected_model"] or recipe.model or "", temperature, None, FRAME_TOKENS + ANSWER_TOKENS
    )


def _judged_for(made: Dialogue, tokens_in: int, tokens_out: int) -> Dialogue:
    """Return a dialogue with these tokens added to those of its first judge."""
    if made.judgement is None:
        return made
    first, *others = made.judgement.opinions
    more = first._replace(input_tokens=first.input_tokens + tokens_in, output_tokens=first.output_tokens + tokens_out)
    return made._replace(judgement=replace(made.judgement, opinions=(more, *others)))


def _with_counts(work: Work, made: Dialogue) -> Dialogue:
    return made._replace(draws=work.draws, input_tokens=work.input_tokens, output_tokens=work.output_tokens)
