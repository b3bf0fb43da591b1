"""Finds faults in messages without a model. Each finding is named by a Reason of the parser.

The checks are pure functions of the messages and the recipe's thresholds, so a replay has the same findings.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from consistent_chat.dialogue.checks import language as languages
from consistent_chat.dialogue.checks import letters, repeats, roles, rules, titles
from consistent_chat.dialogue.checks.answers import broken_off, empty_courtesy, mentions_list
from consistent_chat.dialogue.checks.contaminated import contaminated
from consistent_chat.dialogue.checks.grounded import grounded
from consistent_chat.dialogue.checks.letters import foreign_script
from consistent_chat.dialogue.checks.remains import leftovers, numbered, placeholder
from consistent_chat.dialogue.checks.repeats import loops
from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.checks.signs import signs_of
from consistent_chat.dialogue.checks.users import answers_itself, leaks_prompt
from consistent_chat.dialogue.parse import Unusable
from consistent_chat.plan import Spec
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.ngrams import Ngrams
from consistent_chat.recipe.rules import WITH_SOURCE, Rules

REHEARSAL = "rehearsal"
"""The model whose texts are English in every language of a recipe."""
SIDES = {"user": "users", "assistant": "answers"}

Find = Callable[[Side], None]
"""Raises Unusable for the first fault of a side."""


class Check(NamedTuple):
    """A check and the name of its threshold. It runs only if one of its signs occurs, or always if it has no signs."""

    name: str
    find: Find
    signs: frozenset[str] = frozenset()


class Finding(NamedTuple):
    """A fault of a chat: the reason's name, the side ("users" or "answers"), the turn from 1 (None: the whole side)."""

    reason: str
    side: str
    turn: int | None
    detail: str


def users(messages: Sequence[str], spec: Spec, recipe: Recipe) -> None:
    """Raise Unusable for the first fault in the user messages of a dialogue."""
    if recipe.enabled_checks:
        language = recipe.language
        side = Side(messages, "user", messages, language, recipe.checks, signs_of(language, "user").find, _drawn(spec))
        for find in _needed("user", _enabled(recipe, recipe.user_writer), side.signs):
            find(side)
    if recipe.rules or recipe.decontaminate:
        follow(messages, "users", recipe)


def answers(messages: Sequence[str], asked: Sequence[str], recipe: Recipe, source: str = "") -> None:
    """Raise Unusable for the first fault in the answers to user messages.

    `source` is the text that the assistant was told to keep to, if there was one.
    """
    if recipe.enabled_checks:
        language = recipe.language
        side = Side(messages, "assistant", asked, language, recipe.checks, signs_of(language, "assistant").find)
        for find in _needed("assistant", _enabled(recipe, recipe.model), side.signs):
            find(side)
        limit = recipe.checks.get("grounded", WITH_SOURCE["grounded"]) if source else 0
        if limit and recipe.model != REHEARSAL:
            grounded(side, asked, source, limit, recipe.language)
    if recipe.rules or recipe.decontaminate:
        follow(messages, "answers", recipe)


def follow(messages: Sequence[str], side: str, recipe: Recipe) -> None:
    """Raise Unusable for the first rule that a side's messages break, or listed text that they contain."""
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
    enabled = frozenset(name for name in checks if checks[name])
    found = [
        _finding(find, side)
        for role, messages in (("user", asked), ("assistant", answered))
        if messages
        for side in (Side(messages, role, asked, language, checks, signs_of(language, role).find, drawn),)
        for find in _needed(role, enabled, side.signs)
    ]
    return sorted(
        dict.fromkeys(finding for finding in found if finding is not None),
        key=lambda finding: (finding.turn or 0, finding.side == "answers", finding.reason),
    )


def rule_findings(asked: Sequence[str], answered: Sequence[str], given: Rules, language: str) -> list[Finding]:
    """Return the rules that a chat breaks, with at most one finding per rule and side."""
    sides = {"users": asked, "answers": answered}
    return [
        Finding(error.reason.value, side, error.turn, error.detail)
        for side, messages in sides.items()
        for error in rules.broken(messages, side, given, language)
    ]


def contamination(asked: Sequence[str], answered: Sequence[str], given: Sequence[Ngrams]) -> list[Finding]:
    """Return the listed texts that a chat contains, with at most one finding per file of n-grams and side."""
    return [
        Finding(error.reason.value, SIDES[role], error.turn, error.detail)
        for role, messages in (("user", asked), ("assistant", answered))
        for error in contaminated(messages, role, given)
    ]


def _finding(find: Find, side: Side) -> Finding | None:
    try:
        find(side)
    except Unusable as error:
        return Finding(error.reason.value, SIDES[side.role], error.turn, error.detail)
    return None


def _enabled(recipe: Recipe, model: str | None) -> frozenset[str]:
    return recipe.enabled_checks - {"wrong_language"} if model == REHEARSAL else recipe.enabled_checks


@functools.lru_cache(maxsize=4096)
def _needed(role: str, enabled: frozenset[str], signs: frozenset[str]) -> tuple[Find, ...]:
    """Return the enabled checks that apply to texts with these signs, in order."""
    return tuple(
        check.find
        for check in _CHECKS[role]
        if check.name in enabled and not (check.signs and check.signs.isdisjoint(signs))
    )


def _listed(*checks: tuple[str, Find, str]) -> tuple[Check, ...]:
    return tuple(Check(name, find, frozenset(signs.split())) for name, find, signs in checks)


_OF_BOTH = (
    ("no_words", letters.no_words, "wordless"),
    ("garbled", letters.garbled, "misread consonants"),
    ("leaks_reasoning", roles.leaks_reasoning, "reasoning"),
    ("leftovers", leftovers, "leftover turn_key"),
    ("numbered", numbered, "marked"),
    ("placeholder", placeholder, "blank stand_in"),
    ("foreign_script", foreign_script, "foreign"),
    ("loops", loops, ""),
    ("repeats", repeats.repeats, ""),
    ("wrong_language", languages.wrong, ""),
)
_OF_USERS = _listed(
    ("mixed_roles", roles.transcripts, "role_line chat_token"),
    ("answers_itself", answers_itself, "as_assistant openings question"),
    ("leaks_prompt", titles.titles, ""),
    ("leaks_prompt", leaks_prompt, ""),
    *_OF_BOTH,
)
_OF_ANSWERS = _listed(
    ("mixed_roles", roles.transcripts, "role_line chat_token"),
    ("mixed_roles", roles.echoes, ""),
    ("empty_courtesy", empty_courtesy, "courteous"),
    ("boilerplate", roles.boilerplate, "refusals boilerplate"),
    ("mentions_list", mentions_list, "mentions"),
    ("leaks_prompt", titles.labels, "labels prompted"),
    ("swapped_roles", roles.swapped_roles, "flips"),
    ("broken_off", broken_off, "fence open_end"),
    *_OF_BOTH,
)
_CHECKS = {"user": _OF_USERS, "assistant": _OF_ANSWERS}
"""The checks of each side in order, with the signs that they need."""


def _drawn(spec: Spec) -> tuple[str, ...]:
    told = (spec.shape.mood, spec.shape.outcome, spec.shape.ending)
    own = () if spec.source is not None else (spec.topic,)  # text from the user's own data may be quoted
    return *own, spec.persona, spec.manner[1], *spec.flow.steps, *[option.description for option in told]
