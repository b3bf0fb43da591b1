"""Templates that a recipe's author writes, rendered by Jinja2's sandbox: a pure function of a text and named values.

A text with neither `{{` nor `{%` is no template and stays as it is. The author may be a stranger, so a template has
only what sentences need: names, conditions, loops, arithmetic, and the filters and methods below. The size of every
value, the output and the work are bounded. Values are never templates themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.fields import suggestion
from consistent_chat.recipe.sandbox import BUDGET, COUNTED, FILTERS, MAX_NUMBER, Bound, Budget, sandbox

MAX_OUTPUT = 20_000
"""Maximum characters of a rendered text, as many as a system prompt may have."""
METHODS = ("capitalize", "endswith", "lower", "split", "startswith", "strip", "title", "upper")
LOOP = ("first", "index", "index0", "last", "length", "revindex")
_NODES = frozenset(
    """Add And Assign Call Compare Concat CondExpr Const Div Filter FloorDiv For Getattr Getitem If Keyword List Mod Mul
    Name Neg Not Operand Or Output Pos Slice Sub Template TemplateData Test Tuple""".split()  # noqa: SIM905 - brief
)
"""The nodes of Jinja2's syntax that a template may have."""


class RenderError(RecipeError):
    """A template cannot be rendered with the values of a dialogue."""


def is_template(text: str) -> bool:
    """Tell whether a text is a template."""
    return "{{" in text or "{%" in text


def names(place: str, text: str) -> tuple[str, ...]:
    """Return the names that a text uses, sorted; none if it is no template. Raises RecipeError if it is not valid."""
    return _compiled(place, text)[1] if is_template(text) else ()


def render(place: str, text: str, values: Mapping[str, str]) -> str:
    """Return a text with these values for its names, without white space around it.

    Raises RenderError, which names the place, if it cannot be rendered with them.
    """
    if not is_template(text):
        return text
    template, _ = _compiled(place, text)
    try:
        return _joined(template.generate({**values, BUDGET: Budget(len(text))})).strip()
    except Exception as error:  # whatever an expression raises
        raise RenderError(f"{place} cannot be rendered: {' '.join(str(error).split())[:300]}. Correct it.") from None


def _joined(parts: Iterable[str]) -> str:
    found, size = list[str](), 0
    for part in parts:
        found.append(part)
        size += len(part)
        if size > MAX_OUTPUT:
            raise Bound(f"it becomes longer than {MAX_OUTPUT:,} characters")
    return "".join(found)


@functools.lru_cache(maxsize=64)
def _compiled(place: str, text: str) -> tuple[Any, tuple[str, ...]]:
    """Return the compiled template and its names. Raises RecipeError for syntax and for what templates do not have."""
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
    except Exception as error:  # too deep for the parser or the compiler
        raise RecipeError(f"{place} must be a simpler template: {type(error).__name__}. Make it shorter.") from None


def _check(tree: Any) -> None:
    """Raise Bound for the first thing that templates do not have."""
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
    """Return a tree whose loops count their rounds, and whose `~` is a `+`, which the sandbox watches."""
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
