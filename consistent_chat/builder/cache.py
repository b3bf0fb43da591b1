"""Checks, before any call is paid for, that the cache folder of `datasets` can be used."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from consistent_chat.errors import ConsistentChatError

try:
    import fcntl
except ImportError:  # Windows has other locks, which need no check
    fcntl = None  # type: ignore[assignment]

WITHOUT_LOCKS = frozenset({errno.ENOSYS, errno.EWOULDBLOCK, errno.EINTR})
"""Errors of `flock` that are no obstacle: without that call `datasets` uses lock files; the others are temporary."""


def check_cache(folder: str | os.PathLike[str]) -> None:
    """Raise ConsistentChatError unless files can be created and locked in the cache of `datasets`."""
    path = os.path.expanduser(folder)
    if path.startswith("~"):
        raise ConsistentChatError(
            f"This user has no home folder, so the cache of datasets ({path}) has no place. Set HF_HOME to a folder "
            "that can be written."
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
