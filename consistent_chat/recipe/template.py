"""Templates that a recipe's author writes, rendered by Jinja2's sandbox: a pure function of a text and named values.

A text with neither `{{` nor `{%` is not a template and stays as it is. The author may be a stranger, so a template has
only what sentences need: names, conditions, loops, arithmetic, and the filters and methods below. The size of every
value, the output and the work are bounded. Values are never templates themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.fields import suggestion

MAX_OUTPUT = 20_000
"""Maximum characters of a rendered text, the same as for a system prompt."""
METHODS = ("capitalize", "endswith", "lower", "split", "startswith", "strip", "title", "upper")
LOOP = ("first", "index", "index0", "last", "length", "revindex")
_NODES = frozenset(
    """Add And Assign Call Compare Concat CondExpr Const Div Filter FloorDiv For Getattr Getitem If Keyword List Mod Mul
    Name Neg Not Operand Or Output Pos Slice Sub Template TemplateData Test Tuple""".split()  # noqa: SIM905 - brief
)
"""The nodes of Jinja2's syntax that templates may use."""


class RenderError(RecipeError):
    """A template cannot be rendered with the values of a dialogue."""


def is_template(text: str) -> bool:
    """Return whether a text is a template."""
    return "{{" in text or "{%" in text


def names(place: str, text: str) -> tuple[str, ...]:
    """Return the names that a template uses, sorted; empty for a plain text. Raises RecipeError if it is not valid."""
    return _compiled(place, text)[1] if is_template(text) else ()


def render(place: str, text: str, values: Mapping[str, str]) -> str:
    """Return a text with these values for its names, without surrounding white space.

    Raises RenderError, which names the field, if the text cannot be rendered with these values.
    """
    if not is_template(text):
        return text
    template, _ = _compiled(place, text)
    try:
        return _joined(template.generate({**values, BUDGET: Budget(len(text))})).strip()
    except Exception as error:  # any error of an expression
        raise RenderError(f"{place} cannot be rendered: {' '.join(str(error).split())[:300]}. Correct it.") from None


def _joined(parts: Iterable[str]) -> str:
    found, size = list[str](), 0
    for part in parts:
        found.append(part)
        size += len(part)
        if size > MAX_OUTPUT:
            raise Bound(f"the text becomes longer than {MAX_OUTPUT:,} characters")
    return "".join(found)


@functools.lru_cache(maxsize=64)
def _compiled(place: str, text: str) -> tuple[Any, tuple[str, ...]]:
    """Return the compiled template and its names. Raises RecipeError for wrong syntax or constructs."""
    from jinja2 import TemplateSyntaxError, meta

    environment = sandbox()
    try:
        tree = environment.parse(text)
        _check(tree)
        used = meta.find_undeclared_variables(tree) - {"range"}
        return environment.from_string(_bounded(tree, environment)), tuple(sorted(used))
    except TemplateSyntaxError as error:
        raise RecipeError(
            f"{place} must be a valid template: line {error.lineno}: {error.message} Correct it; for literal braces, "
            "write {{ '{{' }}."
        ) from None
    except Bound as error:
        raise RecipeError(f"{place} must be a template within the supported syntax: {error}") from None
    except Exception as error:  # nested too deeply for the parser or the compiler
        raise RecipeError(f"{place} must be a simpler template: {type(error).__name__}. Make it shorter.") from None


def _check(tree: Any) -> None:
    """Raise Bound for the first construct that templates do not have."""
    from jinja2 import nodes

    called = {id(node.node) for node in tree.find_all(nodes.Call)}
    for node in tree.find_all(nodes.Node):
        kind = type(node).__name__
        if kind not in _NODES or (kind == "For" and node.recursive):
            raise Bound(f"line {node.lineno} uses {kind}, which is not supported. Leave it out.")
        if kind == "Call" and not _is_known(node.node):
            raise Bound(
                f"line {node.lineno} calls an unsupported function. Use range, or the methods {', '.join(METHODS)}."
            )
        if kind == "Getattr" and id(node) not in called and not _is_of_loop(node):
            raise Bound(
                f"line {node.lineno} uses an unsupported attribute: {node.attr}. Use loop.index and the methods."
            )
        if kind == "Filter" and node.name not in FILTERS:
            raise Bound(f"line {node.lineno}: there is no filter {node.name!r}.{suggestion(node.name, tuple(FILTERS))}")
        if kind == "Const" and isinstance(node.value, int) and abs(node.value) > MAX_NUMBER:
            raise Bound(f"line {node.lineno} has a number above {MAX_NUMBER:,}. Make it smaller.")


def _is_known(function: Any) -> bool:
    kind = type(function).__name__
    return (kind == "Name" and function.name == "range") or (kind == "Getattr" and function.attr in METHODS)


def _is_of_loop(node: Any) -> bool:
    return type(node.node).__name__ == "Name" and node.node.name == "loop" and node.attr in LOOP


def _bounded(tree: Any, environment: Any) -> Any:
    """Return a tree whose loops count their rounds, and whose `~` is a `+`, which the sandbox intercepts."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def filtered(node: Any, name: str) -> Any:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    class Bounds(NodeTransformer):
        def visit_For(self, node: Any) -> Any:  # noqa: N802 - Jinja2's name
            node = self.generic_visit(node)
            node.iter = filtered(node.iter, COUNTED)
            return node

        def visit_Concat(self, node: Any) -> Any:  # noqa: N802 - Jinja2's name
            node = self.generic_visit(node)
            texts = [filtered(part, "string") for part in node.nodes]
            return functools.reduce(lambda left, right: nodes.Add(left, right, lineno=node.lineno), texts)

    tree = Bounds().visit(tree)
    return tree.set_environment(environment)


MAX_VALUE = 200_000
"""Maximum characters or items of an intermediate value."""
MAX_NUMBER = 10**18
MAX_ROUNDS = 10_000
"""Maximum number of rounds of all loops together, and of numbers in a range."""
MAX_WORK = 4_000_000
"""Maximum characters that a rendering processes: about a second in the worst case."""
BUDGET = "budget of the rendering"
"""The name of the budget among the values. It has spaces, so no template can use it."""


class Bound(Exception):
    """A template exceeds a bound; the message says which."""


class Budget:
    """The remaining work of a rendering.

    `size` is the length of the template, which is counted for each round of a loop.
    """

    def __init__(self, size: int) -> None:
        self._size, self._work, self._rounds = size, MAX_WORK, MAX_ROUNDS

    def rounds(self, count: int) -> None:
        """Count rounds of a loop. Raises Bound."""
        self._rounds -= count
        if self._rounds < 0:
            raise Bound(f"its loops have more than {MAX_ROUNDS:,} rounds")
        self.work(count * self._size)

    def work(self, amount: int) -> None:
        """Count processed characters. Raises Bound."""
        self._work -= 1 + amount
        if self._work < 0:
            raise Bound("it takes too much work; use shorter loops")


@functools.lru_cache(maxsize=1)
def sandbox() -> Any:
    """Return the sandbox, whose operators, filters and calls keep to the bounds."""
    from jinja2 import StrictUndefined, pass_context

    settings = {"undefined": StrictUndefined, "finalize": _shown, "optimized": False}
    made = _sandbox_class()(trim_blocks=True, lstrip_blocks=True, **settings)
    made.filters = {name: pass_context(_filter_of(function)) for name, function in FILTERS.items()}
    made.filters[COUNTED] = pass_context(_counted)
    made.globals = {"range": _range}
    return made


def _sandbox_class() -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_operands(operator, left, right)
            return _spent(context, super().call_binop(context, operator, left, right))

        def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
            _spent(context, getattr(function, "__self__", 0))
            return _spent(context, super().call(context, function, *args, **kwargs))

    return Sandbox


def _filter_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that counts its arguments and its result as work."""

    def bounded(context: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        for one in (value, *args):
            _spent(context, one)
        return _spent(context, function(value, *args, **kwargs))

    return bounded


def _counted(context: Any, values: Any) -> list[Any]:
    """Return the values of a loop, whose rounds are counted."""
    found = list(values)
    context[BUDGET].rounds(len(found))
    return found


def _spent(context: Any, value: Any) -> Any:
    """Check and count the size of a value, and return the value. Raises Bound."""
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
    """Raise Bound for a repetition that is too long, and for formats, whose widths are unbounded."""
    many, few = (left, right) if isinstance(left, (str, list, tuple)) else (right, left)
    if operator == "*" and isinstance(many, (str, list, tuple)) and isinstance(few, int):
        if len(many) * few > MAX_VALUE:
            raise Bound(f"a repetition becomes longer than {MAX_VALUE:,}")
    elif operator in ("%", "**") and not (operator == "%" and isinstance(left, (int, float))):
        raise Bound(f"{operator!r} accepts only numbers")


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > MAX_ROUNDS:
        raise Bound(f"a range has more than {MAX_ROUNDS:,} numbers")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, (str, int, float)):
        raise Bound(f"{type(value).__name__} is not text; use the filter join for a list")
    return str(value)


def _shown(value: Any) -> str:
    from jinja2 import Undefined

    return (
        str(value) if isinstance(value, Undefined) else _text(value)
    )  # the former raises an error for a missing value


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
    """Return the other value if the first is empty: a column without a value is an empty text."""
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
"""The filters that templates can use."""
