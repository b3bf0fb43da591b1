"""Makes one dialogue, as a plain generator: it yields Requests, receives Responses and returns a Dialogue.

It uses prompts and parsing, but no network, clock, file or store: those belong to a driver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from consistent_chat.dialogue import by_turns, parse, prompts
from consistent_chat.dialogue.dropped import dropped
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.dialogue.preference import paired
from consistent_chat.dialogue.reasoning import reasoning
from consistent_chat.dialogue.skeleton import message_names, texts_schema, user_messages
from consistent_chat.dialogue.work import (
    ANSWER_TOKENS,
    FRAME_TOKENS,
    Bill,
    Dialogue,
    FailedDraw,
    SpecFailed,
    Stage,
    Steps,
    Work,
)
from consistent_chat.errors import UnfilledSlot
from consistent_chat.plan.cards import MAX_STAND_INS, MAX_SUBSTITUTES, Spec
from consistent_chat.plan.plan import Plan
from consistent_chat.prices import NO_TOKENS, billed
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.review import Mark, Review
from consistent_chat.recipe.template import RenderError
from consistent_chat.request import Response


def fill(recipe: Recipe, plan: Plan, index: int, failed: list[FailedDraw] | None = None, first: int = 0) -> Steps:
    """Make the dialogue for one position in the plan. If its spec fails permanently, try the spec's substitutes.

    `first` is the substitute to start with, if earlier ones were already given up. Near-duplicates among those, which
    `failed` lists, do not count as failed specs. Unusable answers are appended to `failed` as they arrive. Raises
    UnfilledSlot if all substitutes fail, too.
    """
    failed = [] if failed is None else failed
    unrendered: RenderError | None = None
    rejected: list[Dialogue] = []
    bill = Bill(has_user_model=recipe.user_model is not None)
    for draw in failed:
        bill.add_draw(draw)
    make = converse if recipe.answers == "at_once" else by_turns.converse
    substitute = first
    while substitute < (beyond := _beyond(failed, first)):
        try:
            spec = plan.spec(index, substitute)
            spoken = recipe.languages.get(spec.language, recipe)
            _render(spec, spoken)
            made = yield from make(spoken, spec, failed, bill, rejected)
            made = reviewed(made, recipe.loaded_review, failed)
            if recipe.preferences is None:
                return made
            return (yield from paired(Work(spoken, made.spec, failed, bill, rejected), made))
        except SpecFailed:
            unrendered = None
        except RenderError as error:  # a substitute may have a persona or attributes with which it can be rendered
            unrendered = error
        substitute += 1
    if unrendered is not None:
        advice = "" if recipe.seeds is None else " Or remove its row from the seeds."
        raise UnfilledSlot(f"{plan.spec(index).title} could not be made: {unrendered}{advice}")
    reasons = ", ".join(f"{draw.reason.value} ({draw.detail})" for draw in failed[-3:])
    raise UnfilledSlot(
        f"{plan.spec(index).title} could not be made: {beyond} specs failed, {len(failed)} unusable answers, "
        f"the last: {reasons}. Look at what {recipe.model!r} answers; {_advice(failed)}"
    )


def is_plain(recipe: Recipe) -> bool:
    """Return whether each dialogue has one request for the user messages and one for the answers, and nothing else."""
    extras = (recipe.seeds, recipe.judge_model, recipe.user_model, recipe.preferences, recipe.loaded_review)
    is_at_once = (recipe.users, recipe.answers, recipe.num_answers) == ("at_once", "at_once", 1)
    return is_at_once and not recipe.judges and all(extra is None for extra in extras)


def recorded(
    recipe: Recipe, plan: Plan, index: int, keys: Sequence[str], responses: Sequence[Response]
) -> Dialogue | None:
    """Return what `fill` returns for a plain recipe if these responses, which passed the checks, are for these keys.

    Return None if `fill` would send another request. It makes no requests, which is half of the work of a replay.
    """
    if len(responses) != 2:  # user messages and answers
        return None
    spec = plan.spec(index)
    recipe = recipe.languages.get(spec.language, recipe)
    first, second = responses
    try:
        _render(spec, recipe)
        users = parse.messages(first, message_names("user", spec.added_turns))
        names = message_names("assistant", len(users))
        answers = parse.messages(second, names)
    except (Unusable, RenderError):
        return None
    tokens_in = (first.input_tokens or 0) + (second.input_tokens or 0)
    tokens_out = (first.output_tokens or 0) + (second.output_tokens or 0)
    thought = reasoning(second, names) if recipe.reasoning else ""
    bill = NO_TOKENS.plus(billed(first)).plus(billed(second)), NO_TOKENS
    return Dialogue(spec, users, answers, tuple(keys), 2, tokens_in, tokens_out, (), None, thought, bill)


def _render(spec: Spec, recipe: Recipe) -> None:
    """Raise RenderError before the first request of a spec, so that no message is paid for in vain."""
    spec.system_prompt(recipe.system_prompt)
    for side in recipe.instructions or ():
        spec.instructions(recipe.instructions, side)


def _beyond(failed: list[FailedDraw], first: int) -> int:
    """Return the first substitute that exceeds the limit. Dropped dialogues do not count as failed specs."""
    if not failed:  # as nearly always
        return MAX_SUBSTITUTES + 1
    dropped = sum(draw.reason in (Reason.NEAR_DUPLICATE, Reason.REJECTED) for draw in failed)
    return MAX_SUBSTITUTES + dropped + 1 if dropped <= MAX_STAND_INS else first


def _advice(failed: list[FailedDraw]) -> str:
    if failed and failed[-1].reason is Reason.NEAR_DUPLICATE:
        return "it repeats itself: try a higher temperature, a larger taxonomy or a higher drop_near_duplicates."
    if failed and failed[-1].reason is Reason.NO_PREFERENCE:
        return "the judge prefers neither of two: try another judge, another rejected_model or a lower min_gap."
    return "try another model or a higher max_draws."


def converse(
    recipe: Recipe, spec: Spec, failed: list[FailedDraw], bill: Bill, rejected: list[Dialogue] | None = None
) -> Steps:
    """Make the dialogue of one spec in two stages, or three with a judge; append unusable draws to `failed`.

    The messages of a given conversation are kept; if it needs no further user messages, the first stage is skipped.
    Answers that the judge scores too low are drawn again for the same user messages, and the dialogues with the low
    scores are appended to `rejected`. If several sets of answers are drawn, the one with the best scores is used.
    """
    system = spec.system_prompt(recipe.system_prompt)
    work = Work(recipe, spec, failed, bill, [] if rejected is None else rejected)
    users, first = yield from user_messages(work)
    given = spec.given_answers
    writing, read = _writing(recipe, len(users) - len(given)), _answers(users[len(given) :], spec, recipe)
    instructions = spec.instructions(recipe.instructions, "answers")
    prompt = partial(prompts.answers, spec, users, recipe.language, system, instructions)
    draws = [-1] * recipe.num_answers
    while True:
        made: list[Dialogue] = []
        for number, draw in enumerate(draws):
            (written, thought), second, draws[number] = yield from work.ask(writing, prompt, read, draw + 1, number)
            answers = (*given, *written)
            judgement, third = yield from work.judge(users, answers)
            made.append(work.dialogue(users, answers, (*first, second, *third), judgement, thought))
        best, *others = work.ranked(made)
        if work.accepts(best, others):
            return work.finished(best, others)


def _writing(recipe: Recipe, turns: int) -> Stage:
    names = message_names("assistant", turns)
    return Stage(
        "answers", recipe.model or "", recipe.temperature, texts_schema(names), FRAME_TOKENS + turns * ANSWER_TOKENS
    )


def _answers(users: tuple[str, ...], spec: Spec, recipe: Recipe) -> Callable[[Response], tuple[tuple[str, ...], str]]:
    """Return a function that reads a response as the answers, with the model's reasoning if the recipe asks for it."""
    names, source = message_names("assistant", len(users)), spec.given_text(recipe.system_prompt)

    def read(response: Response) -> tuple[tuple[str, ...], str]:
        messages = parse.messages(response, names)
        if not response.checked:
            from consistent_chat.dialogue import checks

            checks.answers(messages, users, recipe, source)
        return messages, reasoning(response, names) if recipe.reasoning else ""

    return read


def reviewed(dialogue: Dialogue, review: Review | None, failed: list[FailedDraw]) -> Dialogue:
    """Return a dialogue with the edits of its mark.

    If the mark rejects it, add the reason to `failed` and raise SpecFailed.
    """
    mark = None if review is None else review.of(_key(dialogue))
    if mark is None:
        return dialogue
    if mark.verdict == "reject":
        failed.append(dropped(dialogue, "answers", _key(dialogue), Reason.REJECTED, mark.reason, dialogue.answers))
        raise SpecFailed
    return _edited(dialogue, mark)._replace(mark=mark)


def _key(dialogue: Dialogue) -> str:
    """Return the key of the last answers. It is unique to the dialogue; keys of judge requests may change later."""
    judges = 0 if dialogue.judgement is None else len(dialogue.judgement.opinions)
    return dialogue.keys[-1 - judges]


def _edited(dialogue: Dialogue, mark: Mark) -> Dialogue:
    """Return a dialogue with the edited messages; edits of turns that it does not have are left out."""
    sides = {"user": list(dialogue.user_messages), "assistant": list(dialogue.answers)}
    edited = []
    for name, text in mark.edits:
        role, _, turn = name.partition("_")
        if int(turn) <= len(sides[role]):
            sides[role][int(turn) - 1] = text
            edited.append(name)
    users, answers = map(tuple, sides.values())
    return dialogue._replace(user_messages=users, answers=answers, edited=tuple(edited))
