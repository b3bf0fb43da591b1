"""Reads taxonomies: the built-in one, and a user's own, whose sections replace the built-in ones.

What stands under `extend:` in a user's file is added instead. Every mistake is named with its line and key.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import yaml

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.safe_yaml import Document, excerpt
from consistent_chat.recipe.taxonomy import values
from consistent_chat.recipe.taxonomy.types import (
    OPENINGS,
    Category,
    Flow,
    Intent,
    Manner,
    Persona,
    Tags,
    Taxonomy,
    Topic,
)

SECTIONS = ("flows", "intents", "personas", "manners")
BUILT_IN = (
    *("problem_solving", "educational", "health_consultation", "exploratory", "entertainment", "simulation"),
    *("emotional_support", "information_retrieval", "transaction"),
)
"""The intents of the built-in taxonomy, in the order of the documentation; each has a file of its topics."""
_NEEDS = re.compile(r"(.*\S)\s+\[([a-z_]+(?:, *[a-z_]+)*)\]")
"""A line of a block of topics that ends in what the topic needs, in brackets."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.lru_cache(maxsize=1)
def builtin() -> Taxonomy:
    """Return the taxonomy that ships with the package."""
    return _build(Document(_builtin_data(), "the built-in taxonomy"))


def load(document: Document) -> Taxonomy:
    """Return the built-in taxonomy with a document's sections in place of, or under `extend`, added to its own.

    Raises RecipeError that names the line and key of what is wrong.
    """
    given = document.data
    if not isinstance(given, dict):
        raise RecipeError(f"{document.where()} must be a mapping with some of: {', '.join(SECTIONS)}, extend.")
    values.known(given, (*SECTIONS, "extend"), document, ())
    extra = given.get("extend", {})
    values.expect(extra, dict, document, "extend")
    values.known(extra, SECTIONS, document, ("extend",))
    base = _builtin_data()
    merged = {name: given.get(name, base[name]) for name in SECTIONS}
    merged = {name: _added(merged[name], extra.get(name), document, name) for name in SECTIONS}
    lines = {**document.lines, **{p[1:]: n for p, n in document.lines.items() if p[:1] == ("extend",)}}
    return _checked(_build(Document(merged, document.origin, lines)), document)


def personas(value: Any, document: Document, *path: Any) -> tuple[str, ...]:
    """Return a list of personas in words, as a recipe names them. Raises RecipeError."""
    values.filled(value, list, document, *path)
    return values.texts(value, document, *path)


def manners(value: Any, document: Document, *path: Any) -> dict[str, str]:
    """Return a mapping of manners to their descriptions, as a recipe names them. Raises RecipeError."""
    values.filled(value, dict, document, *path)
    named = ((values.name(name, document, *path, name), name) for name in value)
    return {name: values.text(value[key], document, *path, key) for name, key in named}


def _personas(value: Any, document: Document, *path: Any) -> tuple[Persona, ...]:
    values.filled(value, list, document, *path)
    return tuple(Persona(*one) for one in values.tagged(value, document, *path))


def _manners(value: Any, document: Document, *path: Any) -> tuple[Manner, ...]:
    values.filled(value, dict, document, *path)
    return tuple(_manner(name, manner, document, *path, name) for name, manner in value.items())


def _manner(name: Any, value: Any, document: Document, *path: Any) -> Manner:
    if not isinstance(value, dict):
        return Manner(values.name(name, document, *path), values.text(value, document, *path))
    values.known(value, ("description", "needs", "unlike"), document, path)
    return Manner(
        values.name(name, document, *path),
        values.text(value.get("description"), document, *path, "description"),
        values.tags(value.get("needs", []), document, *path, "needs"),
        values.tags(value.get("unlike", []), document, *path, "unlike"),
    )


@functools.lru_cache(maxsize=1)
def _builtin_data() -> dict[str, Any]:
    """Return the built-in files as plain data. They are the package's own, so they are read without the checks."""
    intents = {key: _file("topics", f"{key}.yaml") for key in BUILT_IN}
    return {"intents": intents, **_file("flows.yaml"), **_file("people.yaml")}


def _file(*path: str) -> Any:
    text = resources.files("consistent_chat.recipe.taxonomy").joinpath(*path).read_text("utf-8")
    return yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe loader, in C where there is one


def _added(base: Any, extra: Any, document: Document, *path: str) -> Any:
    """Merge mappings key by key and append lists; a mere value replaces."""
    if extra is None:
        return base
    if path[:1] == ("intents",) and path[2:3] == ("categories",) and len(path) == 4:
        base, extra = _as_category(base), _as_category(extra)
    if isinstance(base, dict) and isinstance(extra, dict):
        keys = [*base, *(key for key in extra if key not in base)]
        return {k: _added(base.get(k), extra.get(k), document, *path, k) if k in base else extra[k] for k in keys}
    if path[-1] == "topics":
        base, extra = as_topics(base), as_topics(extra)
    if isinstance(base, list) and isinstance(extra, list):
        known = {item if isinstance(item, str) else next(iter(item), None) for item in base}
        return [*base, *(item for item in extra if not (isinstance(item, str) and item in known))]
    if type(base) is not type(extra):
        raise RecipeError(
            f"{document.where('extend', *path)} must be a {values.kind_name(type(base))}, as it is built in."
        )
    return extra


def _as_category(value: Any) -> Any:
    return {"topics": value} if isinstance(value, list) else value


def as_topics(value: Any) -> Any:
    """Return topics as a list, where they are a block of lines."""
    return list(_block(value)) if isinstance(value, str) else value


def _block(text: str) -> Iterator[Any]:
    """Read topics that are written one a line, some with what they need in brackets at the end."""
    for line in filter(str.strip, text.splitlines()):
        found = _NEEDS.fullmatch(line) if line.endswith("]") else None
        yield {found[1]: re.split(", *", found[2])} if found else line


def _build(document: Document) -> Taxonomy:
    data = document.data
    for section in ("flows", "intents"):
        values.filled(data[section], dict, document, section)
    flows = {key: _flow(key, value, document) for key, value in data["flows"].items()}
    return Taxonomy(
        intents={key: _intent(key, value, flows, document) for key, value in data["intents"].items()},
        personas=_personas(data["personas"], document, "personas"),
        manners=_manners(data["manners"], document, "manners"),
    )


def _checked(whole: Taxonomy, document: Document) -> Taxonomy:
    """Return the taxonomy if every topic has a fitting persona; raises RecipeError otherwise."""
    alone: dict[Tags, bool] = {}
    for intent in whole.intents.values():
        for topic in intent.topics():
            if topic.needs not in alone:
                fitting = (persona for persona in whole.personas if persona.fits(topic.needs))
                alone[topic.needs] = not any(m.fits(p, topic.marks) for p in fitting for m in whole.manners)
            if alone[topic.needs]:
                raise RecipeError(
                    f"{document.origin}: no persona fits the topic {excerpt(topic.text)} of {intent.key!r}, which "
                    f"needs {', '.join(sorted(topic.needs))}. Add a persona that has these tags, or one without tags."
                )
    return whole


def _flow(key: Any, value: Any, document: Document) -> Flow:
    path = ("flows", key)
    values.fields(value, ("title", "steps"), document, path, ("opens", "answers"))
    opens = value.get("opens", "")
    if opens not in ("", *OPENINGS):
        raise RecipeError(f"{document.where(*path, 'opens')} must be one of {', '.join(OPENINGS)}, or be left out.")
    return Flow(
        values.name(key, document, *path),
        values.text(value["title"], document, *path, "title"),
        values.texts(value["steps"], document, *path, "steps"),
        opens,
        values.text(value["answers"], document, *path, "answers") if "answers" in value else "",
    )


def _intent(key: Any, value: Any, flows: Mapping[str, Flow], document: Document) -> Intent:
    path = ("intents", key)
    values.fields(value, ("title", "purpose", "flows", "categories"), document, path)
    place = (*path, "categories")
    own = _flows(value["flows"], flows, document, *path, "flows")
    values.expect(value["categories"], dict, document, *place)
    if not value["categories"]:
        raise RecipeError(f"{document.where(*place)} is empty. Give at least one category.")
    return Intent(
        key=values.name(key, document, *path),
        title=values.text(value["title"], document, *path, "title"),
        purpose=values.text(value["purpose"], document, *path, "purpose"),
        flows=own,
        categories=tuple(
            _category(name, given, flows, document, *place, name) for name, given in value["categories"].items()
        ),
    )


def _category(name: Any, value: Any, flows: Mapping[str, Flow], document: Document, *path: Any) -> Category:
    place = (*path, "topics") if isinstance(value, dict) else path
    given = _as_category(value)
    if not isinstance(given, dict):
        raise RecipeError(f"{document.where(*path)} must be a list, not {type(value).__name__}.")
    values.fields(given, ("topics",), document, path, ("needs", "flows"))
    needs = values.tags(given.get("needs", []), document, *path, "needs")
    topics = as_topics(given["topics"])
    values.expect(topics, list, document, *place)
    own = _flows(given["flows"], flows, document, *path, "flows") if "flows" in given else ()
    tagged = values.tagged(topics, document, *place, default=needs)
    return Category(values.name(name, document, *path), tuple(Topic(*one) for one in tagged), own)


def _flows(value: Any, flows: Mapping[str, Flow], document: Document, *path: Any) -> tuple[Flow, ...]:
    names = values.texts(value, document, *path)
    for i, name in enumerate(names):
        if name not in flows:
            where = document.where(*path, i)
            suggestion = f" Use one of: {excerpt(', '.join(map(str, flows)))[1:-1]}."
            raise RecipeError(f"{where}: there is no flow {excerpt(name)}.{suggestion}")
    return tuple(flows[name] for name in names)
