"""The taxonomy: what dialogues can be about, how they move, and who speaks.

The built-in one is the data file `taxonomy.yaml` beside this module. A user's own names the sections it
replaces; what stands under `extend:` is added instead.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import safe_yaml
from consistent_chat.recipe.safe_yaml import Document, excerpt

SECTIONS = ("flows", "intents", "personas", "manners")
MAX_TEXT = 500
"""Longest topic, step, persona or manner, in characters: each goes into every prompt that draws it."""


@dataclass(frozen=True)
class Flow:
    """An information flow: the ordered steps that a conversation moves through."""

    key: str
    title: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Intent:
    """One kind of human conversation, its flows and its categories, each a name with its topics."""

    key: str
    title: str
    purpose: str
    flows: tuple[Flow, ...]
    categories: tuple[tuple[str, tuple[str, ...]], ...] = field(repr=False)


@dataclass(frozen=True)
class Taxonomy:
    """All intents by key, the personas, and the manners as (name, description)."""

    intents: Mapping[str, Intent]
    personas: tuple[str, ...]
    manners: tuple[tuple[str, str], ...]

    def only(self, keys: Iterable[str]) -> Taxonomy:
        """Return the taxonomy with these intents alone, in the taxonomy's own order."""
        wanted = set(keys)
        return Taxonomy({k: i for k, i in self.intents.items() if k in wanted}, self.personas, self.manners)

    def plain(self) -> dict[str, Any]:
        """Return everything as plain ordered data, for the recipe's fingerprint."""
        return {
            "intents": [
                [i.key, i.title, i.purpose, [[f.key, f.title, f.steps] for f in i.flows], i.categories]
                for i in self.intents.values()
            ],
            "personas": self.personas,
            "manners": self.manners,
        }


@functools.lru_cache(maxsize=1)
def builtin() -> Taxonomy:
    """Return the taxonomy that ships with the package."""
    return _build(_builtin_document())


def load(document: Document) -> Taxonomy:
    """Return the built-in taxonomy with a document's sections in place of, or under `extend`, added to its own.

    Raises RecipeError that names the line and key of what is wrong.
    """
    given = document.data
    if not isinstance(given, dict):
        raise RecipeError(f"{document.where()} must be a mapping with some of: {', '.join(SECTIONS)}, extend.")
    _known(given, (*SECTIONS, "extend"), document, ())
    extra = given.get("extend", {})
    _expect(extra, dict, document, "extend")
    _known(extra, SECTIONS, document, ("extend",))
    base = _builtin_document().data
    merged = {name: given.get(name, base[name]) for name in SECTIONS}
    merged = {name: _added(merged[name], extra.get(name), document, name) for name in SECTIONS}
    lines = {**document.lines, **{p[1:]: n for p, n in document.lines.items() if p[:1] == ("extend",)}}
    return _build(Document(merged, document.origin, lines))


def personas(value: Any, document: Document, *path: Any) -> tuple[str, ...]:
    """Return a list of personas that stands at a place of a document. Raises RecipeError."""
    _filled(value, list, document, *path)
    return _texts(value, document, *path)


def manners(value: Any, document: Document, *path: Any) -> dict[str, str]:
    """Return a mapping of manners to their descriptions that stands at a place of a document. Raises RecipeError."""
    _filled(value, dict, document, *path)
    return {_name(name, document, *path, name): _text(manner, document, *path, name) for name, manner in value.items()}


@functools.lru_cache(maxsize=1)
def _builtin_document() -> Document:
    text = resources.files("consistent_chat.recipe").joinpath("taxonomy.yaml").read_text("utf-8")
    return safe_yaml.parse(text, "taxonomy.yaml")


def _added(base: Any, extra: Any, document: Document, *path: str) -> Any:
    """Merge mappings key by key and append lists; a mere value replaces."""
    if extra is None:
        return base
    if isinstance(base, dict) and isinstance(extra, dict):
        keys = [*base, *(key for key in extra if key not in base)]
        return {k: _added(base.get(k), extra.get(k), document, *path, k) if k in base else extra[k] for k in keys}
    if isinstance(base, list) and isinstance(extra, list):
        known = {item for item in base if isinstance(item, str)}  # whatever is no text is refused later
        return [*base, *(item for item in extra if not (isinstance(item, str) and item in known))]
    if type(base) is not type(extra):
        raise RecipeError(f"{document.where('extend', *path)} must be a {_kind(type(base))}, as in what it extends.")
    return extra


def _build(document: Document) -> Taxonomy:
    data = document.data
    for section in ("flows", "intents"):
        _filled(data[section], dict, document, section)
    flows = {key: _flow(key, value, document) for key, value in data["flows"].items()}
    return Taxonomy(
        intents={key: _intent(key, value, flows, document) for key, value in data["intents"].items()},
        personas=personas(data["personas"], document, "personas"),
        manners=tuple(manners(data["manners"], document, "manners").items()),
    )


def _flow(key: Any, value: Any, document: Document) -> Flow:
    path = ("flows", key)
    _fields(value, ("title", "steps"), document, path)
    return Flow(
        _name(key, document, *path),
        _text(value["title"], document, *path, "title"),
        _texts(value["steps"], document, *path, "steps"),
    )


def _intent(key: Any, value: Any, flows: Mapping[str, Flow], document: Document) -> Intent:
    path = ("intents", key)
    _fields(value, ("title", "purpose", "flows", "categories"), document, path)
    place = (*path, "categories")
    names = _texts(value["flows"], document, *path, "flows")
    for i, name in enumerate(names):
        if name not in flows:
            where = document.where(*path, "flows", i)
            suggestion = f" Use one of: {excerpt(', '.join(map(str, flows)))[1:-1]}."
            raise RecipeError(f"{where}: there is no flow {excerpt(name)}.{suggestion}")
    _expect(value["categories"], dict, document, *place)
    if not value["categories"]:
        raise RecipeError(f"{document.where(*place)} is empty. Give at least one category.")
    return Intent(
        key=_name(key, document, *path),
        title=_text(value["title"], document, *path, "title"),
        purpose=_text(value["purpose"], document, *path, "purpose"),
        flows=tuple(flows[name] for name in names),
        categories=tuple(
            (_name(category, document, *place, category), _texts(topics, document, *place, category))
            for category, topics in value["categories"].items()
        ),
    )


def _fields(value: Any, names: tuple[str, ...], document: Document, path: tuple[Any, ...]) -> None:
    _expect(value, dict, document, *path)
    _known(value, names, document, path)
    for name in names:
        if name not in value:
            raise RecipeError(f"{document.where(*path)} lacks {name!r}. Add it.")


def _known(value: Mapping[Any, Any], names: tuple[str, ...], document: Document, path: tuple[Any, ...]) -> None:
    for name in value:
        if name not in names:
            raise RecipeError(f"{document.where(*path, name)} is not known here. Use: {', '.join(names)}.")


def _texts(value: Any, document: Document, *path: Any) -> tuple[str, ...]:
    _expect(value, list, document, *path)
    texts = tuple(_text(item, document, *path, i) for i, item in enumerate(value))
    if not texts:
        raise RecipeError(f"{document.where(*path)} is empty. Give at least one entry.")
    seen: set[str] = set()
    for i, text in enumerate(texts):
        if text in seen:
            raise RecipeError(f"{document.where(*path, i)}: {text!r} stands twice. Keep one.")
        seen.add(text)
    return texts


def _name(key: Any, document: Document, *path: Any) -> str:
    if not isinstance(key, str):
        raise RecipeError(f"{document.where(*path)}: the name {key!r} must be text. Put it in quotes.")
    text = _text(key, document, *path)
    if text != key:
        raise RecipeError(f"{document.where(*path)}: the name {key!r} has needless white space. Write {text!r}.")
    return text


def _text(value: Any, document: Document, *path: Any) -> str:
    if not isinstance(value, str):
        raise RecipeError(f"{document.where(*path)} must be text, not {excerpt(value)}. Put it in quotes.")
    if not value.strip() or len(value) > MAX_TEXT:
        raise RecipeError(f"{document.where(*path)} must have 1 to {MAX_TEXT} characters, not {len(value.strip())}.")
    if any("\ud800" <= character <= "\udfff" or character == "\0" for character in value):
        raise RecipeError(f"{document.where(*path)} has a character that is not valid text. Remove it.")
    return " ".join(value.split())


def _filled(value: Any, kind: type, document: Document, *path: Any) -> None:
    _expect(value, kind, document, *path)
    if not value:
        raise RecipeError(f"{document.where(*path)} is empty. Give at least one entry, or leave it out.")


def _expect(value: Any, kind: type, document: Document, *path: Any) -> None:
    if not isinstance(value, kind):
        raise RecipeError(f"{document.where(*path)} must be a {_kind(kind)}, not {type(value).__name__}.")


def _kind(kind: type) -> str:
    return {"dict": "mapping", "str": "text"}.get(kind.__name__, kind.__name__)
