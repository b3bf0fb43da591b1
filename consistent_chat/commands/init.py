"""Writes files to begin with: a recipe, a taxonomy of one's own and the schema for editors: `consistent-chat init`."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

from consistent_chat.errors import RecipeError
from consistent_chat.files import atomic_write
from consistent_chat.recipe import EXTENSION
from consistent_chat.recipe.description import RECIPE, Field, json_schema

SCHEMA = "recipe.schema.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_IN_USE = ("model", "num_dialogs_per_intent", "num_turns_per_dialog", "temperature", "taxonomy")
"""Fields that a new recipe sets; it lists the others as comments."""
_OPTION = re.compile(r"--([a-z-]+)")
_MODEL = "claude-sonnet-4-6"


def init(name: str, folder: str | Path = ".") -> list[Path]:
    """Write NAME.consistent_chat.yaml, NAME.taxonomy.yaml and the schema; return their paths.

    Raises RecipeError, before anything is written, if the name cannot be one of a file or a file exists already. The
    schema is written anew: it belongs to the installed version.
    """
    if not _NAME.fullmatch(name):
        raise RecipeError(f"{name!r} must be a name of letters, digits, '.', '_' and '-'. Choose another name.")
    recipe, taxonomy = Path(folder, f"{name}{EXTENSION}"), Path(folder, f"{name}.taxonomy.yaml")
    for path in (recipe, taxonomy):
        if path.exists():
            raise RecipeError(f"{path} exists already. Move it away, or choose another name.")
    texts = {
        recipe: _recipe(name, taxonomy.name),
        taxonomy: resources.files(__package__).joinpath("templates/taxonomy.yaml").read_text("utf-8"),
        Path(folder, SCHEMA): json.dumps(json_schema(), indent=2) + "\n",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(text.encode("utf-8"))
    return list(texts)


def _recipe(name: str, taxonomy: str) -> str:
    values = {"model": _MODEL, "taxonomy": taxonomy}
    used = [_entry(field, values.get(field.name, field.default)) for field in RECIPE if field.name in _IN_USE]
    others = [_entry(field, field.default, "# ") for field in RECIPE if field.name not in _IN_USE]
    return "\n".join(
        [
            f"# yaml-language-server: $schema={SCHEMA}",
            "# A recipe: everything that shapes the data. Look at a few dialogues before you build the whole:",
            f"#   consistent-chat preview {name}{EXTENSION} --serving anthropic",
            "",
            *used,
            "# All other fields, with their defaults:",
            "",
            *others,
        ]
    )


def _entry(field: Field, value: object, prefix: str = "") -> str:
    """Return the lines of a field: what it is for, and its value in YAML (JSON is YAML)."""
    shown = "" if value is None else f" {value if isinstance(value, str) else json.dumps(value)}"
    default = f" (default: {field.default_text})" if prefix and value is None and field.default_text else ""
    return f"# {_OPTION.sub(_key, field.help)}{default}\n{prefix}{field.name}:{shown}\n"


def _key(option: re.Match[str]) -> str:
    """Return the key of a recipe file for an option of the command line, which the help texts name."""
    return option[1].replace("-", "_")
