"""The recipe: everything that shapes the data, and nothing operational.

A recipe comes from keyword arguments, or from a YAML file that may have been written by a stranger: such a file
is plain data, and can name neither code, nor an address, nor a file outside its own folder.
"""

from __future__ import annotations

import difflib
import math
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from consistent_chat import plain_yaml, taxonomy
from consistent_chat.errors import RecipeError
from consistent_chat.plain_yaml import Document, excerpt
from consistent_chat.taxonomy import Taxonomy

EXTENSION = ".consistent_chat.yaml"
LAYOUTS = ("conversation", "messages", "sharegpt")
MAX_TURNS = 100
MAX_DIALOGS = 10**9


@dataclass(frozen=True)
class Recipe:
    """What to make. Two equal recipes and the same responses give the same rows, byte for byte.

    Args:
        model: the provider's name of the model that writes the dialogues.
        num_dialogs_per_intent: dialogues for each intent, 1 to 10**9.
        num_turns_per_dialog: user messages in a dialogue, and as many answers; 1 to 100.
        temperature: sampling temperature, 0 to 2.
        seed: which specs are drawn, in which order; any integer of 64 bits.
        intents: keys of the intents to use; None is all of the taxonomy's.
        language: the language of the dialogues, by its English name.
        taxonomy: what dialogues can be about; None is the built-in one. Also given as a mapping, or as the path
            or URL of a YAML file.
        layout: the names in a row. "conversation": conversation of {role, value}; "messages": messages of
            {role, content}; "sharegpt": conversations of {from, value}.
        provenance: whether each row says where it comes from.

    Raises:
        RecipeError: a value is wrong; the message names the field and what it takes.
    """

    model: str | None = None
    num_dialogs_per_intent: int = 20
    num_turns_per_dialog: int = 6
    temperature: float = 0.9
    seed: int = 0
    intents: tuple[str, ...] | None = None
    language: str = "English"
    taxonomy: Taxonomy | Mapping[str, Any] | str | os.PathLike[str] | None = None
    layout: str = "conversation"
    provenance: bool = True
    origin: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen; values are put into their one form here
        _whole(self, "num_dialogs_per_intent", 1, MAX_DIALOGS)
        _whole(self, "num_turns_per_dialog", 1, MAX_TURNS)
        _whole(self, "seed", -(2**63), 2**63 - 1)
        set_field(self, "temperature", _temperature(self))
        set_field(self, "model", None if self.model is None else _line(self, "model", 200))
        set_field(self, "language", _line(self, "language", 60))
        if self.layout not in LAYOUTS:
            raise _wrong(self, "layout", f"one of {', '.join(LAYOUTS)}")
        if not isinstance(self.provenance, bool):
            raise _wrong(self, "provenance", "true or false")
        set_field(self, "taxonomy", _taxonomy(self.taxonomy))
        set_field(self, "intents", _intents(self, self.full_taxonomy))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str = "") -> Recipe:
        """Build a recipe from plain data; unknown names are errors that suggest the right one."""
        for name in values:
            if name not in FIELDS:
                raise RecipeError(f"{_at(origin)}there is no field {name!r}.{suggestion(name, FIELDS)}")
        return cls(**values, origin=origin)

    @classmethod
    def from_file(cls, url: str, storage_options: Mapping[str, Any] | None = None, **overrides: Any) -> Recipe:
        """Read a recipe file from a path or any fsspec URL; `overrides` win over what it says."""
        document = _read(url, storage_options or {})
        values = _file_values(document, url, storage_options or {})
        try:
            return cls.from_mapping({**values, **overrides}, origin=document.origin)
        except RecipeError as error:
            raise _with_line(error, document, values, overrides) from None

    @property
    def full_taxonomy(self) -> Taxonomy:
        """The taxonomy with all of its intents."""
        return self.taxonomy if isinstance(self.taxonomy, Taxonomy) else taxonomy.builtin()

    @cached_property
    def chosen_taxonomy(self) -> Taxonomy:
        """The taxonomy with the chosen intents alone."""
        return self.full_taxonomy if self.intents is None else self.full_taxonomy.only(self.intents)

    def with_model(self, model: str) -> Recipe:
        """Return the same recipe for another model."""
        return replace(self, model=model)


FIELDS = tuple(f.name for f in fields(Recipe) if f.name != "origin")
"""The names of what shapes the data, in the order of the documentation."""


def suggestion(name: object, known: tuple[str, ...]) -> str:
    """Return what to say after "there is no X": the nearest known name, or all of them."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" Use: {', '.join(known)}."


def paths(name: str, given: Any) -> list[str]:
    """Return the path or URL, or the several, that a parameter was given; raises RecipeError where that is none."""
    several = given if isinstance(given, (list, tuple)) else [given]
    if not several or not all(isinstance(path, (str, os.PathLike)) and os.fspath(path) for path in several):
        raise RecipeError(f"{name} must be a path or URL, or a list of some, not {excerpt(given)}.")
    return [os.fspath(path) for path in several]


def _at(origin: str) -> str:
    return f"{origin}: " if origin else ""


def _wrong(recipe: Recipe, name: str, expected: str) -> RecipeError:
    return RecipeError(f"{_at(recipe.origin)}{name} must be {expected}, not {excerpt(getattr(recipe, name))}.")


def _whole(recipe: Recipe, name: str, low: int, high: int) -> None:
    value = getattr(recipe, name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _wrong(recipe, name, f"a whole number from {low} to {high}")


def _temperature(recipe: Recipe) -> float:
    value = recipe.temperature
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= 2:
        raise _wrong(recipe, "temperature", "a number from 0 to 2")
    return abs(float(value))  # -0.0 is 0.0


def _line(recipe: Recipe, name: str, longest: int) -> str:
    value = getattr(recipe, name)
    if not isinstance(value, str) or not value.strip() or len(value) > longest or not value.isprintable():
        raise _wrong(recipe, name, f"one line of text, 1 to {longest} characters")
    return value.strip()


def _taxonomy(value: Any) -> Taxonomy | None:
    if value is None or isinstance(value, Taxonomy):
        return value
    if isinstance(value, Mapping):
        return taxonomy.load(Document(dict(value), "taxonomy"))
    if isinstance(value, (str, os.PathLike)):
        return taxonomy.load(_read(os.fspath(value), {}))
    raise RecipeError(f"taxonomy must be a path, a URL or a mapping, not {type(value).__name__}.")


def _intents(recipe: Recipe, whole: Taxonomy) -> tuple[str, ...] | None:
    given = recipe.intents
    if given is None:
        return None
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, (list, tuple)) or not names:
        raise _wrong(recipe, "intents", "a list of intents, or None for all")
    keys = {_fold(name): key for key, intent in whole.intents.items() for name in (key, intent.title)}
    for name in names:
        if _fold(name) not in keys:
            known = tuple(whole.intents)
            raise RecipeError(f"{_at(recipe.origin)}there is no intent {name!r}.{suggestion(name, known)}")
    chosen = {keys[_fold(name)] for name in names}
    return tuple(key for key in whole.intents if key in chosen)


def _fold(name: object) -> str:
    return str(name).strip().lower().replace(" ", "_").replace("-", "_")


def _read(url: str, storage_options: Mapping[str, Any]) -> Document:
    try:
        with fsspec.open(url, "rb", **storage_options) as file:
            text = _at_most(plain_yaml.MAX_BYTES + 1, file).decode("utf-8")
    except UnicodeDecodeError:
        raise RecipeError(f"{url} is not UTF-8 text. Save it as UTF-8.") from None
    except Exception as error:  # each filesystem has errors of its own
        raise RecipeError(f"{url} cannot be read: {error}. Check the path or URL.") from None
    return plain_yaml.parse(text, posixpath.basename(url) or url)


def _at_most(size: int, file: Any) -> bytes:
    """Read so many bytes, or all there are: a stream may give fewer than it is asked for, and none only at its end."""
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _file_values(document: Document, url: str, storage_options: Mapping[str, Any]) -> dict[str, Any]:
    """Check a recipe file's names and resolve its taxonomy, which must lie beside or below it."""
    values = document.data
    if not isinstance(values, dict):
        raise RecipeError(f"{document.where()} must be a mapping of recipe fields.{suggestion('', FIELDS)}")
    for name in values:
        if name not in FIELDS:
            hint = suggestion(name, FIELDS)
            raise RecipeError(f"{document.where(name)}: a recipe file has no field {name!r}.{hint}")
    given = values.get("taxonomy")
    if isinstance(given, str):
        values = {**values, "taxonomy": taxonomy.load(_read(_beside(url, given, document), storage_options))}
    elif isinstance(given, dict):
        lines = {path[1:]: line for path, line in document.lines.items() if path[:1] == ("taxonomy",)}
        values = {**values, "taxonomy": taxonomy.load(Document(given, document.origin, lines))}
    elif given is not None:
        raise RecipeError(f"{document.where('taxonomy')} must be a mapping or a file beside the recipe.")
    return values


def _beside(url: str, name: str, document: Document) -> str:
    parts, place = name.split("/"), posixpath.join(posixpath.dirname(url), name)
    strange = set(name) & set("\\:%")  # the path of a URL may be climbed with %2e%2e
    if strange or name.startswith("~") or ".." in parts or "" in parts or _links_out(url, place):
        raise RecipeError(
            f"{document.where('taxonomy')}: {name!r} must be a relative path within the recipe's own folder."
        )
    return place


def _links_out(url: str, place: str) -> bool:
    """Say whether a link leads to a file that is neither within the recipe's folder nor where the recipe really is.

    In the cache of the Hub's client, all files of a repo are links into one other folder.
    """
    if get_protocol(url) not in LocalFileSystem.protocol:
        return False
    recipe, other = (LocalFileSystem._strip_protocol(path) for path in (url, place))
    folders = (os.path.realpath(os.path.dirname(recipe)), os.path.dirname(os.path.realpath(recipe)))
    return not any(Path(os.path.realpath(other)).is_relative_to(folder) for folder in folders)


def _with_line(
    error: RecipeError, document: Document, values: Mapping[str, Any], overrides: Mapping[str, Any]
) -> RecipeError:
    """Name the line where it is the file's own value that is wrong, and not the file where it is an override."""
    message = str(error).removeprefix(_at(document.origin))
    own = [name for name in values if name not in overrides]
    name = next((name for name in own if message.startswith(f"{name} must")), None)
    if name is None and "intents" in own and message.startswith("there is no intent"):
        name = "intents"
    return RecipeError(message if name is None else f"{document.where(name)}: {message}")
