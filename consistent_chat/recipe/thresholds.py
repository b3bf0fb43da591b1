"""The field `checks`: which checks the messages of a dialogue go through, and how strict each is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.values import number, suggestion, truth, whole, wrong

Checks = dict[str, Any]

DEFAULTS: Checks = {
    "answers_itself": True,
    "leaks_prompt": 7,
    "empty_courtesy": True,
    "broken_off": True,
    "mentions_list": True,
    "repeats": 0.8,
    "mixed_roles": True,
    "wrong_language": 0.3,
}
"""Every check with its threshold; True is one that has none, False one that is not made.

`leaks_prompt` counts words in a row, `repeats` is the share of their words that two messages have in common (Jaccard),
`wrong_language` the share of one side's text that reads as another language. Calibrated on tests/texts.
"""
TAKES: dict[str, Callable[[str, Any], Any]] = {
    "leaks_prompt": whole(3, 50),
    "repeats": number(0.1, 1),
    "wrong_language": number(0.05, 1),
}


def thresholds(name: str, value: Any) -> Checks:
    """Return all checks with their thresholds: the default ones for None and True, none for False.

    A mapping names those that differ: False leaves one out, True is its default. Raises RecipeError.
    """
    if value is None or value is True:
        return dict(DEFAULTS)
    if value is False:
        return dict.fromkeys(DEFAULTS, False)
    if not isinstance(value, Mapping):
        raise wrong(name, value, "true, false, or a mapping of checks to their thresholds")
    for check in value:
        if check not in DEFAULTS:
            raise RecipeError(f"{name} must name checks: there is no {check!r}.{_near(check)}")
    return {check: _threshold(f"{name} must be in range: {check}", check, value) for check in DEFAULTS}


def _near(name: object) -> str:
    return suggestion(name, tuple(DEFAULTS))


def _threshold(place: str, check: str, given: Mapping[str, Any]) -> Any:
    value = given.get(check, True)
    if value is None or value is True:
        return DEFAULTS[check]
    take: Callable[[str, Any], Any] = TAKES.get(check, truth)
    return False if value is False else take(place, value)
