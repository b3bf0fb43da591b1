"""The paths in a published dataset, and its manifest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from consistent_chat.errors import PublishError
from consistent_chat.files import file_digest
from consistent_chat.recipe import EXTENSION
from consistent_chat.store.backends import MARKER
from consistent_chat.version import __version__

FORMAT = 1
README, MANIFEST = "README.md", "consistent_chat.json"
DATA, FAILURES, RESPONSES, PLOTS, SEEDS = "data", "failures", "responses", "plots", "seeds"
NGRAMS = "ngrams"
ROWS = (f"{DATA}/", f"{FAILURES}/")
"""Folders from which `load_dataset` loads every file."""
FOLDERS = (*ROWS, f"{RESPONSES}/", f"{PLOTS}/", f"{SEEDS}/", f"{NGRAMS}/")
GITATTRIBUTES = ".gitattributes"

MAX_MANIFEST, MAX_SPLITS = 16 << 20, 1_000
"""Maximum size of a manifest in bytes, and maximum number of its splits."""
_PATH_PART = re.compile(r"(?!\.{1,2}$)[\w .()-]{1,200}")
"""A name of a file or folder that the publisher writes: no separators, no `..`, no drive, no control characters."""
_WRITTEN = re.compile(
    rf"{DATA}/\w+(?:\.\w+)*-\d{{5}}-of-\d{{5}}\.parquet"
    rf"|{FAILURES}/\w+(?:\.\w+)*\.parquet"
    rf"|{RESPONSES}/(?:{re.escape(MARKER)}|packs/[0-9a-f]{{64}}\.parquet)"
    rf"|{SEEDS}/[^/]+\.parquet"
    rf"|{NGRAMS}/[^/]+\.ngrams"
    rf"|{PLOTS}/[a-z_-]+\.(?:svg|png)"
    rf"|[^/]+{re.escape(EXTENSION)}"
)
"""Paths at which the publisher writes files, so that no other file can be mistaken for one of them."""
_SPLIT = re.compile(r"\w+(\.\w+)*")
"""A name of a split that `datasets` accepts."""
_DIGEST = re.compile("[0-9a-f]{64}")
_VERSION = re.compile(r"[\w.+!-]{1,100}")


def shard(split: str, number: int, count: int) -> str:
    """Return the path of one file of a split's rows."""
    return f"{DATA}/{split}-{number:05d}-of-{count:05d}.parquet"


def seeds(recipe: str) -> str:
    """Return the path of the sources that a recipe file names."""
    return f"{SEEDS}/{recipe.removesuffix(EXTENSION)}.parquet"


def ngrams(recipe: str, number: int) -> str:
    """Return the path of a file of n-grams that a recipe file names."""
    return f"{NGRAMS}/{recipe.removesuffix(EXTENSION)}-{number}.ngrams"


def failures(split: str) -> str:
    """Return the path of a split's unusable responses."""
    return f"{FAILURES}/{split}.parquet"


@dataclass(frozen=True)
class Manifest:
    """The SHA-256 of each file, the recipe of each split, and the versions that the files were written with."""

    files: Mapping[str, str]
    recipes: Mapping[str, str]
    versions: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path, recipes: Mapping[str, str]) -> Manifest:
        """Return the manifest of the files in a folder."""
        files = {path: file_digest(folder / path) for path in paths(folder) if path not in (README, MANIFEST)}
        return cls(files, dict(recipes), {"consistent_chat": __version__, "pyarrow": pa.__version__})

    def text(self) -> bytes:
        """Return the file's content."""
        content = {"consistent_chat_dataset": FORMAT, **vars(self)}
        return json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8") + b"\n"

    @classmethod
    def read(cls, text: bytes, origin: str) -> Manifest:
        """Return the manifest in a file that a stranger may have written; raises PublishError if it is not valid.

        All names are checked here, because other functions write, read and delete files with these names.
        """
        try:
            if len(text) > MAX_MANIFEST:
                raise ValueError(f"it has more than {MAX_MANIFEST:,} bytes")
            content: Any = json.loads(text)
            version = content.pop("consistent_chat_dataset")
            manifest = cls(**content)
            manifest._check()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise PublishError(f"{origin} is not the manifest of a published dataset: {error}.") from None
        if version != FORMAT:
            raise PublishError(f"{origin} has format {version!r}; this version reads {FORMAT}. Update consistent_chat.")
        return manifest

    def _check(self) -> None:
        """Raise ValueError for a name that the publisher does not write."""
        parts = (self.files, self.recipes, self.versions)
        if not all(isinstance(text, str) for part in parts for pair in part.items() for text in pair):
            raise ValueError("it must contain text")
        if len(self.recipes) > MAX_SPLITS:
            raise ValueError(f"it has more than {MAX_SPLITS:,} splits")
        checks = [
            *((is_split(split), split, "a name of a split") for split in self.recipes),
            *((_is_recipe(path), path, "a recipe in the same folder") for path in self.recipes.values()),
            *((is_published(path), path, "a path of a published file") for path in self.files),
            *((_DIGEST.fullmatch(digest), digest, "a SHA-256") for digest in self.files.values()),
            *((_VERSION.fullmatch(text), text, "a version") for pair in self.versions.items() for text in pair),
        ]
        for is_valid, text, what in checks:
            if not is_valid:
                raise ValueError(f"{text[:80]!r} is not {what}")

    @classmethod
    def found(cls, text: bytes | None) -> Manifest | None:
        """Return a published dataset's manifest, or None if it is missing or invalid: the dataset can be replaced."""
        try:
            return None if text is None else cls.read(text, MANIFEST)
        except PublishError:
            return None


def paths(folder: Path) -> list[str]:
    """Return the paths of all files in a folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def configs(folder: Path, splits: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the configs of a folder. A config without rows cannot be loaded, and gets an empty list of files."""
    rows = [{"split": split, "path": f"{DATA}/{split}-*"} for split in splits]
    unusable = [{"split": split, "path": failures(split)} for split in splits]
    packs = f"{RESPONSES}/packs/*.parquet"
    has_packs = any(folder.glob(packs))
    yield {"config_name": "default", "data_files": rows, "default": True}
    there = [each for each in unusable if (folder / each["path"]).is_file()]
    yield {"config_name": FAILURES, "data_files": there}
    yield {"config_name": RESPONSES, "data_files": [{"split": "train", "path": packs}] if has_packs else []}


def is_path(path: str) -> bool:
    """Return whether a path stays in its folder on every system: plain names, separated by `/`."""
    return all(_PATH_PART.fullmatch(part) for part in path.split("/"))


def is_split(name: str) -> bool:
    """Return whether a split may have this name, which becomes part of file names."""
    return len(name) <= 200 and _SPLIT.fullmatch(name) is not None


def is_published(path: str) -> bool:
    """Return whether the publisher writes files like this: in one of its folders, or a recipe."""
    return is_path(path) and (path.startswith(FOLDERS) or _is_recipe(path))


def is_written(path: str) -> bool:
    """Return whether the publisher writes a file at this path, so that it may also remove it."""
    return is_path(path) and _WRITTEN.fullmatch(path) is not None


def _is_recipe(path: str) -> bool:
    return "/" not in path and is_path(path) and path.endswith(EXTENSION)


def blob(path: Path) -> str:
    """Return the id of a file's content in git."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def foreign(listed: Collection[str], interrupted: bool) -> list[str]:
    """Return the files that do not belong to a dataset, in a repo or folder without a manifest.

    A card, a recipe and a response store do belong: a repo can have them before a publication. If `interrupted`, a
    partial publication is possible: files in its folders also belong if recipe and responses exist.
    """
    recipes = [path for path in listed if path.endswith(EXTENSION)]
    interrupted = interrupted and bool(recipes) and f"{RESPONSES}/{MARKER}" in listed
    folders = (f"{RESPONSES}/", *((*ROWS, f"{PLOTS}/", f"{SEEDS}/", f"{NGRAMS}/") if interrupted else ()))
    known = {README, GITATTRIBUTES, *recipes}
    return [path for path in listed if path not in known and not path.startswith(folders)]
