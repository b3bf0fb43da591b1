"""Registers the name "consistent_chat" and the extension of recipe files with `load_dataset`.

The Vortex project did the same before it was adopted upstream. `register_with_datasets` registers immediately if
`datasets` is already imported. Otherwise it does not import `datasets`, which takes most of a second: a finder on
`sys.meta_path` waits for the import of `datasets`, registers after it and then removes itself. The finder does not
change the import in any other way, and stays in place after a mere look-up (`importlib.util.find_spec`). Apart from
`BuilderHooks`, only this module uses undocumented parts of `datasets`.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.abc
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from consistent_chat.errors import RecipeError

NAME = "consistent_chat"
MODULE = "consistent_chat.builder"
SUFFIX = ".consistent_chat"
EXTENSION = f"{SUFFIX}.yaml"


def register_with_datasets() -> None:
    """Register this builder with `datasets`, now or when `datasets` is imported."""
    if "datasets" in sys.modules:
        register()
    elif not any(isinstance(finder, _DatasetsFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _DatasetsFinder())


class _DatasetsFinder(importlib.abc.MetaPathFinder):
    """Finds `datasets` with the other finders, and registers the builder when it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "datasets":
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((found for finder in others if (found := finder.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, self)
        return spec


class _RegisteringLoader(importlib.abc.Loader):
    """Loads with another loader, which it restores before the module runs, and then registers the builder."""

    def __init__(self, loader: Any, finder: _DatasetsFinder) -> None:
        self._loader, self._finder = loader, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        register()


def register() -> None:
    """Register this builder with `load_dataset`. Warns if this version of `datasets` does not support that."""
    import datasets

    try:
        _register_name()
        _register_extension()
        _register_factory()
    except (AttributeError, ImportError, TypeError) as error:
        warnings.warn(
            f'load_dataset("{NAME}") is not available with datasets {datasets.__version__} ({error}). Use '
            "consistent_chat.ConsistentChat(...).download_and_prepare() and .as_dataset(), which always work, or "
            "another version of datasets.",
            stacklevel=3,
        )


def _register_name() -> None:
    import datasets
    from datasets import packaged_modules

    # The config's id covers what shapes the data. datasets 3 cannot read a cache of datasets 4, so each has its own.
    major = datasets.__version__.partition(".")[0]
    digest = hashlib.sha256(f"{MODULE} datasets {major}".encode("ascii")).hexdigest()
    packaged_modules._PACKAGED_DATASETS_MODULES[NAME] = (MODULE, digest)


def _register_extension() -> None:
    from datasets import load, packaged_modules

    packaged_modules._EXTENSION_TO_MODULE[SUFFIX] = (NAME, {})
    packaged_modules._MODULE_TO_EXTENSIONS[NAME] = [SUFFIX]
    packaged_modules._MODULE_TO_METADATA_FILE_NAMES[NAME] = []
    getattr(packaged_modules, "_MODULE_TO_METADATA_EXTENSIONS", {})[NAME] = []
    for module, name in (
        (packaged_modules, "_ALL_EXTENSIONS"),
        (packaged_modules, "_ALL_ALLOWED_EXTENSIONS"),
        (load, "ALL_ALLOWED_EXTENSIONS"),  # 3.x
    ):
        known: list[str] = getattr(module, name, [])
        if SUFFIX not in known:
            known.append(SUFFIX)


def _register_factory() -> None:
    from datasets import load

    if not getattr(load.PackagedDatasetModuleFactory, "knows_consistent_chat", False):
        load.PackagedDatasetModuleFactory = _factory(load.PackagedDatasetModuleFactory)


def _factory(original: Any) -> type:
    """Return a factory that extends the one of `datasets` with this builder."""

    class Factory(original):
        """A factory that needs no data files: a recipe can consist of keyword arguments only."""

        knows_consistent_chat = True

        def __init__(self, name: str, **given: Any) -> None:
            if name != NAME:
                super().__init__(name, **given)
                return
            # The original would report the load to a server that does not know this name.
            self.name, self.data_dir = name, given.get("data_dir")
            self.data_files = normalize_data_files(given.get("data_files"))
            self.download_config, self.download_mode = given.get("download_config"), given.get("download_mode")

        def get_module(self) -> Any:
            if self.name != NAME:
                return super().get_module()
            if self.data_files is not None:
                return _without_secrets_in_errors(super().get_module)
            return _module(self.data_dir)

    return Factory


def _module(folder: str | None) -> Any:
    """Return what `datasets` needs to create the builder, with the recipes in a folder or without data files."""
    from datasets import load, packaged_modules
    from datasets.data_files import DataFilesDict

    recipes = DataFilesDict() if folder is None else _recipes(folder)
    registered = packaged_modules._PACKAGED_DATASETS_MODULES[NAME]
    return load.DatasetModule(*registered, {"data_files": recipes, "dataset_name": NAME})


def _without_secrets_in_errors(found: Callable[[], Any]) -> Any:
    """Return what `datasets` finds. Its error for a missing URL shows the URL without password and query."""
    from consistent_chat.text.sanitize import without_secrets

    try:
        return found()
    except FileNotFoundError as error:
        if (shown := without_secrets(str(error))) == str(error):
            raise
        raise FileNotFoundError(shown) from None


def normalize_data_files(files: Any) -> Any:
    """Return `data_files` with its paths as text and `~` replaced by the home folder, as `datasets` expects."""
    from datasets.data_files import DataFilesDict, DataFilesList

    if isinstance(files, (DataFilesDict, DataFilesList)):  # already resolved
        return files
    if isinstance(files, dict):
        return {name: normalize_data_files(part) for name, part in files.items()}
    if isinstance(files, (list, tuple)):
        return [normalize_data_files(part) for part in files]
    return os.path.expanduser(files) if isinstance(files, (str, os.PathLike)) else files


def _recipes(folder: str) -> Any:
    """Return the recipe files directly in a local folder, by the splits that `datasets` derives from their names."""
    from datasets import data_files
    from datasets.data_files import DataFilesDict, DataFilesList

    base = Path(folder).expanduser().resolve()
    if not base.is_dir():
        raise RecipeError(f"data_dir must be an existing directory; {folder} was not found. Check the path.")
    names = sorted(path.name for path in base.glob(f"*{EXTENSION}"))
    if not names:
        raise RecipeError(f"{folder} contains no recipe. Add a file whose name ends in {EXTENSION}.")

    def named(pattern: str) -> list[str]:
        return fnmatch.filter(names, pattern.removeprefix("**/"))

    splits = data_files._get_data_files_patterns(named)
    found = {split: sorted({name for pattern in splits[split] for name in named(pattern)}) for split in splits}
    return DataFilesDict({split: DataFilesList([str(base / n) for n in found[split]], []) for split in found})
