"""What this package touches of `datasets` beyond its documented interface, all of it.

`register` teaches `load_dataset` the name "consistent_chat" and the extension of recipe files, as the Vortex project
did before it was adopted upstream. `BuilderHooks` is where the builder reaches into the steps of `datasets`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import hashlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import datasets
import multiprocess  # type: ignore[import-untyped]
from datasets import data_files, load, packaged_modules
from datasets.data_files import DataFilesDict, DataFilesList
from datasets.utils import file_utils

from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.recipe import EXTENSION, FIELDS, suggestion

NAME = "consistent_chat"
MODULE = "consistent_chat.builder"
SUFFIX = ".consistent_chat"


def register() -> None:
    """Teach `load_dataset` this builder; a version of `datasets` that cannot learn it gets a warning."""
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
    # What shapes the data is in the config's id. A cache of datasets 4 cannot be read by 3, so each has its own.
    major = datasets.__version__.partition(".")[0]
    digest = hashlib.sha256(f"{MODULE} datasets {major}".encode("ascii")).hexdigest()
    packaged_modules._PACKAGED_DATASETS_MODULES[NAME] = (MODULE, digest)


def _register_extension() -> None:
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
    original = load.PackagedDatasetModuleFactory
    if getattr(original, "knows_consistent_chat", False):
        return

    class Factory(original):  # type: ignore[misc, valid-type]
        """Needs no data files: a recipe may come from keyword arguments alone."""

        knows_consistent_chat = True

        def __init__(self, name: str, **given: Any) -> None:
            if name != NAME:
                super().__init__(name, **given)
                return
            # The original would count the load with a request to a server that knows nothing of this name.
            self.name, self.data_dir, self.data_files = (
                name,
                given.get("data_dir"),
                normalize_data_files(given.get("data_files")),
            )
            self.download_config, self.download_mode = given.get("download_config"), given.get("download_mode")

        def get_module(self) -> Any:
            if self.name != NAME or self.data_files is not None:
                return super().get_module()
            recipes = DataFilesDict() if self.data_dir is None else _recipes(self.data_dir)
            return load.DatasetModule(
                *packaged_modules._PACKAGED_DATASETS_MODULES[NAME], {"data_files": recipes, "dataset_name": NAME}
            )

    load.PackagedDatasetModuleFactory = Factory


def normalize_data_files(files: Any) -> Any:
    """Return `data_files` with its paths as text and the home folder in place of `~`, as `datasets` wants them."""
    if isinstance(files, (DataFilesDict, DataFilesList)):  # found already
        return files
    if isinstance(files, dict):
        return {name: normalize_data_files(part) for name, part in files.items()}
    if isinstance(files, (list, tuple)):
        return [normalize_data_files(part) for part in files]
    return os.path.expanduser(files) if isinstance(files, (str, os.PathLike)) else files


def _recipes(folder: str) -> DataFilesDict:
    """Return the recipes right in a local folder, in splits that `datasets` finds in their names."""
    base = Path(folder).expanduser().resolve()
    if not base.is_dir():
        raise RecipeError(f"data_dir is to be a folder, and there is none at {folder}. Check the path.")
    names = sorted(path.name for path in base.glob(f"*{EXTENSION}"))
    if not names:
        raise RecipeError(f"{folder} holds no recipe. Put a file there whose name ends in {EXTENSION}.")

    def named(pattern: str) -> list[str]:
        return fnmatch.filter(names, pattern.removeprefix("**/"))

    splits = data_files._get_data_files_patterns(named)
    found = {split: sorted({name for pattern in splits[split] for name in named(pattern)}) for split in splits}
    return DataFilesDict({split: DataFilesList([str(base / n) for n in found[split]], []) for split in found})


class BuilderHooks:
    """For a builder: its own checks and errors, and the number of its processes, at the places where they belong."""

    processes = 1
    """Between how many processes a split is divided by `num_proc`."""

    def num_workers(self) -> int:
        """Return how many processes share the limits: those of `num_proc`, or the workers of a torch DataLoader."""
        loading = sys.modules.get("torch.utils.data")  # if this is a worker, it is imported
        worker = loading.get_worker_info() if loading else None
        return worker.num_workers if worker else self.processes

    def validate_config(self, config: Any, custom_features: Any) -> str:
        """Check a config that is complete and return its id. For the builder to define; raises RecipeError."""
        raise NotImplementedError

    def _create_builder_config(
        self, config_name: str | None = None, custom_features: Any = None, **given: Any
    ) -> tuple[Any, str]:
        """Refuse what is not valid before anything else: `datasets` sets overrides of a config without any check."""
        known = tuple(f.name for f in dataclasses.fields(self.BUILDER_CONFIG_CLASS) if f.init)  # type: ignore[attr-defined]
        for name in given:
            if name not in (*known, "config_id"):
                raise RecipeError(f"load_dataset({NAME!r}) takes no {name!r}.{suggestion(name, known)}")
        for named in self.BUILDER_CONFIGS:  # type: ignore[attr-defined]
            _refuse_operational(named)
        config, _ = super()._create_builder_config(config_name, custom_features, **given)  # type: ignore[misc]
        return config, self.validate_config(config, custom_features)

    def reading(self, url: str) -> dict[str, Any]:
        """Return the options to open a file with, as `datasets` does: the user's token is for the Hub alone."""
        config = datasets.DownloadConfig(token=self.token, storage_options={**self.storage_options})  # type: ignore[attr-defined]
        options: dict[str, Any] = file_utils._prepare_path_and_storage_options(url, download_config=config)[1]
        return options

    def _prepare_split(self, split_generator: Any, *args: Any, num_proc: int | None = None, **kwargs: Any) -> None:
        shards = max(
            (len(value) for value in split_generator.gen_kwargs.values() if isinstance(value, list)), default=1
        )
        self.processes = max(1, min(num_proc or 1, shards))
        with _waiting_for_workers() if self.processes > 1 else contextlib.nullcontext():
            super()._prepare_split(split_generator, *args, num_proc=num_proc, **kwargs)  # type: ignore[misc]

    def _prepare_split_single(self, *args: Any, **kwargs: Any) -> Any:
        """Let errors raised on purpose reach the user as they are, not wrapped."""
        try:
            steps = super()._prepare_split_single(*args, **kwargs)  # type: ignore[misc]
            yield from _stoppable(steps) if self.processes > 1 else steps
        except datasets.exceptions.DatasetGenerationError as error:
            if isinstance(error.__cause__, ConsistentChatError):
                raise error.__cause__ from None
            raise


@contextlib.contextmanager
def _waiting_for_workers() -> Iterator[None]:
    """On Ctrl-C wait for the workers, which keep what is in flight; `datasets` would kill them. A second one kills."""
    in_charge = threading.current_thread() is threading.main_thread()
    if not in_charge or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    stopped = False

    def stop(*_: Any) -> None:
        nonlocal stopped
        stopped = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for worker in multiprocess.active_children():  # where it was this process alone that was told
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGINT)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if stopped:
            raise KeyboardInterrupt from None


def _stoppable(steps: Generator[Any, None, Any]) -> Iterator[Any]:
    """Pass on the steps of a worker; the first Ctrl-C is an error within them, so that they end in order.

    A worker that dies of it takes the others with it, and `datasets` does not let its steps be left in between.
    """
    error = ConsistentChatError("Stopped. All answers are kept; run again to go on.")
    inside = pending = False

    def stop(*_: Any) -> None:
        nonlocal pending
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if inside:
            raise error
        pending = True

    signal.signal(signal.SIGINT, stop)
    while True:
        throw, pending, inside = pending, False, True
        try:
            step = steps.throw(error) if throw else next(steps)
        except StopIteration:
            return
        finally:
            inside = False
        yield step


def _refuse_operational(config: Any) -> None:
    """Refuse what only the user may say: `datasets` fills a config from the README of a folder or a Hub repo."""
    harmless = {*FIELDS, *(f.name for f in dataclasses.fields(datasets.BuilderConfig))}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in harmless and not (field.name == "taxonomy" and isinstance(value, str)):
            continue
        if value != field.default:
            raise RecipeError(
                f"The README of this dataset sets {field.name!r} for its config {config.name!r}, which only you may. "
                "Take it out there, and pass it to load_dataset() if you mean it."
            )
