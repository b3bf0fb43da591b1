"""Reads taxonomies: the built-in one, and a user's own, whose sections replace the built-in ones.

Entries under `extend:` in a user's file are added instead. An error names the line and key.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Any

import yaml

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.safe_yaml import Document, excerpt
from consistent_chat.recipe.taxonomy.types import (
    NO_TAGS,
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
"""A line of a block of topics that ends with the needs of the topic in brackets."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.lru_cache(maxsize=1)
def builtin() -> Taxonomy:
    """Return the taxonomy that ships with the package."""
    return _build(Document(_builtin_data(), "the built-in taxonomy"))


def load(document: Document) -> Taxonomy:
    """Return the built-in taxonomy, with sections replaced by those of a document, and with its `extend` added.

    Raises RecipeError, which names the line and the key of the error.
    """
    given = document.data
    if not isinstance(given, dict):
        raise RecipeError(f"{document.where()} must be a mapping with some of: {', '.join(SECTIONS)}, extend.")
    check_known(given, (*SECTIONS, "extend"), document, ())
    extra = given.get("extend", {})
    check_type(extra, dict, document, "extend")
    check_known(extra, SECTIONS, document, ("extend",))
    base = _builtin_data()
    merged = {name: given.get(name, base[name]) for name in SECTIONS}
    merged = {name: _added(merged[name], extra.get(name), document, name) for name in SECTIONS}
    lines = {**document.lines, **{p[1:]: n for p, n in document.lines.items() if p[:1] == ("extend",)}}
    return _checked(_build(Document(merged, document.origin, lines)), document)


def personas(value: Any, document: Document, *path: Any) -> tuple[str, ...]:
    """Return personas from a list of texts, as in a recipe. Raises RecipeError."""
    check_filled(value, list, document, *path)
    return read_texts(value, document, *path)


def manners(value: Any, document: Document, *path: Any) -> dict[str, str]:
    """Return manners from a mapping of names to descriptions, as in a recipe. Raises RecipeError."""
    check_filled(value, dict, document, *path)
    named = ((read_name(name, document, *path, name), name) for name in value)
    return {name: read_text(value[key], document, *path, key) for name, key in named}


def _personas(value: Any, document: Document, *path: Any) -> tuple[Persona, ...]:
    check_filled(value, list, document, *path)
    return tuple(Persona(*one) for one in read_tagged(value, document, *path))


def _manners(value: Any, document: Document, *path: Any) -> tuple[Manner, ...]:
    check_filled(value, dict, document, *path)
    return tuple(_manner(name, manner, document, *path, name) for name, manner in value.items())


def _manner(name: Any, value: Any, document: Document, *path: Any) -> Manner:
    if not isinstance(value, dict):
        return Manner(read_name(name, document, *path), read_text(value, document, *path))
    check_known(value, ("description", "needs", "unlike"), document, path)
    return Manner(
        read_name(name, document, *path),
        read_text(value.get("description"), document, *path, "description"),
        read_tags(value.get("needs", []), document, *path, "needs"),
        read_tags(value.get("unlike", []), document, *path, "unlike"),
    )


@functools.lru_cache(maxsize=1)
def _builtin_data() -> dict[str, Any]:
    """Return the built-in files as plain data. They belong to the package, so they are read without checks."""
    intents = {key: _file("topics", f"{key}.yaml") for key in BUILT_IN}
    return {"intents": intents, **_file("flows.yaml"), **_file("people.yaml")}


def _file(*path: str) -> Any:
    text = resources.files("consistent_chat.recipe.taxonomy").joinpath(*path).read_text("utf-8")
    return yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe loader, in C where there is one


def _added(base: Any, extra: Any, document: Document, *path: str) -> Any:
    """Merge mappings key by key and append lists; any other value replaces the old one."""
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
            f"{document.where('extend', *path)} must be a {kind_name(type(base))}, like the built-in one."
        )
    return extra


def _as_category(value: Any) -> Any:
    return {"topics": value} if isinstance(value, list) else value


def as_topics(value: Any) -> Any:
    """Return topics as a list, if they are a block of lines."""
    return list(_block(value)) if isinstance(value, str) else value


def _block(text: str) -> Iterator[Any]:
    """Read topics that are written one per line, some with their needs in brackets at the end."""
    for line in filter(str.strip, text.splitlines()):
        found = _NEEDS.fullmatch(line) if line.endswith("]") else None
        yield {found[1]: re.split(", *", found[2])} if found else line


def _build(document: Document) -> Taxonomy:
    data = document.data
    for section in ("flows", "intents"):
        check_filled(data[section], dict, document, section)
    flows = {key: _flow(key, value, document) for key, value in data["flows"].items()}
    return Taxonomy(
        intents={key: _intent(key, value, flows, document) for key, value in data["intents"].items()},
        personas=_personas(data["personas"], document, "personas"),
        manners=_manners(data["manners"], document, "manners"),
    )


def _checked(whole: Taxonomy, document: Document) -> Taxonomy:
    """Return the taxonomy if every topic has a fitting persona. Raises RecipeError otherwise."""
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
    check_fields(value, ("title", "steps"), document, path, ("opens", "answers"))
    opens = value.get("opens", "")
    if opens not in ("", *OPENINGS):
        raise RecipeError(f"{document.where(*path, 'opens')} must be one of {', '.join(OPENINGS)}, or left out.")
    return Flow(
        read_name(key, document, *path),
        read_text(value["title"], document, *path, "title"),
        read_texts(value["steps"], document, *path, "steps"),
        opens,
        read_text(value["answers"], document, *path, "answers") if "answers" in value else "",
    )


def _intent(key: Any, value: Any, flows: Mapping[str, Flow], document: Document) -> Intent:
    path = ("intents", key)
    check_fields(value, ("title", "purpose", "flows", "categories"), document, path)
    place = (*path, "categories")
    own = _flows(value["flows"], flows, document, *path, "flows")
    check_type(value["categories"], dict, document, *place)
    if not value["categories"]:
        raise RecipeError(f"{document.where(*place)} is empty. Give at least one category.")
    return Intent(
        key=read_name(key, document, *path),
        title=read_text(value["title"], document, *path, "title"),
        purpose=read_text(value["purpose"], document, *path, "purpose"),
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
    check_fields(given, ("topics",), document, path, ("needs", "flows"))
    needs = read_tags(given.get("needs", []), document, *path, "needs")
    topics = as_topics(given["topics"])
    check_type(topics, list, document, *place)
    own = _flows(given["flows"], flows, document, *path, "flows") if "flows" in given else ()
    tagged = read_tagged(topics, document, *place, default=needs)
    return Category(read_name(name, document, *path), tuple(Topic(*one) for one in tagged), own)


def _flows(value: Any, flows: Mapping[str, Flow], document: Document, *path: Any) -> tuple[Flow, ...]:
    names = read_texts(value, document, *path)
    for i, name in enumerate(names):
        if name not in flows:
            where = document.where(*path, i)
            suggestion = f" Use one of: {excerpt(', '.join(map(str, flows)))[1:-1]}."
            raise RecipeError(f"{where}: there is no flow {excerpt(name)}.{suggestion}")
    return tuple(flows[name] for name in names)


MAX_TEXT = 500
"""Maximum characters of a topic, step, persona or manner: each is part of every prompt for which it is drawn."""
_UNTEXT = re.compile("[\0\ud800-\udfff]")
_TAG = re.compile("[a-z][a-z_]{0,39}")


def check_fields(
    value: Any, names: tuple[str, ...], document: Document, path: tuple[Any, ...], others: tuple[str, ...] = ()
) -> None:
    """Check that a mapping has all of `names`, and otherwise only `others`."""
    check_type(value, dict, document, *path)
    check_known(value, (*names, *others), document, path)
    for name in names:
        if name not in value:
            raise RecipeError(f"{document.where(*path)} lacks {name!r}. Add it.")


def check_known(value: Mapping[Any, Any], names: tuple[str, ...], document: Document, path: tuple[Any, ...]) -> None:
    """Check that a mapping has no other names."""
    for name in value:
        if name not in names:
            raise RecipeError(f"{document.where(*path, name)} is not a known name. Use: {', '.join(names)}.")


def read_texts(value: Any, document: Document, *path: Any) -> tuple[str, ...]:
    """Return a list of distinct texts."""
    return tuple(text for text, _ in read_tagged(value, document, *path, taking_tags=False))


def read_tagged(
    value: Any, document: Document, *path: Any, default: Tags = NO_TAGS, taking_tags: bool = True
) -> list[tuple[str, Tags]]:
    """Return a list of texts with their tags. An entry is a text, which gets the default tags, or `text: [tags]`."""
    check_type(value, list, document, *path)
    if not value:
        raise RecipeError(f"{document.where(*path)} is empty. Give at least one entry.")
    found: dict[str, Tags] = {}
    for i, item in enumerate(value):
        own = default
        if taking_tags and isinstance(item, dict) and len(item) == 1:
            ((item, given),) = item.items()
            own = read_tags(given, document, *path, i, item)
        one = read_text(item, document, *path, i)
        if one in found:
            raise RecipeError(f"{document.where(*path, i)}: {one!r} is repeated. Remove one.")
        found[one] = own
    return list(found.items())


def read_tags(value: Any, document: Document, *path: Any) -> Tags:
    """Return a list of tags: short names in lower case."""
    check_type(value, list, document, *path)
    for i, tag in enumerate(value):
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            where = document.where(*path, i)
            raise RecipeError(f"{where} must be a tag of lower-case letters and _, not {excerpt(tag)}.")
    return _shared(tuple(value))


@functools.lru_cache(maxsize=1024)
def _shared(value: Iterable[str]) -> Tags:
    """Return one shared set for equal tags: comparing a set with itself takes no time."""
    return frozenset(value)


def read_name(key: Any, document: Document, *path: Any) -> str:
    """Return a key, which must be a text without extra white space."""
    if not isinstance(key, str):
        raise RecipeError(f"{document.where(*path)}: the name {key!r} must be text. Put it in quotes.")
    found = read_text(key, document, *path)
    if found != key:
        raise RecipeError(f"{document.where(*path)}: the name {key!r} has extra white space. Write {found!r}.")
    return found


def read_text(value: Any, document: Document, *path: Any) -> str:
    """Return a text with each run of white space as one space."""
    if not isinstance(value, str):
        raise RecipeError(f"{document.where(*path)} must be text, not {excerpt(value)}. Put it in quotes.")
    if not value.strip() or len(value) > MAX_TEXT:
        raise RecipeError(f"{document.where(*path)} must have 1 to {MAX_TEXT} characters, not {len(value.strip())}.")
    if _UNTEXT.search(value):
        raise RecipeError(f"{document.where(*path)} has a character that is not valid text. Remove it.")
    return " ".join(value.split())


def check_filled(value: Any, kind: type, document: Document, *path: Any) -> None:
    """Check that a list or mapping is not empty."""
    check_type(value, kind, document, *path)
    if not value:
        raise RecipeError(f"{document.where(*path)} is empty. Give at least one entry, or leave it out.")


def check_type(value: Any, kind: type, document: Document, *path: Any) -> None:
    """Check the type of a value."""
    if not isinstance(value, kind):
        raise RecipeError(f"{document.where(*path)} must be a {kind_name(kind)}, not {type(value).__name__}.")


def kind_name(kind: type) -> str:
    """Return YAML's name of a type."""
    return {"dict": "mapping", "str": "text"}.get(kind.__name__, kind.__name__)
