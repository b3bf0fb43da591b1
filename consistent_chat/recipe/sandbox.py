"""The sandbox of templates: Jinja2's, with few filters, and with bounds on numbers, sizes of values and work."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

MAX_VALUE = 200_000
"""Maximum characters or items of a value on the way."""
MAX_NUMBER = 10**18
MAX_ROUNDS = 10_000
"""Maximum number of rounds of all loops together, and of numbers in a range."""
MAX_WORK = 4_000_000
"""Maximum characters that a rendering goes through: about a second in the worst case."""
BUDGET = "budget of the rendering"
"""The name of the budget among the values. It has spaces, so no template can use it."""


class Bound(Exception):
    """A template goes beyond a bound; the message says which."""


class Budget:
    """What is left of a rendering's work. `size` is the length of the template, which each round of a loop costs."""

    def __init__(self, size: int) -> None:
        self._size, self._work, self._rounds = size, MAX_WORK, MAX_ROUNDS

    def rounds(self, count: int) -> None:
        """Count rounds of a loop. Raises Bound."""
        self._rounds -= count
        if self._rounds < 0:
            raise Bound(f"its loops have more than {MAX_ROUNDS:,} rounds")
        self.work(count * self._size)

    def work(self, amount: int) -> None:
        """Count characters that are gone through. Raises Bound."""
        self._work -= 1 + amount
        if self._work < 0:
            raise Bound("it takes too much work: use shorter loops")


@functools.lru_cache(maxsize=1)
def sandbox() -> Any:
    """Return the sandbox, whose operators, filters and calls keep to the bounds."""
    from jinja2 import StrictUndefined, pass_context
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_operands(operator, left, right)
            return _spent(context, super().call_binop(context, operator, left, right))

        def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
            _spent(context, getattr(function, "__self__", 0))
            return _spent(context, super().call(context, function, *args, **kwargs))

    def filter_of(function: Callable[..., Any]) -> Callable[..., Any]:
        @pass_context
        def bounded(context: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
            for one in (value, *args):
                _spent(context, one)
            return _spent(context, function(value, *args, **kwargs))

        return bounded

    @pass_context
    def counted(context: Any, values: Any) -> list[Any]:
        found = list(values)
        context[BUDGET].rounds(len(found))
        return found

    made = Sandbox(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, optimized=False, finalize=_shown)
    made.filters = {name: filter_of(function) for name, function in FILTERS.items()} | {COUNTED: counted}
    made.globals = {"range": _range}
    return made


def _spent(context: Any, value: Any) -> Any:
    """Return a value after its size was checked and counted. Raises Bound."""
    if isinstance(value, (str, list, tuple)):
        if len(value) > MAX_VALUE:
            raise Bound(f"a value becomes longer than {MAX_VALUE:,}")
        context[BUDGET].work(len(value))
    elif isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise Bound(f"a number becomes larger than {MAX_NUMBER:,}")
    else:
        context[BUDGET].work(0)
    return value


def _check_operands(operator: str, left: Any, right: Any) -> None:
    """Raise Bound for a repetition that is too long, and for formats, whose widths have no bound."""
    many, few = (left, right) if isinstance(left, (str, list, tuple)) else (right, left)
    if operator == "*" and isinstance(many, (str, list, tuple)) and isinstance(few, int):
        if len(many) * few > MAX_VALUE:
            raise Bound(f"a repetition becomes longer than {MAX_VALUE:,}")
    elif operator in ("%", "**") and not (operator == "%" and isinstance(left, (int, float))):
        raise Bound(f"{operator!r} takes only numbers")


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > MAX_ROUNDS:
        raise Bound(f"a range has more than {MAX_ROUNDS:,} numbers")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, (str, int, float)):
        raise Bound(f"{type(value).__name__} is not text: use the filter join for a list")
    return str(value)


def _shown(value: Any) -> str:
    from jinja2 import Undefined

    return str(value) if isinstance(value, Undefined) else _text(value)  # the former raises what is missing


def _replace(text: str, old: str, new: str) -> str:
    if len(text) + text.count(old) * len(new) > MAX_VALUE:
        raise Bound(f"a replacement becomes longer than {MAX_VALUE:,}")
    return text.replace(old, new)


def _join(values: Iterable[Any], between: str = "") -> str:
    texts = list(map(_text, values))
    if sum(map(len, texts)) + len(texts) * len(between) > MAX_VALUE:
        raise Bound(f"a joined text becomes longer than {MAX_VALUE:,}")
    return between.join(texts)


def _default(value: Any, otherwise: Any = "", *_: Any) -> Any:
    """Return the other value for one that is empty: a column without a value is an empty text."""
    return value or otherwise


def _number(kind: Callable[[Any], Any]) -> Callable[..., Any]:
    def number(value: Any, default: Any = 0) -> Any:
        try:
            return kind(value)
        except (ValueError, TypeError, OverflowError):
            return default

    return number


COUNTED = "counted "
FILTERS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "capitalize": lambda text: _text(text).capitalize(),
    "default": _default,
    "first": lambda values: values[0],
    "float": _number(float),
    "int": _number(lambda value: int(float(value)) if isinstance(value, str) and "." in value else int(value)),
    "join": _join,
    "last": lambda values: values[-1],
    "length": len,
    "lower": lambda text: _text(text).lower(),
    "replace": lambda text, old, new: _replace(_text(text), _text(old), _text(new)),
    "round": lambda number, digits=0: round(number, digits),
    "sort": sorted,
    "string": _text,
    "title": lambda text: _text(text).title(),
    "trim": lambda text: _text(text).strip(),
    "unique": lambda values: list(dict.fromkeys(values)),
    "upper": lambda text: _text(text).upper(),
}
"""The filters that a template has."""
