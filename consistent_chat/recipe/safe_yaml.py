"""Reads YAML from strangers: only plain data, within limits, and with the line of every key.

It rejects tags that construct objects, anchors, aliases and repeated keys, and limits size and depth. The safe loader
of PyYAML allows anchors, reads numbers in quadratic time and reports no lines of keys. This module does not depend on
recipes or taxonomies.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from consistent_chat.errors import RecipeError

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 16
MAX_PARTS = 200_000
"""Maximum number of keys, values and items in a file. Reading this many takes a second or two."""
MAX_NUMBER = 100
"""Maximum characters of a number or date, because reading some numbers of YAML 1.1 (1:59:59...) takes quadratic time.
"""
MAX_EXCERPT = 80

_SURPRISES = {
    "int": "an octal, hexadecimal, binary or base 60 number, or one with underscores",
    "float": "infinity, not a number, a base 60 number or one with underscores",
    "bool": "true or false",
    "timestamp": "a date",
    "merge": "a merge key",
    "value": "a default value",
}
"""YAML 1.1 types whose unquoted values can be misread, with their meaning: 010 is 8, 1:30 is 90, no is false."""
_PLAIN = re.compile(
    r"[-+]?(?:0|[1-9][0-9]*)|[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?|true|True|TRUE|false|False|FALSE"
)

Path = tuple[Any, ...]
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """Plain data, with the line of each part for error messages."""

    data: Any
    origin: str
    lines: dict[Path, int] = field(default_factory=dict)

    def where(self, *path: Any) -> str:
        """Return the name of a position, such as `recipe.yaml, line 3 (intents)`; without an unknown line."""
        name = ".".join(str(part) for part in path)
        line = self.lines.get(path)
        place = self.origin if line is None else f"{self.origin}, line {line}"
        return f"{place} ({name})" if name else place


def parse(text: str, origin: str) -> Document:
    """Parse YAML into plain data. Raises RecipeError, which names `origin` and the line."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise RecipeError(f"{origin} is larger than {MAX_BYTES // 2**20} MiB. Make it smaller.")
    try:
        _refuse_unsafe(text, origin)
        loader = _Loader(text)
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        data = None if node is None else _plain(loader, node, (), lines, origin)
    except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError) as error:
        if isinstance(error, RecipeError):
            raise
        _refuse_depth_before(error, text, origin)
        raise RecipeError(f"{origin} is not valid YAML: {_one_line(error)}. Correct it.") from None
    return Document(data, origin, lines)


def excerpt(value: Any) -> str:
    """Return the repr of a value, cut off if it is too long for a message."""
    text = repr(value)
    return text if len(text) <= MAX_EXCERPT else text[: MAX_EXCERPT - 3] + "..."


def _refuse_unsafe(text: str, origin: str) -> None:
    depth = 0
    for count, event in enumerate(_events(text)):
        line = event.start_mark.line + 1
        if count > MAX_PARTS:
            raise RecipeError(f"{origin}, line {line}: more than {MAX_PARTS:,} keys and values. Make it smaller.")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise RecipeError(
                f"{origin}, line {line}: anchors and aliases (& and *) are not allowed. Write out the value."
            )
        if getattr(event, "tag", None):
            raise RecipeError(f"{origin}, line {line}: the tag {event.tag} is not allowed. Use plain YAML values.")
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        if depth > MAX_DEPTH:
            raise RecipeError(f"{origin}, line {line}: nested more than {MAX_DEPTH} levels deep. Make it flatter.")


def _refuse_depth_before(error: Exception, text: str, origin: str) -> None:
    """Raise RecipeError if the text before an error is nested too deeply.

    The parser reads ahead, so its own nesting limit can stop it before it returns the events that show the depth.
    """
    mark = getattr(error, "problem_mark", None)
    if mark is not None and 0 < mark.index < len(text):
        with contextlib.suppress(yaml.YAMLError):
            _refuse_unsafe(text[: mark.index], origin)


def _events(text: str) -> Iterator[Any]:
    return yaml.parse(text, Loader=_Loader)


def _plain(loader: Any, node: Any, path: Path, lines: dict[Path, int], origin: str) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (*path, i), lines, origin) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(loader, node, Document(None, origin, lines).where(*path))
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = _key(loader, key_node, f"{origin}, line {key_node.start_mark.line + 1}")
        if key in mapping:
            raise RecipeError(
                f"{origin}, line {key_node.start_mark.line + 1}: the key {key!r} is repeated. Remove one."
            )
        place = (*path, key)
        mapping[key] = _plain(loader, value_node, place, lines, origin)
        lines[place] = key_node.start_mark.line + 1
    return mapping


def _key(loader: Any, node: Any, where: str) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        raise RecipeError(f"{where}: a key must be plain text. Correct it.")
    return _scalar(loader, node, where)


def _scalar(loader: Any, node: Any, where: str) -> Any:
    """Return a value; `where` names its file, line and field in errors."""
    if not node.tag.endswith(":str") and len(node.value) > MAX_NUMBER:
        raise RecipeError(f"{where}: a number has more than {MAX_NUMBER} characters. Make it shorter.")
    kind = node.tag.rpartition(":")[2]
    if kind in _SURPRISES and not _PLAIN.fullmatch(node.value):
        raise RecipeError(f"{where}: YAML reads {node.value} as {_SURPRISES[kind]}. {_remedy(kind)}")
    return loader.construct_object(node)


def _remedy(kind: str) -> str:
    if kind in ("int", "float"):
        return "Write a decimal number without leading zeros, or put it in quotes if it is text."
    if kind == "bool":
        return "Write true or false, or put it in quotes if it is text."
    return "Put it in quotes."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
