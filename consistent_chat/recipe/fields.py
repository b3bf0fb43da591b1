"""Checks the values of fields. A check gets a field's name and value and returns the value in its canonical form.

It raises RecipeError for a wrong value: "<name> must be <what it accepts>, not <value>."
"""

from __future__ import annotations

import difflib
import math
import numbers
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.safe_yaml import excerpt

Check = Callable[[str, Any], Any]

MAX_SPLITS = 1000
"""Maximum number of names in `splits`."""
MAX_LANGUAGES = 100
MAX_WEIGHT, LEAST_WEIGHT = 10**6, 1e-6
_UNTEXT = re.compile("[\0\ud800-\udfff]")
_SPLIT = re.compile("[A-Za-z0-9_]{1,60}")


def suggestion(name: object, known: tuple[str, ...]) -> str:
    """Return the sentence that follows "there is no X": the nearest known name, or all names."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" Use: {', '.join(known)}."


def type_error(name: str, value: Any, expected: str) -> RecipeError:
    """Return the error for a wrong value of a field."""
    return RecipeError(f"{name} must be {expected}, not {excerpt(value)}.")


def paths(name: str, given: Any) -> list[str]:
    """Return the path or URL, or the list of them, that is the value of a parameter. Raises RecipeError."""
    several = given if isinstance(given, (list, tuple)) else [given]
    if not several or not all(isinstance(path, (str, os.PathLike)) and os.fspath(path) for path in several):
        raise type_error(name, given, "a path or URL, or a list of them")
    return [os.fspath(path) for path in several]


def native(value: Any) -> Any:
    """Return a value with numpy's numbers, booleans, texts and arrays replaced by Python's, also inside mappings."""
    if type(value) is dict:
        return {native(key): native(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(native, value))
    return value.tolist() if hasattr(value, "dtype") and hasattr(value, "tolist") else value


def _is_number(value: Any, kind: type) -> TypeGuard[float]:
    """Return whether a value is a number of a kind, including numpy's, excluding true and false."""
    return isinstance(value, kind) and not isinstance(value, bool)


def whole(low: int, high: int) -> Check:
    """Return the check for whole numbers in a range."""

    def check(name: str, value: Any) -> int:
        if not _is_number(value, numbers.Integral) or not low <= value <= high:
            raise type_error(name, value, f"a whole number from {low} to {high}")
        return int(value)  # also numpy's integers

    return check


def number(low: float, high: float) -> Check:
    """Return the check for numbers in a range, as floats."""

    def check(name: str, value: Any) -> float:
        if not _is_number(value, numbers.Real) or not math.isfinite(value) or not low <= value <= high:
            raise type_error(name, value, f"a number from {low:g} to {high:g}")
        return float(value) + 0.0  # turns -0.0 into 0.0

    return check


def line(longest: int) -> Check:
    """Return the check for a line of text. The check strips white space around it."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > longest or not value.isprintable():
            raise type_error(name, value, f"one line of text, 1 to {longest} characters")
        return value.strip()

    return check


def text(longest: int) -> Check:
    """Return the check for a text of any number of lines. The check strips white space around it."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > longest or _UNTEXT.search(value):
            raise type_error(name, value, f"valid text of 1 to {longest:,} characters")
        return value.strip()

    return check


def texts(known: tuple[str, ...], longest: int) -> Check:
    """Return the check for a mapping of some of these names to texts, in the order of the names."""
    one = text(longest)

    def check(name: str, value: Any) -> dict[str, str]:
        if not isinstance(value, Mapping) or not value:
            raise type_error(name, value, f"a mapping of {' and '.join(known)} to texts")
        for key in value:
            if key not in known:
                raise RecipeError(f"{name} must have known names: there is no {excerpt(key)}.{suggestion(key, known)}")
        return {key: one(f"{name}.{key}", value[key]) for key in known if key in value}

    return check


def one_of(*known: str) -> Check:
    """Return the check for one of some names."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise type_error(name, value, f"one of {', '.join(known)}")
        return value

    return check


def boolean(name: str, value: Any) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise type_error(name, value, "true or false")
    return value


def fraction(low: float, default: float) -> Check:
    """Return the check for a fraction, as a float. True becomes the default, false stays."""

    def check(name: str, value: Any) -> float | bool:
        if value is False:
            return False
        if value is not True and (not _is_number(value, numbers.Real) or not low <= value <= 1):
            raise type_error(name, value, f"true, false or a number from {low:g} to 1")
        return default if value is True else float(value)

    return check


def similarities(low: float, default: float) -> Check:
    """Return the check for a `fraction`, or one for each side.

    One for user messages alone becomes the fraction itself.
    """
    one = fraction(low, default)

    def check(name: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return one(name, value)
        if not value or not value.keys() <= set(SIDES):
            raise type_error(name, value, f"true, false, a number, or numbers by side: {', '.join(SIDES)}")
        given = {side: one(f"{name}.{side}", value[side]) for side in SIDES if side in value}
        kept = {side: number for side, number in given.items() if number is not False}
        return kept if "answers" in kept else kept.get("user_messages", False)

    return check


SIDES = ("user_messages", "answers")
"""The sides of a dialogue that can be compared with those of other dialogues."""


def turns(low: int, high: int) -> Check:
    """Return the check for a number, a range such as [3, 8], or numbers with weights such as {4: 0.5, 8: 0.5}."""
    one = whole(low, high)

    def check(name: str, value: Any) -> int | tuple[int, int] | dict[int, float]:
        if isinstance(value, Mapping):
            place = f"{name} must have weights of numbers: one"
            given = {one(place, _as_whole(key)): weight for key, weight in value.items()}
            return dict(sorted(weights(name, given).items()))
        if isinstance(value, (list, tuple)):
            if len(value) != 2 or one(name, value[0]) > one(name, value[1]):
                raise type_error(name, value, "a range of two numbers, the lower one first, such as [3, 8]")
            return int(value[0]), int(value[1])
        return int(one(name, value))

    return check


def _as_whole(value: Any) -> Any:
    """Return the number in a JSON key, which is always text."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value


def languages(longest: int) -> Check:
    """Return the check for a language, a list of them, or languages with weights.

    A single language becomes its name.
    """
    one = line(longest)

    def check(name: str, value: Any) -> str | tuple[str, ...] | dict[str, float]:
        if isinstance(value, Mapping):
            found = weights(name, {one(f"{name} must have weights of names: one", key): value[key] for key in value})
            kept = {key: found[key] for key in sorted(found) if found[key]}
            return kept if len(kept) > 1 else next(iter(kept))
        if not isinstance(value, (list, tuple)):
            return str(one(name, value))
        if not 0 < len(value) <= MAX_LANGUAGES:
            raise type_error(name, value, f"one language or a list of up to {MAX_LANGUAGES}")
        listed = tuple(dict.fromkeys(one(name, each) for each in value))
        return listed if len(listed) > 1 else listed[0]

    return check


def weighted(known: Callable[[], tuple[str, ...]], words: int = 0) -> Check:
    """Return the check for a name, names with weights, or a number of words within `words`, if that is given."""

    def check(name: str, value: Any) -> str | int | dict[str, float]:
        if words and _is_number(value, numbers.Integral):
            return int(whole(1, words)(name, value))
        if isinstance(value, Mapping):
            for one in value:
                one_of(*known())(f"{name} must have weights of known names: one", one)
            return weights(name, value)
        return str(one_of(*known())(name, value))

    return check


def weights(name: str, value: Mapping[Any, Any]) -> dict[Any, float]:
    """Return weights as numbers that are not negative, at least one of which is positive."""
    check = number(0, MAX_WEIGHT)
    found = {key: check(f"{name} must have weights in range: {key}", weight) for key, weight in value.items()}
    if not any(weight >= LEAST_WEIGHT for weight in found.values()):
        raise type_error(
            name, dict(value), f"a mapping of values to weights, at least one of which is {LEAST_WEIGHT:g} or more"
        )
    return found


def counts(most: int) -> Check:
    """Return the check for a mapping of splits to numbers, whose sum is at most `most`."""

    def check(name: str, value: Any) -> dict[str, int]:
        if not isinstance(value, Mapping) or not value:
            raise type_error(
                name, value, "a mapping of names to dialogues per intent, such as {'train': 18, 'test': 1}"
            )
        if len(value) > MAX_SPLITS:
            raise RecipeError(f"{name} must have at most {MAX_SPLITS:,} names, not {len(value):,}.")
        for split, count in value.items():
            if not isinstance(split, str) or not _SPLIT.fullmatch(split) or split == "all":
                raise RecipeError(f"{name} must have names of up to 60 letters, digits and _, not {excerpt(split)}.")
            whole(1, most)(f"{name} must give dialogues per intent: {split}", count)
        if len({split.lower() for split in value}) < len(value):
            raise RecipeError(
                f"{name} must have names that differ in more than capitals, because they become file names."
            )
        checked = {split: int(count) for split, count in value.items()}
        whole(1, most)(f"{name} must give dialogues per intent: their sum", sum(checked.values()))
        return checked

    return check


def optional(check: Check) -> Check:
    """Return a check that also accepts None."""
    return lambda name, value: None if value is None else check(name, value)


def is_model_name(value: str) -> bool:
    """Return whether a text can be a model's name: not an address, and without white space and control characters."""
    return value.isprintable() and not any(map(str.isspace, value)) and "://" not in value


def model_name(longest: int) -> Check:
    """Return the check for a model's name. It rejects addresses, because some clients would send the key there."""

    def check(name: str, value: Any) -> str:
        value = line(longest)(name, value)
        if not is_model_name(value):
            raise type_error(name, value, "the name of a model, without '://', spaces or control characters")
        return str(value)

    return check
