"""The names that templates and conditions can use: facets of a dialogue, attributes and, with seeds, columns.

A name stands for the field of that name that `seeds` maps, else for the column, else for the facet.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import attributes, template
from consistent_chat.recipe.attributes import Attributes
from consistent_chat.recipe.fields import suggestion
from consistent_chat.recipe.seeds import Seeds, Source
from consistent_chat.recipe.seeds.source import COLUMN

if TYPE_CHECKING:
    from consistent_chat.recipe.seeds.sources import Sources

NAMES = ("intent", "category", "topic", "persona", "manner")
"""What is drawn for every dialogue."""
ROWS = ("topic", "category", "persona", "system_prompt", "conversation")
"""Fields of seeds whose texts stand in the rows or in the card."""
MAPPED = ("category", "topic", "persona", "source")
"""Fields of seeds that are names."""
TRIED = 1_000
"""Sources with which templates are rendered when a recipe is made. Before calls it is all, some 0.1 ms each."""


def used(templates: Mapping[str, str], own: Attributes) -> dict[str, str]:
    """Return the names that templates and conditions use, each with the first field that does. Raises RecipeError.

    Those of the recipe's own attributes are left out.
    """
    found = attributes.conditions(own)
    for place, text in templates.items():
        for name in template.names(place, text):
            if name not in own:
                found.setdefault(name, place)
    return found


def columns(wanted: Iterable[str], fields: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the columns that names stand for, and those that they stand for if the data has them."""
    others = [name for name in wanted if not (name in MAPPED and name in fields)]
    return [name for name in others if name not in NAMES], [name for name in others if name in NAMES]


def check(templates: Mapping[str, str], seeds: Seeds | None, own: Attributes, most: int | None) -> None:
    """Raise RecipeError for an unknown name, or for a template that cannot be rendered.

    `most` is the number of sources with which templates are rendered, None for all.
    """
    wanted = used(templates, own)
    if not templates and not wanted:
        return
    drawn = {name: next(attributes.values(cases)) for name, cases in own.items()}
    values = dict(zip(NAMES, NAMES)) | ({} if seeds is None else _values(seeds.sources[0]))
    for name, place in wanted.items():
        if name not in values:
            raise RecipeError(f"{place} must use known names: there is no {name!r}.{suggestion(name, (*values, *own))}")
    if seeds is None:
        _render(templates, values | drawn)
    elif templates:
        _try(tuple(templates.items()), seeds.sources, tuple(drawn.items()), most)


@functools.lru_cache(maxsize=4)  # a recipe is made anew with each of its changed fields
def _try(
    templates: tuple[tuple[str, str], ...], sources: Sources, drawn: tuple[tuple[str, str], ...], most: int | None
) -> None:
    """Render templates with the first sources. Raises RenderError that names the source."""
    for source in itertools.islice(sources, most):
        try:
            _render(dict(templates), {**dict(zip(NAMES, NAMES)), **_values(source), **dict(drawn)})
        except template.RenderError as error:
            raise template.RenderError(f"{error} It was for the source {source.title!r}.") from None


def _render(templates: Mapping[str, str], values: Mapping[str, str]) -> None:
    for place, text in templates.items():
        template.render(place, text, values)


def check_private(seeds: Seeds, system_prompt: str) -> None:
    """Raise RecipeError for a column that cannot be kept private, as its texts stand in the rows."""
    in_prompt = template.names("system_prompt", system_prompt) if seeds.private else ()
    shown = {*ROWS, *in_prompt, *(f"{COLUMN}{name}" for name in in_prompt)}
    for name in seeds.private:
        why = "it is in the rows" if name in shown else ""
        if name == "source" and seeds.sources.has_empty("topic"):
            why = "where a row has no topic, the beginning of its source stands in the rows"
        if why:
            raise RecipeError(
                f"seeds must publish the column of {name.removeprefix(COLUMN)!r} as well: {why}. Add it to publish, or "
                "do not use it."
            )


def _values(source: Source) -> dict[str, str]:
    """Return the names of a source, with a text for what is drawn where it is empty."""
    drawn = {"topic": source.title, "category": source.category, "persona": source.persona}
    return {name: text for name, text in drawn.items() if text} | {"source": source.source} | dict(source.columns)
