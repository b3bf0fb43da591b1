"""The builder's use of internal parts of `datasets`, beyond its documented interface, and checks of its cache folder.

All other uses of internal parts are in `consistent_chat.registration`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gc
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
from datasets.utils import file_utils

from consistent_chat.builder.workers import stoppable, waiting_for_workers
from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.recipe import FIELDS, suggestion
from consistent_chat.recipe.fields import native
from consistent_chat.registration import NAME

try:
    import fcntl
except ImportError:  # Windows has other locks, which need no check
    fcntl = None  # type: ignore[assignment]


OBJECTS_OF_A_BATCH = 50_000
"""More objects with references than `datasets` holds of the 1,000 rows that it writes at once."""


@contextlib.contextmanager
def heap_frozen() -> Iterator[None]:
    """Let the garbage collector look only at what is made meanwhile, and seldom.

    The rows of a build make it walk over all that is loaded, which takes 0.1 s each time, every 2,000 rows or so. Rows
    have no cycles, and with the usual threshold it walks over those of a batch 30 times before they are written.
    """
    frozen, thresholds = gc.get_freeze_count(), gc.get_threshold()
    if not frozen:  # else the caller has frozen it
        gc.freeze()
    if thresholds[0]:  # else the caller has turned it off
        gc.set_threshold(max(thresholds[0], OBJECTS_OF_A_BATCH), *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if not frozen:
            gc.unfreeze()


class BuilderHooks:
    """A mixin for builders: runs this package's checks, raises its errors, and provides the number of processes."""

    processes = 1
    """The number of processes between which `num_proc` divides a split."""

    def num_workers(self) -> int:
        """Return how many processes share the limits: those of `num_proc`, or the workers of a torch DataLoader."""
        loading = sys.modules.get("torch.utils.data")  # a worker has already imported torch
        worker = loading.get_worker_info() if loading else None
        return worker.num_workers if worker else self.processes

    @staticmethod
    def is_inspected(manager: Any) -> bool:
        """Return whether `datasets` only asks for the names of the splits, as in `get_dataset_infos`."""
        return manager.is_streaming and getattr(manager, "_dataset_name", NAME) is None

    def validate_config(self, config: Any, custom_features: Any) -> str:
        """Check a complete config and return its id. The builder overrides this method. Raises RecipeError."""
        raise NotImplementedError

    def _create_builder_config(
        self, config_name: str | None = None, custom_features: Any = None, **given: Any
    ) -> tuple[Any, str]:
        """Reject invalid options before anything else: `datasets` sets overrides of a config without any check."""
        known = tuple(f.name for f in dataclasses.fields(self.BUILDER_CONFIG_CLASS) if f.init)  # type: ignore[attr-defined]
        for name in given:
            if name not in (*known, "config_id"):
                raise RecipeError(f"load_dataset({NAME!r}) takes no {name!r}.{suggestion(name, known)}")
        for named in self.BUILDER_CONFIGS:  # type: ignore[attr-defined]
            _refuse_operational(named)
        config, _ = super()._create_builder_config(config_name, custom_features, **given)  # type: ignore[misc]
        for name in set(known) - {field.name for field in dataclasses.fields(datasets.BuilderConfig)}:
            setattr(config, name, native(getattr(config, name)))
        return config, self.validate_config(config, custom_features)

    def reading(self, url: str) -> dict[str, Any]:
        """Return the options for opening a file, as `datasets` does: the user's token is sent only to the Hub."""
        config = datasets.DownloadConfig(token=self.token, storage_options={**self.storage_options})  # type: ignore[attr-defined]
        options: dict[str, Any] = file_utils._prepare_path_and_storage_options(url, download_config=config)[1]
        return options

    def _prepare_split(self, split_generator: Any, *args: Any, num_proc: int | None = None, **kwargs: Any) -> None:
        shards = max(
            (len(value) for value in split_generator.gen_kwargs.values() if isinstance(value, list)), default=1
        )
        self.processes = max(1, min(num_proc or 1, shards))
        with waiting_for_workers(self.processes) if self.processes > 1 else contextlib.nullcontext():
            super()._prepare_split(split_generator, *args, num_proc=num_proc, **kwargs)  # type: ignore[misc]

    def _prepare_split_single(self, *args: Any, **kwargs: Any) -> Any:
        """Let this package's errors reach the user without wrapping."""
        try:
            steps = super()._prepare_split_single(*args, **kwargs)  # type: ignore[misc]
            yield from stoppable(steps) if self.processes > 1 else steps
        except datasets.exceptions.DatasetGenerationError as error:
            cause = error.__cause__
            if isinstance(cause, ConsistentChatError):
                raise cause from None
            if isinstance(cause, OSError):  # a disk error, since servings and stores raise their own classes
                raise ConsistentChatError(
                    f"The dataset cannot be built in {self._cache_dir_root}: {cause.strerror or cause}. "  # type: ignore[attr-defined]
                    "All answers are kept. Free space there, or set HF_DATASETS_CACHE to another folder, and rerun."
                ) from None
            raise


def _refuse_operational(config: Any) -> None:
    """Reject fields that only the user may set: `datasets` fills a config from the README of a folder or a Hub repo."""
    harmless = {*FIELDS, *(f.name for f in dataclasses.fields(datasets.BuilderConfig))}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in harmless and not (
            field.name in ("seeds", "decontaminate")
            or (field.name in ("taxonomy", "review") and isinstance(value, str))
            or (field.name == "personas" and isinstance(value, Mapping))
        ):
            continue
        if value != field.default:
            raise RecipeError(
                f"The README of this dataset sets {field.name!r} for config {config.name!r}; only the user may set it. "
                "Remove it there, and pass it to load_dataset() if you want it."
            )


WITHOUT_LOCKS = frozenset({errno.ENOSYS, errno.EWOULDBLOCK, errno.EINTR})
"""Errors of `flock` that do not matter: without `flock`, `datasets` uses lock files; the others are temporary."""


def check_cache(folder: str | os.PathLike[str]) -> None:
    """Raise ConsistentChatError unless files can be created and locked in the cache of `datasets`."""
    path = os.path.expanduser(folder)
    if path.startswith("~"):
        raise ConsistentChatError(
            f"This user has no home folder for the cache of datasets ({path}). Set HF_HOME to a writable folder."
        )
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"Checks that the cache can be written.\n")
            file.flush()
            _lock(file.fileno())
    except OSError as error:
        raise ConsistentChatError(
            f"The cache of datasets, {path}, cannot be written: {error.strerror}. Grant access or free space there, or "
            "set HF_HOME or HF_DATASETS_CACHE to another folder."
        ) from None


def _lock(file: int) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise OSError(error.errno, f"its file system cannot lock files ({error.strerror})") from None
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
