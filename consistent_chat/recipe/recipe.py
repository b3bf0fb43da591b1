"""The recipe: everything that shapes the data, and nothing operational.

A recipe comes from keyword arguments, or from a YAML file that may have been written by a stranger: such a file
is plain data, and can name neither code, nor an address, nor a file outside its own folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from consistent_chat import taxonomy
from consistent_chat.errors import RecipeError
from consistent_chat.plain_yaml import Document
from consistent_chat.recipe import file
from consistent_chat.recipe.values import line, number, one_of, optional, suggestion, truth, whole, wrong
from consistent_chat.taxonomy import Taxonomy

EXTENSION = ".consistent_chat.yaml"
LAYOUTS = ("conversation", "messages", "sharegpt")

CHECKS = {
    "num_dialogs_per_intent": whole(1, 10**9),
    "num_turns_per_dialog": whole(1, 100),
    "seed": whole(-(2**63), 2**63 - 1),
    "temperature": number(0, 2),
    "model": optional(line(200)),
    "language": line(60),
    "layout": one_of(*LAYOUTS),
    "provenance": truth,
}
"""What the fields take, but for the taxonomy and what is looked up in it."""


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
        set_field(self, "taxonomy", _taxonomy(self.taxonomy))
        try:
            for name, check in CHECKS.items():
                set_field(self, name, check(name, getattr(self, name)))
            set_field(self, "intents", _intents(self.intents, self.full_taxonomy))
        except RecipeError as error:
            raise RecipeError(f"{file.at(self.origin)}{error}") from None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str = "") -> Recipe:
        """Build a recipe from plain data; unknown names are errors that suggest the right one."""
        for name in values:
            if name not in FIELDS:
                raise RecipeError(f"{file.at(origin)}there is no field {name!r}.{suggestion(name, FIELDS)}")
        return cls(**values, origin=origin)

    @classmethod
    def from_file(cls, url: str, storage_options: Mapping[str, Any] | None = None, **overrides: Any) -> Recipe:
        """Read a recipe file from a path or any fsspec URL; `overrides` win over what it says."""
        document = file.read(url, storage_options or {})
        values = file.contents(document, FIELDS, url, storage_options or {})
        try:
            return cls.from_mapping({**values, **overrides}, origin=document.origin)
        except RecipeError as error:
            raise file.with_line(error, document, values, overrides) from None

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


def _taxonomy(value: Any) -> Taxonomy | None:
    if value is None or isinstance(value, Taxonomy):
        return value
    if isinstance(value, Mapping):
        return taxonomy.load(Document(dict(value), "taxonomy"))
    if isinstance(value, (str, os.PathLike)):
        return taxonomy.load(file.read(os.fspath(value), {}))
    raise RecipeError(f"taxonomy must be a path, a URL or a mapping, not {type(value).__name__}.")


def _intents(given: Any, whole: Taxonomy) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, (list, tuple)) or not names:
        raise wrong("intents", given, "a list of intents, or None for all")
    keys = {_fold(name): key for key, intent in whole.intents.items() for name in (key, intent.title)}
    for name in names:
        if _fold(name) not in keys:
            raise RecipeError(f"there is no intent {name!r}.{suggestion(name, tuple(whole.intents))}")
    chosen = {keys[_fold(name)] for name in names}
    return tuple(key for key in whole.intents if key in chosen)


def _fold(name: object) -> str:
    return str(name).strip().lower().replace(" ", "_").replace("-", "_")
