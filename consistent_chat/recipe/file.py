"""Reads recipe files and the other files that fields of a recipe name.

Recipe files may come from strangers, so they are plain data and cannot name files outside their own folder. The
caller's own values may name any file.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import review, safe_yaml, taxonomy
from consistent_chat.recipe.fields import suggestion, type_error
from consistent_chat.recipe.ngrams import MAX_BYTES, MAX_FILES, MAX_NGRAMS, Ngrams
from consistent_chat.recipe.ngrams import load as load_ngrams
from consistent_chat.recipe.review import Review
from consistent_chat.recipe.safe_yaml import Document
from consistent_chat.recipe.seeds import UnreadSeeds, address, personas, seeds
from consistent_chat.recipe.taxonomy import Taxonomy
from consistent_chat.text.sanitize import redact, without_secrets

SECTIONS: dict[str, Callable[..., Any]] = {"personas": taxonomy.personas, "manners": taxonomy.manners}
"""The sections of a taxonomy that are also fields of a recipe."""


def at(origin: str) -> str:
    """Return the prefix of a message about a file."""
    return f"{origin}: " if origin else ""


def read(url: str, storage_options: Mapping[str, Any], is_beside: bool = False) -> Document:
    """Read a YAML file from a path or any fsspec URL, like `read_text`."""
    return safe_yaml.parse(*read_text(url, storage_options, is_beside=is_beside))


def read_text(
    url: str, storage_options: Mapping[str, Any], most: int = safe_yaml.MAX_BYTES + 1, is_beside: bool = False
) -> tuple[str, str]:
    """Return the text of a file at a path or any fsspec URL, up to `most` bytes, and its name for messages.

    Redirects are not followed for a file next to a recipe, because a stranger may have named it. Raises RecipeError.
    """
    import fsspec  # takes 0.05 s, and the command line's help does not need it

    shown = without_secrets(url)
    try:
        options = address.without_redirects(url, storage_options) if is_beside else storage_options
        with fsspec.open(url, "rb", **options) as file:
            text = _at_most(most, file).decode("utf-8")
        if is_beside and "://" in url and not text:
            raise OSError(address.NO_CONTENT)
    except UnicodeDecodeError:
        raise RecipeError(f"{shown} is not UTF-8 text. Save it as UTF-8.") from None
    except Exception as error:  # each filesystem raises its own errors
        reason = redact(str(error), url, storage_options)
        raise RecipeError(f"{shown} cannot be read: {reason}. Check the path or URL.") from None
    return text, posixpath.basename(shown) or shown


def _at_most(size: int, file: Any) -> bytes:
    """Read this many bytes, or until the end. `read` of a stream may return fewer bytes than requested."""
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def contents(
    document: Document, known: tuple[str, ...], url: str, storage_options: Mapping[str, Any]
) -> dict[str, Any]:
    """Check the fields of a recipe file and load what they name in other files, in the same folder or below."""
    values = document.data
    if not isinstance(values, dict):
        raise RecipeError(f"{document.where()} must be a mapping of recipe fields.{suggestion('', known)}")
    for name in values:
        if name not in known:
            hint = suggestion(name, known)
            raise RecipeError(f"{document.where(name)}: a recipe file has no field {name!r}.{hint}")
    for name, load in _LOADED.items():
        if values.get(name) is not None:
            values = {**values, name: load(values[name], url, document, storage_options)}
    for name, check in SECTIONS.items():
        if values.get(name) is not None:
            values = {**values, name: check(values[name], document, name)}
    return values


def _taxonomy(given: Any, url: str, document: Document, storage_options: Mapping[str, Any]) -> Taxonomy:
    if isinstance(given, str):
        return taxonomy.load(read(_beside(url, given, document, "taxonomy"), storage_options, is_beside=True))
    if not isinstance(given, dict):
        raise RecipeError(f"{document.where('taxonomy')} must be a mapping or the name of a file next to the recipe.")
    lines = {path[1:]: line for path, line in document.lines.items() if path[:1] == ("taxonomy",)}
    return taxonomy.load(Document(given, document.origin, lines))


def _review(given: Any, url: str, document: Document, storage_options: Mapping[str, Any]) -> Review:
    if isinstance(given, str):
        return review.load(read(_beside(url, given, document, "review"), storage_options, is_beside=True))
    return review.load(Document(given, document.origin, document.lines), ("review",))


def ngrams(
    given: Any, locate: Callable[[Any], tuple[str, Mapping[str, Any]]], is_beside: bool = False
) -> tuple[Ngrams, ...]:
    """Return the n-grams in files. `locate` returns a file's URL and the options to open it. Raises RecipeError."""
    several = given if isinstance(given, (list, tuple)) else [given]
    if not 0 < len(several) <= MAX_FILES or not all(isinstance(one, (str, os.PathLike, Ngrams)) for one in several):
        raise type_error("decontaminate", given, f"a file of n-grams, or a list of up to {MAX_FILES}")
    loaded: list[Ngrams] = []
    for one in several:
        if not isinstance(one, Ngrams):
            one = load_ngrams(*read_text(*locate(one), MAX_BYTES + 1, is_beside))
        loaded.append(one)
        if sum(map(len, loaded)) > MAX_NGRAMS:
            raise RecipeError(f"decontaminate must name files of at most {MAX_NGRAMS:,} n-grams together.")
    return tuple(loaded)


def _ngrams(given: Any, url: str, document: Document, storage_options: Mapping[str, Any]) -> tuple[Ngrams, ...]:
    """Read the files that a recipe file names, which must be in the same folder or below."""

    def locate(name: Any) -> tuple[str, Mapping[str, Any]]:
        if not isinstance(name, str):
            raise RecipeError(f"{document.where('decontaminate')} must name files next to the recipe.")
        return _beside(url, name, document, "decontaminate"), storage_options

    return ngrams(given, locate, is_beside=True)


def _seeds(given: Any, url: str, document: Document, storage_options: Mapping[str, Any]) -> UnreadSeeds:
    """Check the address of the seeds that a recipe file names: a file in its folder or below, or a dataset on the Hub.

    The user's token goes along only to repos of the recipe's own owner, where the recipe itself is on the Hub.
    """
    with _located(document, "seeds"):
        data, *_ = seeds.settings(given)
        place, options = _place(data, url, document, "seeds", storage_options)
        return UnreadSeeds(place, given, options, document.where("seeds"))


def _personas(given: Any, url: str, document: Document, storage_options: Mapping[str, Any]) -> Any:
    """Read personas from a file in the recipe's folder or below, or from a dataset on the Hub. A list stays."""
    if not isinstance(given, dict):
        return given
    with _located(document, "personas"):
        data, column = personas.settings(given)
        place, options = _place(data, url, document, "personas", storage_options)
        return personas.read(place, column, options)


_LOADED: dict[str, Callable[[Any, str, Document, Mapping[str, Any]], Any]] = {
    "taxonomy": _taxonomy,
    "review": _review,
    "decontaminate": _ngrams,
    "seeds": _seeds,
    "personas": _personas,
}
"""The fields whose values may be in other files."""


def _place(
    data: str, url: str, document: Document, field: str, storage_options: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    """Return the address of the data that a recipe file names, and the options to open it. Raises RecipeError."""
    if not data.startswith(address.HUB):
        if any(part.startswith(".") and part not in (".", "..") for part in data.split("/")):
            raise RecipeError(
                f"{document.where(field, 'data')}: {data!r} is a hidden file. A recipe file cannot name it."
            )
        return _beside(url, data, document, f"{field}.data"), storage_options
    is_own = "://" not in url or address.owner(url) == address.owner(data)
    options = dict(storage_options) if is_own else {"token": False}
    address.check(data, options, field)
    return data, options


@contextlib.contextmanager
def _located(document: Document, field: str) -> Iterator[None]:
    """Add the line of a field to errors that do not have it."""
    try:
        yield
    except RecipeError as error:
        text = str(error)
        raise error if text.startswith(document.origin) else RecipeError(f"{document.where(field)}: {text}") from None


def _beside(url: str, name: str, document: Document, field: str) -> str:
    """Return the location of a file in a recipe's folder or below, without the query of the recipe's URL."""
    from fsspec.utils import get_protocol

    own = url.partition("?")[0] if get_protocol(url) in ("http", "https") else url
    parts, place = name.split("/"), posixpath.join(posixpath.dirname(own), name)
    strange = set(name) & set("\\:%")  # "%2e%2e" in a URL means ".."
    if strange or name.startswith("~") or ".." in parts or "" in parts or _links_out(url, place):
        raise RecipeError(
            f"{document.where(*field.split('.'))}: {name!r} must be a relative path within the recipe's own folder."
        )
    return place


def _links_out(url: str, place: str) -> bool:
    """Return whether links lead a file out of the recipe's folder.

    A link into the folder to which the recipe itself links is allowed: in the cache of the Hub's client, all files of a
    repo are links into another folder.
    """
    from fsspec.implementations.local import LocalFileSystem
    from fsspec.utils import get_protocol

    if get_protocol(url) not in LocalFileSystem.protocol:
        return False
    recipe, other = (LocalFileSystem._strip_protocol(path) for path in (url, place))
    folders = (os.path.realpath(os.path.dirname(recipe)), os.path.dirname(os.path.realpath(recipe)))
    return not any(Path(os.path.realpath(other)).is_relative_to(folder) for folder in folders)


def with_line(
    error: RecipeError, document: Document, values: Mapping[str, Any], overrides: Mapping[str, Any]
) -> RecipeError:
    """Return an error with the line if the value comes from the file, or without the file if it is an override."""
    message = str(error).removeprefix(at(document.origin))
    own = [name for name in values if name not in overrides]
    name = next((name for name in own if message.startswith(f"{name} must")), None)
    if name is None and "intents" in own and message.startswith("there is no intent"):
        name = "intents"
    return RecipeError(message if name is None else f"{document.where(name)}: {message}")


def taxonomy_of(value: Any) -> Taxonomy | None:
    """Return the taxonomy that the caller passes as a Taxonomy, a mapping or a file. Raises RecipeError."""
    return value if value is None or isinstance(value, Taxonomy) else taxonomy.load(_document("taxonomy", value))


def review_of(value: Any) -> Review | None:
    """Return the review that the caller passes as a Review, a mapping or a file. Raises RecipeError."""
    return value if value is None or isinstance(value, Review) else review.load(_document("review", value))


def _document(field: str, value: Any) -> Document:
    if isinstance(value, Mapping):
        return Document(dict(value), field)
    if isinstance(value, (str, os.PathLike)):
        return read(os.fspath(value), {})
    raise RecipeError(f"{field} must be a path, a URL or a mapping, not {type(value).__name__}.")


def ngrams_of(value: Any) -> tuple[Ngrams, ...] | None:
    """Return the n-grams that the caller passes directly or as files. Raises RecipeError."""
    return None if value is None else ngrams(value, lambda name: (os.fspath(name), {}))


def personas_of(value: Any) -> tuple[str, ...] | None:
    """Return the personas that the caller passes directly or as a column of a file. Raises RecipeError."""
    given = list(value) if isinstance(value, tuple) else personas.load(value) if isinstance(value, Mapping) else value
    return None if value is None else taxonomy.personas(given, Document(given, "personas"))


def manners_of(value: Any) -> dict[str, str] | None:
    """Return the manners that the caller passes. Raises RecipeError."""
    given = dict(value) if isinstance(value, Mapping) else value
    return None if value is None else taxonomy.manners(given, Document(given, "manners"))
