"""A recipe as a file that says everything: every field, and the taxonomy with all of its intents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from consistent_chat.errors import PublishError
from consistent_chat.identity import fingerprint
from consistent_chat.recipe import FIELDS, Recipe
from consistent_chat.taxonomy import Taxonomy

HEAD = "# Everything that shapes this dataset. The responses that it is made of lie beside this file, in responses/.\n"


def write(recipe: Recipe, path: Path) -> None:
    """Write a recipe; raises PublishError where it would not be read as the same."""
    values = {name: getattr(recipe, name) for name in FIELDS}
    values["personas"] = values["manners"] = None  # they are in the taxonomy
    values["intents"] = None if recipe.intents is None else list(recipe.intents)
    values["taxonomy"] = _plain(recipe.full_taxonomy)
    values = {name: value for name, value in values.items() if value is not None}
    path.write_text(HEAD + yaml.dump(values, **_WRITING), encoding="utf-8", newline="\n")
    if fingerprint(Recipe.from_file(str(path))) != fingerprint(recipe):
        raise PublishError(f"The recipe cannot be written down as {path.name}: it would be read as another one.")


class _Dumper(yaml.SafeDumper):
    """Writes everything out: a recipe file has no aliases. In Python, since libyaml breaks lines elsewhere."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_WRITING: dict[str, Any] = {"Dumper": _Dumper, "sort_keys": False, "allow_unicode": True, "width": 120}


def _plain(taxonomy: Taxonomy) -> dict[str, Any]:
    flows = {flow.key: flow for intent in taxonomy.intents.values() for flow in intent.flows}
    return {
        "flows": {key: {"title": flow.title, "steps": list(flow.steps)} for key, flow in flows.items()},
        "intents": {
            intent.key: {
                "title": intent.title,
                "purpose": intent.purpose,
                "flows": [flow.key for flow in intent.flows],
                "categories": {name: list(topics) for name, topics in intent.categories},
            }
            for intent in taxonomy.intents.values()
        },
        "personas": list(taxonomy.personas),
        "manners": dict(taxonomy.manners),
    }
