"""Command-line options: one for each described field, and those that several commands share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from consistent_chat.recipe.description import BY_ROLE, OPERATIONAL, RECIPE, SIMILARITY, Field
from consistent_chat.recipe.shape import FACETS

Decorator = Callable[[Any], Any]
ROLES = ("user", "assistant", "judge", "alternative")
COUNT = click.IntRange(1)
CALLING = (
    *(
        "model",
        "temperature",
        "seed",
        "intents",
        "serving",
        "base_url",
        "api_key",
        "responses",
        "storage_options",
        "mode",
    ),
    *("max_concurrency", "max_draws", "timeout", "max_cost", "max_calls", "max_requests_per_minute"),
    *("max_tokens_per_minute", "max_output_tokens", "context_tokens", "structured_output", "system_role", "streaming"),
    "wait_for_server",
)
"""The fields of a command that calls a model for something other than dialogues."""


if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic only in newer versions of click


class Json(_ParamType):
    """A value in JSON. With `only_objects`, it must be an object."""

    name = "JSON"

    def __init__(self, only_objects: bool, example: str) -> None:
        self._only_objects, self._example = only_objects, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of the text."""
        try:
            parsed = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            parsed = self
        if parsed is self or (self._only_objects and not isinstance(parsed, dict)):
            self.fail(f"give {self._example}", param, ctx)
        return parsed


class Plain(_ParamType):
    """A name or a number, or a list or an object in JSON."""

    name = "VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of the text. A text that is not JSON is a name."""
        try:
            return json.loads(value)
        except ValueError:
            return value


class Several(click.Option):
    """An option that takes one or more values and may be repeated. Its value is None if the option is not given."""

    takes_several = True

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Return a list, or None if the option is not given."""
        values = super().type_cast_value(ctx, value)
        return list(values) if values else None


class Pairs(Several):
    """An option with several `NAME=VALUE`. Its value is a mapping, in which whole numbers are integers."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Return a mapping, or None if the option is not given."""
        pairs: dict[str, Any] = {}
        for given in super().type_cast_value(ctx, value) or ():
            name, equals, text = given.partition("=")
            if not equals:
                raise click.BadParameter(f"give {self.metavar}, not {given!r}", ctx, self)
            if name in pairs:
                raise click.BadParameter(f"{name!r} is given twice", ctx, self)
            pairs[name] = int(text) if text.isdecimal() else text
        return pairs or None


class OfRole(_ParamType):
    """A value of some type, or `ROLE=VALUE`, which becomes a pair."""

    def __init__(self, kind: Any) -> None:
        self._kind = click.types.convert_type(kind)
        self.name = self._kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of the text, with its role if there is one."""
        role, equals, text = str(value).partition("=")
        is_pair = equals and role in ROLES
        converted = self._kind.convert(text if is_pair else value, param, ctx)
        return (role, converted) if is_pair else converted


class ByRole(click.Option):
    """An option with one value, or with several `ROLE=VALUE`, which become a mapping."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the value, the mapping, or None if the option is not given."""
        values = super().type_cast_value(ctx, value) or ()
        pairs = [given for given in values if isinstance(given, tuple)]
        if pairs and len(pairs) < len(values):
            raise click.BadParameter(f"give one value, or several with roles ({', '.join(ROLES)}): user=...", ctx, self)
        if len(dict(pairs)) < len(pairs):
            raise click.BadParameter("a role is given twice", ctx, self)
        if pairs:
            return dict(pairs)
        return values[-1] if values else None  # the last of several values, as with other options


class Repeated(click.Option):
    """An option that may be repeated. Its value is a list, or None if the option is not given."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Return a list, or None if the option is not given."""
        values = super().type_cast_value(ctx, value)
        return list(values) if values else None


SIMILARITIES = 'a number, or numbers in JSON, such as {"user_messages": 0.7, "answers": 0.8}'
"""The values that `--drop-near-duplicates` accepts."""


OBJECTS = {
    "attributes": '{"tier": {"free": 0.8, "paid": 0.2}}',
    "judge": '{"model": "m", "criteria": {"tone": "Is it kind?"}}',
    "preferences": '{"rejected_model": "my-student"}',
    "rules": '{"brief": {"side": "answers", "max_words": 200}}',
    "seeds": '{"data": "tickets.csv", "fields": {"source": "body"}}',
    "storage_options": '{"anon": true}',
}
"""The fields that take a JSON object, each with an example."""


def _kind(field: Field) -> dict[str, Any]:
    """Return the arguments of `click.option` for a field, from its schema."""
    kind = field.schema.get("type")
    if field.name == "drop_near_duplicates":
        return {"is_flag": False, "flag_value": str(SIMILARITY), "type": Json(False, SIMILARITIES)}
    if field.name == "checks":
        return {"type": Json(False, 'true, false or a JSON object, such as {"repeats": 0.9}')}
    if field.name == "num_turns_per_dialog" or field.name in FACETS:
        return {"type": Plain()}
    if field.name in OBJECTS:
        return {"type": Json(True, f"a JSON object, such as {OBJECTS[field.name]}")}
    if field.name == "responses":
        return {"cls": Repeated, "multiple": True}
    if kind == "array" or "anyOf" in field.schema:
        return {"cls": Several, "multiple": True}
    if kind == "object":
        return {"cls": Pairs, "multiple": True}
    value: Any = {"integer": int, "number": float, "boolean": bool}.get(str(kind), str)
    if "enum" in field.schema:
        value = click.Choice(field.schema["enum"])
    if field.name in BY_ROLE and kind != "boolean":
        return {"cls": ByRole, "multiple": True, "type": OfRole(value)}
    return {"type": value}


def option(field: Field) -> Decorator:
    """Return the option of a field."""
    shown = f"{field.help} ({field.default_text.replace('`', '')})" if field.default_text else field.help
    name = field.option
    if field.schema.get("type") == "boolean":
        name = f"{name}/--no-{name.removeprefix('--')}"
    given: dict[str, Any] = {"metavar": field.metavar, "help": shown, "default": None, **_kind(field)}
    return click.option(name, field.name, **given)


def _all_of(decorators: list[Decorator]) -> Decorator:
    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def recipe_fields(function: Any) -> Any:
    """Add all fields of a recipe and all operational ones."""
    return _all_of([option(field) for field in (*RECIPE, *OPERATIONAL)])(function)


def fields(*names: str) -> Decorator:
    """Add a few of the fields."""
    return _all_of([option(field) for field in (*RECIPE, *OPERATIONAL) if field.name in names])


def recipe_argument(function: Any) -> Any:
    """Add a recipe."""
    return click.argument("recipe", required=False)(function)


detach = click.option(
    "--detach", is_flag=True, help="with --driver batch: submit the batches and exit; a later run collects them"
)


NAMES = (*(described.name for described in (*RECIPE, *OPERATIONAL)), "detach", "num_proc")
_NAME = "|".join(sorted(NAMES, key=len, reverse=True))
_SWITCHES = {*(one.name for one in (*RECIPE, *OPERATIONAL) if one.schema.get("type") == "boolean"), "detach"}
_KEYWORD = re.compile(rf"""(?<![\w.?&-])({_NAME})=('[\w.-]*'|"[\w.-]*"|True|False|[\d.]*\d)?""")
_SUBJECT = re.compile(rf"^({_NAME})(?= (?:must|cannot|needs|is for)\b)")


def in_options(message: str) -> str:
    """Return a message with options in place of keywords."""
    return _KEYWORD.sub(_option, _SUBJECT.sub(lambda found: _name(found[1]), message))


def _name(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _option(keyword: re.Match[str]) -> str:
    field, value = keyword[1], (keyword[2] or "").strip("'\"")
    if field in _SWITCHES and value in ("True", "False"):
        return _name(field) if value == "True" else _name(f"no_{field}")
    value = value.lower() if value in ("True", "False") else value
    return f"{_name(field)} {value}" if value else _name(field)
