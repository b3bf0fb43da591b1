"""Templates of text for people, in which every value is shown as text unless a filter has made it markup.

A template's name says its language: `card.md.jinja` is Markdown, `use.py.jinja` Python. A value that no filter has
treated is escaped for that language, so a forgotten filter can never let a text of a model or stranger become markup.
Only the filters below exist: Jinja's own `safe` and `format` would get around that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from consistent_chat.text import markup

ESCAPES: dict[str, Callable[[str], Markup]] = {
    "html": markup.escaped,
    "md": markup.plain,
    "py": markup.python_string,
    "sh": markup.shell_word,
}
"""How a text becomes part of a template, by the template's language."""


def environment(package: str) -> Environment:
    """Return the templates in the folder `templates` of a package."""
    found = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=_inert,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters = {name: found.filters[name] for name in ("length", "list", "map")} | FILTERS
    return found


@pass_context
def _inert(context: Context, value: object) -> Markup:
    """Return a value as markup of the template's language. Numbers stay as they are."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    if isinstance(value, int | float):
        return Markup(text)  # noqa: S704 - a number
    return ESCAPES[(context.name or "").split(".")[-2]](text)


@pass_context
def _join(context: Context, values: Iterable[object], separator: str) -> Markup:
    """Join values as the template would print each. The separator is markup."""
    return Markup(separator).join(_inert(context, value) for value in values)  # noqa: S704 - written in a template


def _count(number: int) -> Markup:
    """Return a whole number with commas between the thousands."""
    return Markup(f"{int(number):,}")  # noqa: S704 - a number


def _fixed(number: float, decimals: int) -> Markup:
    """Return a number with commas between the thousands and so many decimals."""
    return Markup(f"{float(number):,.{decimals}f}")  # noqa: S704 - a number


FILTERS: dict[str, Callable[..., Any]] = {
    "code": markup.code,
    "count": _count,
    "fence": markup.fence,
    "fixed": _fixed,
    "join": _join,
    "line": markup.line,
    "message": markup.message,
    "path": markup.path,
    "python_name": markup.python_name,
}
