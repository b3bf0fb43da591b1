"""Computes the identity of a recipe's checks, and of the keys of its requests.

A response that passed the checks passes again if the identity is the same. This module imports no checks, because a
replay whose responses have all passed before does not need them.
"""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Iterator
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from consistent_chat.recipe import Recipe
from consistent_chat.recipe.rules import versions
from consistent_chat.request import canonical_json

if TYPE_CHECKING:
    from importlib.abc import Traversable

SOURCES = ("dialogue", "recipe", "text")
"""Folders of the package with everything that checks use: code, phrases, prompts, the titles of the taxonomy."""
LIBRARIES = ("google-re2", "py3langid", "PyYAML")


def check_identity(recipe: Recipe) -> str:
    """Return 64 hex digits that change with anything a check depends on, except its messages; "" without checks.

    The inputs of a response (topic, persona, the messages that it answers) are part of its request's key.
    """
    if not recipe.has_checks:
        return ""
    content: dict[str, Any] = {
        "checks": recipe.checks,
        "language": recipe.language,
        "model": recipe.model,
        **({} if recipe.user_model is None else {"user_model": recipe.user_model}),
        "code": _code(SOURCES),
    }
    if recipe.rules is not None:
        content |= {"rules": recipe.rules, "plugins": versions(recipe.rules)}
    if recipe.kept_out:
        content["decontaminate"] = [ngrams.plain for ngrams in recipe.kept_out]
    return hashlib.sha256(canonical_json(content)).hexdigest()


def key_identity(fingerprint: str) -> str:
    """Return 64 hex digits that change with anything that the keys of a recipe's requests depend on.

    `fingerprint` changes with the recipe and with all that its plan is drawn from.
    """
    request = resources.files("consistent_chat").joinpath("request.py").read_bytes()
    return hashlib.sha256(f"{fingerprint} {_code((*SOURCES, 'plan'))}\n".encode() + request).hexdigest()


@functools.lru_cache(maxsize=2)
def _code(folders: tuple[str, ...]) -> str:
    """Return a digest of the code and data in folders, and of the versions of Python and the libraries they use."""
    digest = hashlib.sha256(platform.python_version().encode())
    for library in LIBRARIES:
        digest.update(f"{library} {metadata.version(library)}\n".encode())
    for folder in folders:
        for name, content in _files(resources.files("consistent_chat").joinpath(folder), folder):
            digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of all files in a folder, except generated ones."""
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _files(entry, name) if entry.name != "__pycache__" else ()
        else:
            yield name, entry.read_bytes()
