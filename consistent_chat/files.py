"""Local files: written atomically, and read only if they are regular files of a bounded size.

A temporary file is created in the folder of its target, so that it can replace the target atomically. Its name cannot
be guessed and it is created exclusively, so that an existing link is never followed. The functions do not depend on the
content of files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

PUBLIC, PRIVATE = 0o666, 0o600
"""Permissions of a new file: PUBLIC depends on the user's umask, PRIVATE is for the owner only."""
PRIVATE_FOLDER = 0o700
Files = Mapping[str, "bytes | Path | None"]
"""Files by their paths in a store, repo or bucket: the content, a local file that has it, or None to delete it."""
_BLOCK = 1 << 20
_PLAIN = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)  # Windows has neither
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


class NotPlainFile(OSError):
    """A path names a device, a pipe, a folder, or a file that is too large. `strerror` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(None, reason)
        self.strerror = self.reason = reason


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: int = PUBLIC) -> Iterator[BinaryIO]:
    """Yield a binary file whose content becomes the file at `path` when the block ends without an error.

    Readers see the old file or the whole new one, also after a crash. A link at `path` is replaced, never followed. An
    existing file keeps its permissions, unless `mode` is PRIVATE. For text, wrap it: `io.TextIOWrapper(file, "utf-8",
    newline="")`, and `detach()` or flush it inside the block.
    """
    target = Path(path)
    rights = None if mode == PRIVATE else _rights(target)
    with temporary_file(target.parent, mode if rights is None else PRIVATE) as file:
        yield file
        if rights is not None:
            with contextlib.suppress(OSError):  # some filesystems have no permissions
                os.chmod(file.name, rights)
        move_into_place(file, target)


def _rights(path: Path) -> int | None:
    """Return the permissions of a regular file, or None if there is none."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return None
    return mode & 0o777 if stat.S_ISREG(mode) else None


@contextlib.contextmanager
def temporary_file(folder: Path, mode: int = PRIVATE) -> Iterator[BinaryIO]:
    """Yield a new file in a folder, opened for writing; it is removed at the end unless it was moved."""
    path = folder / f".{uuid.uuid4().hex}.tmp"
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags | NO_LINKS, mode)) as file:
        try:
            yield file
        finally:
            with contextlib.suppress(OSError):  # it was moved
                path.unlink()


def move_into_place(file: BinaryIO, target: Path) -> None:
    """Sync a temporary file to the disk and let it replace `target`, in the same folder."""
    file.flush()
    os.fsync(file.fileno())
    if os.name == "nt":  # an open file cannot be moved there
        file.close()
    os.replace(file.name, target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to the disk, if the system supports it."""
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError:  # some network filesystems have no such call for folders
        pass
    finally:
        os.close(opened)


def make_private_folder(path: Path) -> None:
    """Create a folder and its missing parents for their owner only; existing ones stay unchanged."""
    missing = [path] if not path.exists() else []
    while missing and not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for folder in reversed(missing):
        folder.mkdir(PRIVATE_FOLDER, exist_ok=True)
    path.mkdir(PRIVATE_FOLDER, exist_ok=True)


def read_plain(path: str | os.PathLike[str], limit: int, flags: int = 0) -> bytes:
    """Return the bytes of a plain file of at most `limit` bytes.

    It never waits for a pipe and never reads a device: NotPlainFile, an OSError, says what the path names instead. With
    `flags=NO_LINKS` a link is refused, too.
    """
    descriptor = open_plain(path, flags)
    with open(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        content = file.read(limit + 1) if size <= limit else b""
    if size > limit or len(content) > limit:
        raise NotPlainFile(f"it is larger than {limit:,} bytes")
    return content


def open_plain(path: str | os.PathLike[str], flags: int = 0) -> int:
    """Return a descriptor of a plain file, opened for reading and with further `flags`. Raises OSError."""
    if flags & NO_LINKS and os.path.islink(path):
        raise NotPlainFile("it is a link")
    try:
        descriptor = os.open(path, flags | _PLAIN | getattr(os, "O_BINARY", 0))
    except OSError:
        if not flags & os.O_RDWR and os.path.isdir(path):  # some systems cannot open a folder
            raise NotPlainFile("it is a folder") from None
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise NotPlainFile("it is a folder" if stat.S_ISDIR(mode) else "it is not a plain file")
    return descriptor


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with open(path, "rb") as file:
        return stream_digest(file)


def stream_digest(file: BinaryIO) -> str:
    """Return the SHA-256 of the rest of an open file, 64 hex digits."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
