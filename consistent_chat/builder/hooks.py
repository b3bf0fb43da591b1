"""The builder's use of internal parts of `datasets`, beyond its documented interface, and checks of its cache folder.

All other uses of internal parts are in `consistent_chat.registration`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import multiprocess  # type: ignore[import-untyped]
from datasets.utils import file_utils

from consistent_chat import signals
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
        with _waiting_for_workers() if self.processes > 1 else contextlib.nullcontext():
            super()._prepare_split(split_generator, *args, num_proc=num_proc, **kwargs)  # type: ignore[misc]

    def _prepare_split_single(self, *args: Any, **kwargs: Any) -> Any:
        """Let this package's errors reach the user without wrapping."""
        try:
            steps = super()._prepare_split_single(*args, **kwargs)  # type: ignore[misc]
            yield from _stoppable(steps) if self.processes > 1 else steps
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


@contextlib.contextmanager
def _waiting_for_workers() -> Iterator[None]:
    """On an interrupt, wait until the workers have stored responses in flight; a second signal kills the workers."""
    handlers, process = signals.interrupting(), os.getpid()
    if signal.SIGINT not in handlers:
        yield
        return
    stopped = False

    def stop(number: int, _: Any) -> None:
        nonlocal stopped
        if os.getpid() != process and number != signal.SIGINT:  # inherited by a child without its own handler
            if multiprocess.current_process().name.startswith("SyncManager"):
                return  # the other processes communicate with it until they end
            signals.die_of(number)
        stopped = True
        _restore(handlers)
        for worker in multiprocess.active_children():  # if only this process received the signal
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGINT)

    for number in handlers:
        signal.signal(number, stop)
    try:
        with signals.replaced_workers_die():
            yield
    finally:
        _restore(handlers)
        if stopped:
            raise KeyboardInterrupt from None


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _stoppable(steps: Generator[Any, None, Any]) -> Iterator[Any]:
    """Yield a worker's steps. The first signal raises an error inside a step, so that the worker stops cleanly.

    A worker killed by a signal would end the others, too, and `datasets` cannot be interrupted between steps. After
    SIGTERM and SIGHUP the worker exits after its steps, because a pool waits for the workers that it terminates.
    """
    stop = _Stop()
    for number in (signal.SIGINT, *signals.STOPPING):
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        while True:
            try:
                step = stop.next_of(steps)
            except StopIteration:
                return
            yield step
    finally:
        for number in signals.STOPPING:
            if signal.getsignal(number) is stop:
                signal.signal(number, signal.SIG_DFL)
        if stop.fatal:
            signals.die_of(stop.fatal)


class _Stop:
    """A signal handler. The first signal raises an error inside a step, either immediately or when the next one starts.

    `fatal` is the last signal other than SIGINT, or 0.
    """

    def __init__(self) -> None:
        self._error = ConsistentChatError("Stopped. All answers are kept; rerun to resume.")
        self._inside = self._pending = self._stopping = False
        self.fatal = 0

    def __call__(self, number: int, _: Any) -> None:
        """Raise the error, or record that it must be raised."""
        self.fatal = self.fatal if number == signal.SIGINT else number
        if self._stopping:  # the first signal may be the parent's SIGINT, the second a scheduler's SIGTERM
            return
        self._stopping = True
        if self._inside:
            raise self._error
        self._pending = True

    def next_of(self, steps: Generator[Any, None, Any]) -> Any:
        """Return the next step. Raises StopIteration after the last."""
        throw, self._pending, self._inside = self._pending, False, True
        try:
            return steps.throw(self._error) if throw else next(steps)
        finally:
            self._inside = False


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
