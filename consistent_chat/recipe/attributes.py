"""Attributes that a recipe defines, and the names that templates and conditions can use.

Attributes are values that the plan draws by weights, some of them under conditions. The canonical form of an attribute
is a list of cases, each with `values` (texts with weights) and, unless it always holds, `when` (a list of texts by
name). The first case that holds is drawn from; if none holds, the value is empty.

Names are facets of a dialogue, attributes and, with seeds, columns. A name means the field with that name that `seeds`
maps, else the column, else the facet.
"""

from __future__ import annotations

import functools
import itertools
import keyword
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import template
from consistent_chat.recipe.fields import line, suggestion, type_error, weights
from consistent_chat.recipe.seeds import Seeds, Source
from consistent_chat.recipe.seeds.source import COLUMN

if TYPE_CHECKING:
    from consistent_chat.recipe.seeds.sources import Sources


MAX_ATTRIBUTES, MAX_VALUES, MAX_CASES = 100, 1_000, 100
LONGEST = 1_000
"""Maximum characters of a value."""
RESERVED = ("intent", "category", "topic", "persona", "manner", "source", "range", "loop")
"""Names that have another meaning in templates."""

Case = dict[str, Any]
Attributes = Mapping[str, Sequence[Case]]


def check(name: str, value: Any) -> dict[str, list[Case]]:
    """Return attributes in their canonical form. Raises RecipeError."""
    if not isinstance(value, Mapping) or not 1 <= len(value) <= MAX_ATTRIBUTES:
        raise type_error(name, value, f"a mapping of up to {MAX_ATTRIBUTES} names to values with weights")
    found: dict[str, list[Case]] = {}
    for attribute, given in value.items():
        if not _is_name(attribute):
            raise RecipeError(
                f"{name} must have names of letters, digits and _ that have no other meaning, not {attribute!r}. "
                "Rename it."
            )
        found[attribute] = _cases(f"{name}.{attribute}", given, found, [*value])
    return found


def conditions(attributes: Attributes) -> dict[str, str]:
    """Return the names that conditions use, except attributes, each with the first condition that uses it."""
    found: dict[str, str] = {}
    for attribute, cases in attributes.items():
        for name in (name for case in cases for name in case.get("when", ())):
            if name not in attributes:
                found.setdefault(name, f"attributes.{attribute}")
    return found


def values_of(cases: Sequence[Case]) -> Iterator[str]:
    """Yield the values that an attribute can have."""
    return (text for case in cases for text in case["values"])


def _is_name(name: Any) -> bool:
    return (
        isinstance(name, str)
        and name.isidentifier()
        and len(name) <= 60
        and name not in RESERVED
        and not keyword.iskeyword(name.title())
        and not keyword.iskeyword(name)
    )


def _cases(place: str, given: Any, earlier: Attributes, names: Sequence[str]) -> list[Case]:
    is_listed = isinstance(given, (list, tuple)) and given and all(map(_is_case, given))
    cases = list(given) if is_listed else [given] if _is_case(given) else [{"values": given}]
    if len(cases) > MAX_CASES:
        raise type_error(place, given, f"a list of at most {MAX_CASES} cases")
    return [_case(place, case, earlier, names) for case in cases]


def _is_case(given: Any) -> bool:
    return isinstance(given, Mapping) and isinstance(given.get("values"), (Mapping, list, tuple))


def _case(place: str, given: Mapping[str, Any], earlier: Attributes, names: Sequence[str]) -> Case:
    for key in given:
        if key not in ("when", "values"):
            raise RecipeError(f"{place} must have cases with when and values: there is no {key!r}.")
    drawn = {"values": _values(place, given["values"])}
    if given.get("when") is None:
        return drawn
    return {"when": _when(f"{place}.when", given["when"], earlier, names), **drawn}


def _values(place: str, given: Any) -> dict[str, float]:
    weighted = dict.fromkeys(given, 1) if _is_list_of_texts(given) else given
    if not isinstance(weighted, Mapping) or not 1 <= len(weighted) <= MAX_VALUES:
        raise type_error(place, given, "values with weights such as {free: 0.8, paid: 0.2}, a list of texts, or cases")
    text = line(LONGEST)
    return weights(place, {text(f"{place} must have values of text: one", key): each for key, each in weighted.items()})


def _is_list_of_texts(given: Any) -> bool:
    return isinstance(given, (list, tuple)) and all(isinstance(one, str) for one in given)


def _when(place: str, given: Any, earlier: Attributes, names: Sequence[str]) -> dict[str, list[str]]:
    if not isinstance(given, Mapping) or not given:
        raise type_error(place, given, "a mapping of names to a text or a list of texts, such as {tier: paid}")
    found: dict[str, list[str]] = {}
    for name, wanted in given.items():
        texts = [wanted] if isinstance(wanted, str) else wanted
        if not isinstance(name, str) or not texts or not _is_list_of_texts(texts):
            raise type_error(f"{place}.{name}", wanted, "a text or a list of texts")
        if name in names and name not in earlier:
            raise RecipeError(
                f"{place} must only use attributes that are defined before it: {name!r} is defined after it. Move "
                f"{name!r} up."
            )
        _check_known(place, name, texts, tuple(values_of(earlier[name])) if name in earlier else None)
        found[name] = list(texts)
    return found


def _check_known(place: str, name: str, texts: Sequence[str], known: tuple[str, ...] | None) -> None:
    for text in texts if known is not None else ():
        if text not in (known or ()):
            raise RecipeError(
                f"{place} must have values of {name!r}: there is no {text!r}.{suggestion(text, known or ())}"
            )


NAMES = ("intent", "category", "topic", "persona", "manner")
"""Facets that are drawn for every dialogue."""
ROWS = ("topic", "category", "persona", "system_prompt", "conversation")
"""Fields of seeds whose texts are in the rows or in the card."""
MAPPED = ("category", "topic", "persona", "source")
"""Fields of seeds that are names."""
TRIED = 1_000
"""Sources with which templates are rendered when a recipe is made: each takes about 0.1 ms. Before calls it is all."""


def used_names(templates: Mapping[str, str], own: Attributes) -> dict[str, str]:
    """Return the names that templates and conditions use, each with the first field that does. Raises RecipeError.

    Names of the recipe's own attributes are left out.
    """
    found = conditions(own)
    for place, text in templates.items():
        for name in template.names(place, text):
            if name not in own:
                found.setdefault(name, place)
    return found


def columns_of(wanted: Iterable[str], fields: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the columns that names stand for, and those that are used only if the data has them."""
    others = [name for name in wanted if not (name in MAPPED and name in fields)]
    return [name for name in others if name not in NAMES], [name for name in others if name in NAMES]


def check_names(templates: Mapping[str, str], seeds: Seeds | None, own: Attributes, most: int | None) -> None:
    """Raise RecipeError for an unknown name, or for a template that cannot be rendered.

    `most` is the number of sources with which templates are rendered, or None for all.
    """
    wanted = used_names(templates, own)
    if not templates and not wanted:
        return
    drawn = {name: next(values_of(cases)) for name, cases in own.items()}
    values = dict(zip(NAMES, NAMES)) | ({} if seeds is None else _texts_of(seeds.sources[0]))
    for name, place in wanted.items():
        if name not in values:
            raise RecipeError(f"{place} must use known names: there is no {name!r}.{suggestion(name, (*values, *own))}")
    if seeds is None:
        _render_all(templates, values | drawn)
    elif templates:
        _try_templates(tuple(templates.items()), seeds.sources, tuple(drawn.items()), most)


@functools.lru_cache(maxsize=4)  # a changed field makes a new recipe
def _try_templates(
    templates: tuple[tuple[str, str], ...], sources: Sources, drawn: tuple[tuple[str, str], ...], most: int | None
) -> None:
    """Render templates with the first sources. Raises RenderError, which names the source."""
    for source in itertools.islice(sources, most):
        try:
            _render_all(dict(templates), {**dict(zip(NAMES, NAMES)), **_texts_of(source), **dict(drawn)})
        except template.RenderError as error:
            raise template.RenderError(f"{error} The source was {source.title!r}.") from None


def _render_all(templates: Mapping[str, str], values: Mapping[str, str]) -> None:
    for place, text in templates.items():
        template.render(place, text, values)


def check_private(seeds: Seeds, system_prompt: str) -> None:
    """Raise RecipeError for a column that cannot be private because its texts are in the rows."""
    in_prompt = template.names("system_prompt", system_prompt) if seeds.private else ()
    shown = {*ROWS, *in_prompt, *(f"{COLUMN}{name}" for name in in_prompt)}
    for name in seeds.private:
        why = "it is in the rows" if name in shown else ""
        if name == "source" and seeds.sources.has_empty("topic"):
            why = "if a source has no topic, its beginning is in the rows"
        if why:
            raise RecipeError(
                f"seeds must publish the column of {name.removeprefix(COLUMN)!r} as well: {why}. Add it to publish, "
                f"or do not use it."
            )


def _texts_of(source: Source) -> dict[str, str]:
    """Return the names of a source, with a text for each name that is drawn if it is empty."""
    drawn = {"topic": source.title, "category": source.category, "persona": source.persona}
    return {name: text for name, text in drawn.items() if text} | {"source": source.source} | dict(source.columns)
