"""The recipe fields `checks` and `rules`: which of the package's checks are on, and the user's own checks, as data.

`dialogue/checks` applies them. A recipe may be a stranger's, so everything is bounded: the rules, their phrases, their
patterns and the size of compiled patterns. Patterns are for RE2, which searches in time linear in the text.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.fields import Check, boolean, line, number, one_of, suggestion, type_error, whole
from consistent_chat.recipe.safe_yaml import excerpt

Rule = dict[str, Any]
Rules = dict[str, Rule]

SIDES = ("users", "answers")
SENSITIVE = ("emails", "phones", "keys")
GROUP = "consistent_chat.checks"
"""The group of entry points of plugins: functions (messages, side, language) -> (turn, detail) or None."""
MAX_RULES, MAX_PHRASES, MAX_PATTERNS = 100, 1000, 200
LONGEST = 500
"""Maximum characters of a phrase or pattern."""
MAX_MEMORY = 1 << 20
"""Bytes that RE2 may use for a pattern: one that needs more is refused when it is compiled."""
MAX_INSTRUCTIONS = 20_000
"""Maximum number of instructions of a recipe's compiled patterns.

Searching a text takes at most time in proportion to it.
"""
MAX_LENGTH = 1_000_000


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
    "no_words": True,
    "garbled": True,
    "leftovers": True,
    "numbered": True,
    "loops": 4,
    "placeholder": True,
    "foreign_script": True,
    "boilerplate": True,
    "leaks_reasoning": True,
    "swapped_roles": True,
}
"""The default threshold of each check. For a check without a threshold, True means on and False means off.

`leaks_prompt` is a number of consecutive words, `repeats` the Jaccard index of the words of two messages,
`wrong_language` the share of one side's text that is in another language, `loops` the number of repetitions of a part
of a message. Calibrated on tests/dialogue/texts.
"""
WITH_SOURCE: Checks = {"grounded": 3}
"""The default threshold of each check of dialogues with a source.

The canonical value has it only if a recipe sets another threshold, so that recipes without seeds stay the same.
"""
CHECK_NAMES = (*DEFAULTS, *WITH_SOURCE)
TAKES: dict[str, Callable[[str, Any], Any]] = {
    "leaks_prompt": whole(3, 50),
    "repeats": number(0.1, 1),
    "wrong_language": number(0.05, 1),
    "loops": whole(3, 100),
    "grounded": whole(1, 100),
}


def thresholds(name: str, value: Any) -> Checks:
    """Return all checks with their thresholds. None and True mean the defaults, False switches all checks off.

    A mapping sets some of them: False switches a check off, True means its default. Raises RecipeError.
    """
    if value is None or value is True:
        return dict(DEFAULTS)
    if value is False:
        return dict.fromkeys(DEFAULTS, False)
    if not isinstance(value, Mapping):
        raise type_error(name, value, "true, false, or a mapping of checks to their thresholds")
    for check in value:
        if check not in CHECK_NAMES:
            raise RecipeError(f"{name} must name checks: there is no {check!r}.{_near(check)}")
    found = {check: _threshold(f"{name} must be in range: {check}", check, value) for check in CHECK_NAMES}
    return {check: limit for check, limit in found.items() if limit != WITH_SOURCE.get(check)}


def _near(name: object) -> str:
    return suggestion(name, CHECK_NAMES)


def _threshold(place: str, check: str, given: Mapping[str, Any]) -> Any:
    value = given.get(check, True)
    if value is None or value is True:
        return {**DEFAULTS, **WITH_SOURCE}[check]
    take: Callable[[str, Any], Any] = TAKES.get(check, boolean)
    return False if value is False else take(place, value)


def rules(name: str, value: Any) -> Rules:
    """Return rules by name, each with its fields in canonical form. Raises RecipeError."""
    if not isinstance(value, Mapping) or not 1 <= len(value) <= MAX_RULES:
        raise type_error(name, value, f"a mapping of up to {MAX_RULES} names to rules")
    found = {line(60)(f"{name} must have names: one", key): _rule(name, key, given) for key, given in value.items()}
    if len(found) < len(value):
        raise RecipeError(f"{name} must have names that differ in more than white space.")
    _check_bounds(name, found.values())
    return found


def versions(chosen: Mapping[str, Rule] | None) -> dict[str, str]:
    """Return the version of each plugin that rules name, because another version may have other findings."""
    names = {rule["plugin"] for rule in (chosen or {}).values() if "plugin" in rule}
    return {name: _version(_plugins()[name]) for name in sorted(names) if name in _plugins()}


def plugin(name: str) -> Any:
    """Return the function of an installed plugin. Raises RecipeError if it is missing or cannot be imported."""
    try:
        return _plugins()[name].load()
    except Exception as error:
        raise RecipeError(f"The check {name!r} cannot be loaded: {type(error).__name__}: {error}.") from error


@functools.lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """Return a pattern compiled by RE2. Raises ValueError with RE2's reason."""
    import re2  # imported here, since recipes without patterns do not need it

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if error.args else error
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(error)) from None


def _rule(name: str, key: Any, value: Any) -> Rule:
    place = f"{name} must be valid: {key}"
    if not isinstance(value, Mapping):
        raise type_error(place, value, f"a mapping of {', '.join(_FIELDS)}")
    for field in value:
        if field not in _FIELDS:
            raise RecipeError(f"{place} has no field {field!r}.{suggestion(field, tuple(_FIELDS))}")
    found = {field: check(f"{place}.{field}", value[field]) for field, check in _FIELDS.items() if field in value}
    if not found.keys() - {"side", "languages"}:
        raise RecipeError(f"{place} checks nothing. Give one of {', '.join(list(_FIELDS)[2:])}.")
    for unit in ("words", "characters"):
        if found.get(f"min_{unit}", 0) > found.get(f"max_{unit}", MAX_LENGTH):
            raise RecipeError(f"{place} has a min_{unit} that is above its max_{unit}. Correct one of them.")
    return found


def _check_bounds(name: str, found: Iterable[Rule]) -> None:
    phrases, patterns = list[str](), list[str]()
    for rule in found:
        phrases += (*rule.get("forbidden", ()), *rule.get("required", ()))
        patterns += (*rule.get("forbidden_patterns", ()), *rule.get("required_patterns", ()))
    if len(phrases) > MAX_PHRASES or len(patterns) > MAX_PATTERNS:
        raise RecipeError(
            f"{name} must have at most {MAX_PHRASES:,} phrases and {MAX_PATTERNS} patterns, not {len(phrases):,} and "
            f"{len(patterns):,}."
        )
    size = sum(compiled(pattern).programsize for pattern in patterns)
    if size > MAX_INSTRUCTIONS:
        raise RecipeError(
            f"{name} must have patterns of at most {MAX_INSTRUCTIONS:,} instructions together, not {size:,}. Use fewer "
            "repetitions such as {100}, and fewer classes such as \\pL within them."
        )


def _several(check: Check) -> Check:
    """Return the check for a value or a list of them, as a list."""

    def several(name: str, value: Any) -> list[Any]:
        given = value if isinstance(value, (list, tuple)) else [value]
        if not 1 <= len(given) <= MAX_PHRASES:
            raise type_error(name, value, f"a list of 1 to {MAX_PHRASES:,} texts")
        return [check(name, one) for one in given]

    return several


def _pattern(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST:
        raise type_error(name, value, f"a pattern of 1 to {LONGEST} characters")
    try:
        compiled(value)
    except ValueError as error:
        raise RecipeError(
            f"{name} has the pattern {excerpt(value)}, which RE2 refuses: {excerpt(str(error))}. RE2 supports no "
            f"lookarounds or back references, and repetitions only up to {{1000}}."
        ) from None
    return value


def _forbidden_pattern(name: str, value: Any) -> str:
    if compiled(_pattern(name, value)).search("") is not None:
        raise RecipeError(f"{name} has the pattern {excerpt(value)}, which every message matches. Make it narrower.")
    return str(value)


def _sensitive(name: str, value: Any) -> list[str]:
    return list(SENSITIVE) if value is True else _several(one_of(*SENSITIVE))(name, value)


def _plugin(name: str, value: Any) -> str:
    known = tuple(_plugins())
    if value not in known:
        hint = suggestion(value, known) if known else f" No check is installed in the entry-point group {GROUP!r}."
        raise RecipeError(f"{name} must name an installed check: there is no {excerpt(value)}.{hint}")
    return str(value)


@functools.lru_cache(maxsize=1)
def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def _version(point: EntryPoint) -> str:
    return "" if point.dist is None else f"{point.dist.name} {point.dist.version}"


_FIELDS: dict[str, Check] = {
    "side": one_of(*SIDES),
    "languages": _several(line(60)),
    "forbidden": _several(line(LONGEST)),
    "required": _several(line(LONGEST)),
    "forbidden_patterns": _several(_forbidden_pattern),
    "required_patterns": _several(_pattern),
    **{f"{bound}_{unit}": whole(1, MAX_LENGTH) for unit in ("words", "characters") for bound in ("min", "max")},
    "sensitive": _sensitive,
    "plugin": _plugin,
}
