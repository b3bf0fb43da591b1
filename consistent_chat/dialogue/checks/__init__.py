"""Finds faults of messages without a model.

Each finding has a name, a Reason of the parser. The checks are pure functions of the messages and the recipe's
thresholds: a replay has the same findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from consistent_chat.dialogue.checks import language as languages
from consistent_chat.dialogue.checks import letters, repeats, roles, rules, titles, voices
from consistent_chat.dialogue.checks.answers import broken_off, empty_courtesy, mentions_list
from consistent_chat.dialogue.checks.contaminated import contaminated
from consistent_chat.dialogue.checks.grounded import grounded
from consistent_chat.dialogue.checks.loops import loops
from consistent_chat.dialogue.checks.mixed_scripts import foreign_script
from consistent_chat.dialogue.checks.remains import leftovers, numbered, placeholder
from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.checks.signs import signs_of
from consistent_chat.dialogue.checks.users import answers_itself, leaks_prompt
from consistent_chat.dialogue.parse import Unusable
from consistent_chat.plan import Spec
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.fields import WITH_SOURCE
from consistent_chat.recipe.ngrams import Ngrams
from consistent_chat.recipe.rules import Rules

REHEARSAL = "rehearsal"
"""The model whose texts are English, whatever the recipe's language."""
SIDES = {"user": "users", "assistant": "answers"}

Check = Callable[[], None]


class Finding(NamedTuple):
    """A fault of a chat: the reason's name, "users" or "answers", the turn from 1 (None: the whole side)."""

    reason: str
    side: str
    turn: int | None
    detail: str


def users(messages: Sequence[str], spec: Spec, recipe: Recipe) -> None:
    """Raise Unusable with the first that is wrong with the user messages of a dialogue."""
    if any(recipe.checks.values()):
        side, checks = Side(messages, "user", signs_of(recipe.language).find), _of(recipe, recipe.user_writer)
        for check in _of_users(side, messages, checks, recipe.language, _drawn(spec)):
            check()
    _follow(messages, "users", recipe)


def answers(messages: Sequence[str], asked: Sequence[str], recipe: Recipe, source: str = "") -> None:
    """Raise Unusable for the first fault of the answers to user messages.

    `source` is what the assistant was given, where it was given something to keep to.
    """
    if any(recipe.checks.values()):
        side, checks = Side(messages, "assistant", signs_of(recipe.language).find), _of(recipe, recipe.model)
        for check in _of_answers(side, asked, checks, recipe.language):
            check()
        limit = recipe.checks.get("grounded", WITH_SOURCE["grounded"])
        if source and limit and recipe.model != REHEARSAL:
            grounded(side, asked, source, limit)
    _follow(messages, "answers", recipe)


def _follow(messages: Sequence[str], side: str, recipe: Recipe) -> None:
    """Raise Unusable for the first rule of the recipe that the messages of a side break, or text that they repeat."""
    for error in rules.broken(messages, side, recipe.rules or {}, recipe.language):
        raise error
    for error in contaminated(messages, rules.ROLES[side], recipe.kept_out):
        raise error


def findings(
    asked: Sequence[str], answered: Sequence[str], checks: Mapping[str, Any], language: str, drawn: Sequence[str] = ()
) -> list[Finding]:
    """Return the faults of a chat, at most one per check and side, in the order of the turns.

    `drawn` are texts that a user message must not quote, such as its topic.
    """
    find = signs_of(language).find
    found: list[Finding | None] = []
    if asked:
        made = _of_users(Side(asked, "user", find), asked, checks, language, drawn)
        found += [_finding(check, "user") for check in made]
    if answered:
        made = _of_answers(Side(answered, "assistant", find), asked, checks, language)
        found += [_finding(check, "assistant") for check in made]
    return sorted(
        {finding for finding in found if finding is not None},
        key=lambda finding: (finding.turn or 0, finding.side == "answers", finding.reason),
    )


def rule_findings(asked: Sequence[str], answered: Sequence[str], given: Rules, language: str) -> list[Finding]:
    """Return which rules a chat breaks, at most one finding per rule and side."""
    sides = {"users": asked, "answers": answered}
    return [
        Finding(error.reason.value, side, error.turn, error.detail)
        for side, messages in sides.items()
        for error in rules.broken(messages, side, given, language)
    ]


def contamination(asked: Sequence[str], answered: Sequence[str], given: Sequence[Ngrams]) -> list[Finding]:
    """Return which texts a chat repeats, at most one finding per file of n-grams and side."""
    return [
        Finding(error.reason.value, SIDES[role], error.turn, error.detail)
        for role, messages in (("user", asked), ("assistant", answered))
        for error in contaminated(messages, role, given)
    ]


def _finding(check: Check, role: str) -> Finding | None:
    try:
        check()
    except Unusable as error:
        return Finding(error.reason.value, SIDES[role], error.turn, error.detail)
    return None


def _of(recipe: Recipe, model: str | None) -> dict[str, Any]:
    checks: dict[str, Any] = recipe.checks
    return {**checks, "wrong_language": False} if model == REHEARSAL else checks


def _of_users(
    side: Side, asked: Sequence[str], checks: Mapping[str, Any], language: str, drawn: Sequence[str]
) -> Iterator[Check]:
    if checks["mixed_roles"]:
        yield partial(roles.transcripts, side)
    if checks["answers_itself"]:
        yield partial(answers_itself, side, language)
    if checks["leaks_prompt"]:
        yield partial(titles.titles, side)
        yield partial(leaks_prompt, side, language, drawn, checks["leaks_prompt"])
    yield from _of_both(side, asked, checks, language)


def _of_answers(side: Side, asked: Sequence[str], checks: Mapping[str, Any], language: str) -> Iterator[Check]:
    if checks["mixed_roles"]:
        yield partial(roles.transcripts, side)
        yield partial(roles.echoes, side, asked)
    if checks["empty_courtesy"]:
        yield partial(empty_courtesy, side, language, asked)
    if checks["boilerplate"]:
        yield partial(voices.boilerplate, side, language, asked)
    if checks["mentions_list"]:
        yield partial(mentions_list, side, language, asked)
    if checks["leaks_prompt"]:
        yield partial(titles.labels, side, language)
    if checks["swapped_roles"]:
        yield partial(voices.swapped_roles, side, language, asked)
    if checks["broken_off"]:
        yield partial(broken_off, side)
    yield from _of_both(side, asked, checks, language)


def _of_both(side: Side, asked: Sequence[str], checks: Mapping[str, Any], language: str) -> Iterator[Check]:
    if checks["no_words"]:
        yield partial(letters.no_words, side)
    if checks["garbled"]:
        yield partial(letters.garbled, side)
    if checks["leaks_reasoning"]:
        yield partial(voices.leaks_reasoning, side, language, asked)
    for name, check in _WITH_ASKED.items():
        if checks[name]:
            yield partial(check, side, asked)
    if checks["loops"]:
        yield partial(loops, side, checks["loops"], asked)
    if checks["repeats"]:
        yield partial(repeats.repeats, side, checks["repeats"], asked)
    if checks["wrong_language"]:
        yield partial(languages.wrong, side, language, checks["wrong_language"], asked)


_WITH_ASKED: dict[str, Callable[[Side, Sequence[str]], None]] = {
    "leftovers": leftovers,
    "numbered": numbered,
    "placeholder": placeholder,
    "foreign_script": foreign_script,
}


def _drawn(spec: Spec) -> tuple[str, ...]:
    told = (spec.shape.mood, spec.shape.outcome, spec.shape.ending)
    own = () if spec.source is not None else (spec.topic,)  # what the user's own data says may be quoted
    return *own, spec.persona, spec.manner[1], *spec.flow.steps, *(option.description for option in told)
