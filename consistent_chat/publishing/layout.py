"""What lies where in a published dataset, and the manifest that says so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from consistent_chat.errors import PublishError
from consistent_chat.recipe import EXTENSION
from consistent_chat.store.backends import MARKER
from consistent_chat.version import __version__

FORMAT = 1
README, MANIFEST = "README.md", "consistent_chat.json"
DATA, FAILURES, RESPONSES, PLOTS = "data", "failures", "responses", "plots"
ROWS = (f"{DATA}/", f"{FAILURES}/")
"""Folders of which `load_dataset` takes every file."""
GITATTRIBUTES = ".gitattributes"


def shard(split: str, number: int, count: int) -> str:
    """Return the path of one file of a split's rows."""
    return f"{DATA}/{split}-{number:05d}-of-{count:05d}.parquet"


def failures(split: str) -> str:
    """Return the path of the answers that were of no use to a split."""
    return f"{FAILURES}/{split}.parquet"


@dataclass(frozen=True)
class Manifest:
    """The SHA-256 of each file, the recipe of each split, and the versions that the files were written with."""

    files: Mapping[str, str]
    recipes: Mapping[str, str]
    versions: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path, recipes: Mapping[str, str]) -> Manifest:
        """Return the manifest of what lies in a folder now."""
        files = {path: sha256(folder / path) for path in paths(folder) if path not in (README, MANIFEST)}
        return cls(files, dict(recipes), {"consistent_chat": __version__, "pyarrow": pa.__version__})

    def text(self) -> bytes:
        """Return the file's content."""
        content = {"consistent_chat_dataset": FORMAT, **vars(self)}
        return json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8") + b"\n"

    @classmethod
    def read(cls, text: bytes, origin: str) -> Manifest:
        """Return the manifest that a stranger may have written; raises PublishError where it is none."""
        try:
            content: Any = json.loads(text)
            version = content.pop("consistent_chat_dataset")
            manifest = cls(**content)
            parts = (manifest.files, manifest.recipes, manifest.versions)
            if not all(isinstance(text, str) for part in parts for pair in part.items() for text in pair):
                raise ValueError("it must hold text")
            for path in manifest.recipes.values():
                _check_recipe(path)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise PublishError(f"{origin} is not the manifest of a published dataset: {error}.") from None
        if version != FORMAT:
            raise PublishError(f"{origin} has format {version}; this version reads {FORMAT}. Update consistent_chat.")
        return manifest

    @classmethod
    def found(cls, text: bytes | None) -> Manifest | None:
        """Return the manifest of a dataset that can be published anew; what is none is as good as not there."""
        try:
            return None if text is None else cls.read(text, MANIFEST)
        except PublishError:
            return None


def paths(folder: Path) -> list[str]:
    """Return the paths of all files in a folder, in order."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    return _digest(hashlib.sha256(), path)


def blob(path: Path) -> str:
    """Return the id that git gives to a file."""
    return _digest(hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False), path)


def foreign(listed: Collection[str], begun: bool) -> list[str]:
    """Return the files of a place without a manifest that are no beginning of a published dataset.

    A card, a recipe and a response store are: a repo can be all three before anything is published to it. `begun` says
    that publishing may have been stopped in between: what it had sent lies in its folders, beside recipe and responses.
    """
    recipes = [path for path in listed if path.endswith(EXTENSION)]
    begun = begun and bool(recipes) and f"{RESPONSES}/{MARKER}" in listed
    folders = (f"{RESPONSES}/", *((*ROWS, f"{PLOTS}/") if begun else ()))
    known = {README, GITATTRIBUTES, *recipes}
    return [path for path in listed if path not in known and not path.startswith(folders)]


def _check_recipe(path: str) -> None:
    if "/" in path or "\\" in path or not path.endswith(EXTENSION):
        raise ValueError(f"{path!r} is no recipe beside it")


def _digest(digest: Any, path: Path) -> str:
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return str(digest.hexdigest())
