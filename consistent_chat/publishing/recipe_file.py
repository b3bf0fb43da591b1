"""Writes the recipe file of a published dataset: all fields that shape the data, with the full taxonomy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.errors import PublishError
from consistent_chat.publishing import layout
from consistent_chat.recipe import Recipe, safe_yaml
from consistent_chat.recipe.ngrams import Ngrams
from consistent_chat.recipe.seeds import Seeds
from consistent_chat.recipe.seeds.seeds import WITHHELD
from consistent_chat.recipe.seeds.source import COLUMN
from consistent_chat.recipe.taxonomy import Category, Flow, Manner, Tags, Taxonomy, Topic

HEAD = "# Everything that shapes this dataset. Its responses are next to this file, in the folder responses/.\n"


def write(recipe: Recipe, path: Path) -> None:
    """Write a recipe and, below it, its sources and n-grams. Raises PublishError if they differ when read back."""
    values = recipe.values()
    if recipe.loaded_seeds is not None:
        values["seeds"] = _with_sources(recipe.loaded_seeds, path)
    if recipe.loaded_review is not None:
        values["review"] = recipe.loaded_review.plain
    if recipe.kept_out:
        values["decontaminate"] = [_written(ngrams, number, path) for number, ngrams in enumerate(recipe.kept_out, 1)]
    values["personas"] = values["manners"] = None  # they are in the taxonomy
    values["intents"] = None if recipe.intents is None else list(recipe.intents)
    values["taxonomy"] = _plain(recipe.full_taxonomy)
    if isinstance(recipe.num_turns_per_dialog, tuple):
        values["num_turns_per_dialog"] = list(recipe.num_turns_per_dialog)
    values = {name: value for name, value in values.items() if value is not None}
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    path.write_text(HEAD + text, encoding="utf-8", newline="\n")
    if recipe.loaded_seeds is not None and recipe.loaded_seeds.private:
        return  # a recipe with withheld columns cannot be used
    if fingerprint(Recipe.from_file(str(path))) != fingerprint(recipe):
        raise PublishError(
            f"The recipe cannot be written to {path.name}, because reading it back gives a different recipe."
        )


def _with_sources(seeds: Seeds, path: Path) -> dict[str, Any]:
    """Write the used sources, with chunks as sources, and return the field that names them."""
    from consistent_chat.recipe.seeds.sources import write as write_sources

    file = layout.seeds(path.name)
    (path.parent / file).parent.mkdir(exist_ok=True)
    names = write_sources(seeds.sources, path.parent / file, seeds.private)
    told = {"data": file, "fields": {name: name for name in names}, "dialogs_per_seed": seeds.dialogs_per_seed}
    told |= {"extend": seeds.extend} if seeds.extend else {}
    return {**told, **({WITHHELD: _shown(seeds.private)} if seeds.private else {})}


def withheld(path: Path) -> list[str]:
    """Return the names of the columns that a published recipe lists as withheld. Raises RecipeError."""
    values = safe_yaml.parse(path.read_text("utf-8"), path.name).data
    seeds = values.get("seeds") if isinstance(values, dict) else None
    found = seeds.get(WITHHELD) if isinstance(seeds, dict) else None
    return list(map(str, found)) if isinstance(found, list) else []


def withheld_of(recipes: Iterable[Recipe]) -> list[str]:
    """Return the names of the columns of any of these recipes that are not published."""
    seeds = (recipe.loaded_seeds for recipe in recipes)
    return sorted({name for one in seeds if one is not None for name in _shown(one.private)})


def _shown(private: Iterable[str]) -> list[str]:
    return [name.removeprefix(COLUMN) for name in private]


def _written(ngrams: Ngrams, number: int, path: Path) -> str:
    """Write a file of n-grams and return its path from the recipe."""
    name = layout.ngrams(path.name, number)
    (path.parent / name).parent.mkdir(exist_ok=True)
    (path.parent / name).write_text(ngrams.text, encoding="ascii", newline="\n")
    return name


class _Block(str):
    """Text of several lines, written unchanged below its key."""


class _Dumper(yaml.SafeDumper):
    """Writes YAML without aliases, which recipe files forbid. Not libyaml's dumper, which breaks lines differently."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_block(self, text: _Block) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")


_Dumper.add_representer(_Block, _Dumper.represent_block)


def _plain(taxonomy: Taxonomy) -> dict[str, Any]:
    flows = {flow.key: flow for intent in taxonomy.intents.values() for flow in intent.all_flows()}
    return {
        "flows": {key: _flow(flow) for key, flow in flows.items()},
        "intents": {
            intent.key: {
                "title": intent.title,
                "purpose": intent.purpose,
                "flows": [flow.key for flow in intent.flows],
                "categories": {category.name: _category(category) for category in intent.categories},
            }
            for intent in taxonomy.intents.values()
        },
        "personas": [_tagged(*persona) for persona in taxonomy.personas],
        "manners": {manner.name: _manner(manner) for manner in taxonomy.manners},
    }


def _flow(flow: Flow) -> dict[str, Any]:
    more = {name: text for name, text in (("opens", flow.opens), ("answers", flow.answers)) if text}
    return {"title": flow.title, **more, "steps": list(flow.steps)}


def _category(category: Category) -> dict[str, Any]:
    needs, flows = _shared_needs(category), [flow.key for flow in category.flows]
    topics = [Topic(topic.text, frozenset() if needs else topic.needs) for topic in category.topics]
    block = all(map(_fits_a_line, topics))
    more = {name: value for name, value in (("needs", sorted(needs)), ("flows", flows)) if value}
    return {**more, "topics": _Block("".join(map(_line, topics))) if block else [_tagged(*topic) for topic in topics]}


def _shared_needs(category: Category) -> Tags:
    """Return what all topics of a category need; empty if their needs differ."""
    first = category.topics[0].needs
    return first if all(topic.needs == first for topic in category.topics) else frozenset()


def _fits_a_line(topic: Topic) -> bool:
    """Return whether a line of a block is read as this topic: a "]" at its end would be read as the end of tags."""
    text = topic.text
    return text.isprintable() and text == text.strip() and (bool(topic.needs) or not text.endswith("]"))


def _line(topic: Topic) -> str:
    return f"{topic.text} [{', '.join(sorted(topic.needs))}]\n" if topic.needs else f"{topic.text}\n"


def _manner(manner: Manner) -> Any:
    tags = {name: sorted(found) for name, found in (("needs", manner.needs), ("unlike", manner.unlike)) if found}
    return {"description": manner.description, **tags} if tags else manner.description


def _tagged(text: str, tags: Tags) -> Any:
    return {text: sorted(tags)} if tags else text
