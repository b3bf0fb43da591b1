"""What a message must not be, found without a model. Each finding has a name, which is a Reason of the parser's.

Pure functions of the messages and the recipe's thresholds: a replay comes to the same findings.
"""

from __future__ import annotations

from collections.abc import Sequence

from consistent_chat.dialogue.checks import language, repeats, roles
from consistent_chat.dialogue.checks.answers import broken_off, empty_courtesy, mentions_list
from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.checks.users import answers_itself, leaks_prompt
from consistent_chat.plan.plan import Spec
from consistent_chat.recipe import Recipe

REHEARSAL = "rehearsal"
"""The model whose texts are English, whatever the language of the recipe is."""


def users(messages: Sequence[str], spec: Spec, recipe: Recipe) -> None:
    """Raise Unusable with the first that is wrong with the user messages of a dialogue."""
    checks = recipe.checks
    if not any(checks.values()):
        return
    side = Side(messages, "user")
    if checks["mixed_roles"]:
        roles.transcripts(side)
    if checks["answers_itself"]:
        answers_itself(side, recipe.language)
    if checks["leaks_prompt"]:
        leaks_prompt(side, recipe.language, _drawn(spec), checks["leaks_prompt"])
    _both(side, recipe, messages)


def answers(messages: Sequence[str], asked: Sequence[str], recipe: Recipe) -> None:
    """Raise Unusable with the first that is wrong with the answers to user messages."""
    checks = recipe.checks
    if not any(checks.values()):
        return
    side = Side(messages, "assistant")
    if checks["mixed_roles"]:
        roles.transcripts(side)
        roles.echoes(side, asked)
    if checks["empty_courtesy"]:
        empty_courtesy(side, recipe.language)
    if checks["mentions_list"]:
        mentions_list(side, recipe.language, asked)
    if checks["broken_off"]:
        broken_off(side)
    _both(side, recipe, asked)


def _both(side: Side, recipe: Recipe, asked: Sequence[str]) -> None:
    checks = recipe.checks
    if checks["repeats"]:
        repeats.repeats(side, checks["repeats"])
    if checks["wrong_language"] and recipe.model != REHEARSAL:
        language.wrong(side, recipe.language, checks["wrong_language"], asked)


def _drawn(spec: Spec) -> tuple[str, ...]:
    return spec.topic, spec.persona, spec.manner[1], *spec.flow.steps
