"""The folder in which `datasets` keeps what it builds: whether it can be used, said before anything is paid."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from consistent_chat.errors import ConsistentChatError

try:
    import fcntl
except ImportError:  # Windows has other locks, which need no test
    fcntl = None  # type: ignore[assignment]

WITHOUT_LOCKS = frozenset({errno.ENOSYS, errno.EWOULDBLOCK, errno.EINTR})
"""What `flock` may fail with here: without the call `datasets` uses lock files instead; the others pass."""


def check_cache(folder: str | os.PathLike[str]) -> None:
    """Raise ConsistentChatError unless files can be made and locked in the cache of `datasets`."""
    path = os.path.expanduser(folder)
    if path.startswith("~"):
        raise ConsistentChatError(
            f"This user has no home folder, so the cache of datasets ({path}) has no place. Set HF_HOME to a folder "
            "that can be written."
        )
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"Tests whether the cache can be written.\n")
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
