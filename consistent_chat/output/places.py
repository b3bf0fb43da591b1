"""The locations of output: local files, the standard output, object stores, the Hub and other filesystems."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import re
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.files import atomic_write, file_digest, stream_digest, temporary_file
from consistent_chat.store.backends import FsspecBackend, HubRepoBackend, hub_backend
from consistent_chat.store.location import SERVERLESS, own_options
from consistent_chat.text.console import tell_lines
from consistent_chat.text.sanitize import redact_all, secret_values, secrets_of, without_secrets, without_user


@dataclass(frozen=True)
class LocalOutput:
    """A local file or folder; `path` is absolute.

    An existing file is replaced atomically and keeps its permissions; a read-only one is refused. A symbolic link at
    `path` is replaced and never followed: links in the caches of the Hub or DVC lead to files that must not change, and
    a link in a shared folder may be a stranger's. Links in the folders above `path` are followed.
    """

    path: Path
    name: str
    option: str
    is_folder: bool

    @property
    def suffix(self) -> str:
        """The extension in lower case, with its dot, or ""."""
        return self.path.suffix.lower()

    @property
    def identity(self) -> object:
        """The folder without links, and the name in it."""
        return os.path.join(os.path.realpath(self.path.parent), self.path.name)

    def child(self, name: str) -> LocalOutput:
        """Return the location of a file in this folder."""
        return LocalOutput(self.path / name, os.path.join(self.name, name), self.option, is_folder=False)

    def sibling(self, name: str) -> LocalOutput:
        """Return the location of another file in the folder of this file."""
        shown = os.path.join(os.path.dirname(self.name), name)
        return LocalOutput(self.path.with_name(name), shown, self.option, is_folder=False)

    def check(self) -> None:
        """Raise RecipeError unless a file can be written here. Leaves no trace."""
        missing = [folder for folder in self.path.parents if not os.path.lexists(folder)]
        try:
            self._try()
        except OSError as error:
            raise RecipeError(f"{self._failed(error)} {_advice(error)}.") from None
        finally:
            for folder in missing:
                with contextlib.suppress(OSError):  # the file was not created
                    folder.rmdir()

    def _try(self) -> None:
        _make(self.path.parent)
        with temporary_file(self.path.parent):
            pass
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with contextlib.suppress(FileNotFoundError):
            kind = os.lstat(self.path).st_mode
            if stat.S_ISREG(kind) and not os.access(self.path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if not stat.S_ISREG(kind) and not stat.S_ISLNK(kind):
                raise OSError(errno.EINVAL, "it is a pipe, device or socket (- is the standard output)")

    @contextlib.contextmanager
    def write(self) -> Iterator[BinaryIO]:
        """Yield a binary file; at the end of the block its content replaces that of `path` and is read back."""
        try:
            _make(self.path.parent)
            with atomic_write(self.path) as file:
                yield file
                file.flush()
                written = file_digest(file.name)
            read = file_digest(self.path)
        except OSError as error:
            raise ConsistentChatError(f"{self._failed(error)} {_advice(error)}, then rerun.") from None
        if read != written:
            raise ConsistentChatError(f"{self.name} differs from what was written to it. Check the disk, then rerun.")

    def open(self) -> BinaryIO:
        """Open the file for reading; raises OSError."""
        return self.path.open("rb")

    def _failed(self, error: OSError) -> str:
        return f"{self.option} {self.name} cannot be written: {error.strerror or error}."


_ADVICE = {
    errno.EISDIR: "Pass the path of a file",
    errno.ENOTDIR: "Pass a path whose parent folders are not files",
    errno.ENAMETOOLONG: "Pass a shorter path",
    errno.ELOOP: "Pass a path without a loop of links",
    errno.EINVAL: "Pass the path of a file",
    errno.EROFS: "Pass a path that is not read-only",
    errno.ENOSPC: "Free space there, or pass another path",
    errno.EDQUOT: "Free space there, or pass another path",
}


def _advice(error: OSError) -> str:
    """Return the advice for an error, without a full stop."""
    return _ADVICE.get(error.errno or 0, "Grant access, or pass another path")


def parse_path(text: str, option: str) -> LocalOutput:
    """Return the output for a path; raises RecipeError if its `~` names no home folder."""
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise RecipeError(
            f"{option} {text}: there is no home folder for {text.split('/')[0]}. Pass an absolute path, or ./{text} "
            "for a file with that name."
        )
    is_folder = text.endswith(("/", os.sep)) or os.path.isdir(expanded)
    return LocalOutput(Path(os.path.abspath(expanded)), text, option, is_folder)


def _make(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):  # it is a file; writing into it raises a clearer error
        folder.mkdir(parents=True)


@dataclass(frozen=True)
class StandardOutput:
    """The standard output. It accepts one file, which cannot be read back."""

    option: str
    name: str = "standard output"
    suffix: str = ""
    is_folder: bool = False

    @property
    def identity(self) -> object:
        """The standard output is one location."""
        return "-"

    def child(self, name: str) -> StandardOutput:
        """Raise RecipeError: the standard output is not a folder."""
        raise RecipeError(f"{self.option} - is one stream and cannot hold several files. Pass a folder.")

    sibling = child

    def check(self) -> None:
        """Raise RecipeError if this process has no standard output."""
        if sys.stdout is None or sys.stdout.closed:
            raise RecipeError(f"{self.option} - cannot be written: the standard output is closed. Pass a path.")

    @contextlib.contextmanager
    def write(self) -> Iterator[BinaryIO]:
        """Yield a file whose content is copied to the standard output at the end; raises BrokenPipeError.

        On a terminal, control characters are escaped.
        """
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            if sys.stdout.isatty():  # data for a pipe could contain control sequences of a terminal
                tell_lines(file.read().decode("utf-8", "replace"))
                return
            sys.stdout.flush()
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()

    def open(self) -> contextlib.AbstractContextManager[BinaryIO]:
        """Raise FileNotFoundError: what was written to a stream cannot be read."""
        raise FileNotFoundError(self.name)


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[a-z0-9]+::.*://")
WEBSITES = ("http", "https")
"""Protocols that fsspec would write by POST, which websites do not accept for files."""


@dataclass(frozen=True)
class RemoteOutput:
    """A file or folder on a filesystem of fsspec. `path` is the filesystem's, without the protocol."""

    fs: Any
    path: str
    name: str
    option: str
    protocol: str
    is_folder: bool
    secrets: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """The extension in lower case, with its dot, or ""."""
        return posixpath.splitext(self.path)[1].lower()

    @property
    def identity(self) -> object:
        """The filesystem and the path."""
        return self.fs, self.path

    def child(self, name: str) -> RemoteOutput:
        """Return the place of a file in this folder."""
        path, shown = (f"{folder.rstrip('/')}/{name}" for folder in (self.path, self.name))
        return replace(self, path=path, name=shown, is_folder=False)

    def sibling(self, name: str) -> RemoteOutput:
        """Return the place of another file in the folder of this file."""
        folder = replace(self, path=posixpath.dirname(self.path), name=posixpath.dirname(self.name))
        return folder.child(name)

    def check(self) -> None:
        """Raise RecipeError unless a file can be written here.

        In a repo of the Hub this checks write access; elsewhere a small file is written and removed.
        """
        try:
            backend = self._backend()
            if isinstance(backend, HubRepoBackend):
                backend.check()
                return
            probe = f".{uuid.uuid4().hex}.tmp"
            backend.put({probe: b"Checks that output can be written.\n"})
            with contextlib.suppress(Exception):  # the output does not need delete access, so it may be missing
                backend.put({probe: None})
        except Exception as error:  # each filesystem raises its own errors
            raise RecipeError(
                f"{self._failed(error)} Check the address and your access, or pass another one."
            ) from None

    @contextlib.contextmanager
    def write(self) -> Iterator[BinaryIO]:
        """Yield a local file. At the end of the block its content is sent to this location and read back."""
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder, "output")
            try:
                with local.open("xb") as file:
                    yield file
            except OSError as error:
                raise ConsistentChatError(f"{self._failed(error)} Free space in {folder}, then rerun.") from None
            try:
                self._backend().put({posixpath.basename(self.path): local})
                arrived = self._digest()
            except Exception as error:  # each filesystem raises its own errors
                raise ConsistentChatError(f"{self._failed(error)} Check your access, then rerun.") from None
            if arrived != file_digest(local):
                raise ConsistentChatError(f"{self.name} differs from what was sent to it. Rerun the command.")

    def open(self) -> Any:
        """Open the file for reading; raises what its filesystem raises."""
        self.fs.invalidate_cache()
        return self.fs.open(self.path, "rb")

    def _backend(self) -> Any:
        folder = posixpath.dirname(self.path).rstrip("/")
        if self.protocol == "hf":
            return hub_backend(self.fs, folder)
        return FsspecBackend(self.fs, folder, f"{self.protocol}://")

    def _digest(self) -> str:
        with self.open() as file:
            return stream_digest(file)

    def _failed(self, error: Exception) -> str:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        return f"{self.option} {self.name} cannot be written: {redact_all(reason, self.secrets)}."


def parse_url(text: str, option: str, storage_options: Mapping[str, Any]) -> RemoteOutput | LocalOutput | None:
    """Return the output for a URL, or None for a path; raises RecipeError."""
    if not _URL.match(text):
        return None
    protocol = get_protocol(text)
    shown = without_user(text) if protocol in SERVERLESS else without_secrets(text)
    if "::" in text or protocol in WEBSITES:
        raise RecipeError(f"{option} {shown} cannot be written: websites and chains of URLs are read only.")
    options = own_options(text, storage_options)
    secrets = (*secrets_of(text), *secret_values(options))
    place = RemoteOutput(None, text, shown, option, protocol, text.endswith("/"), secrets)
    try:
        fs, path = fsspec.core.url_to_fs(text, **options)
        is_folder = place.is_folder or fs.isdir(path)
    except Exception as error:  # an unknown protocol, a missing package, an unreachable server
        raise RecipeError(f"{place._failed(error)} Check the address, or pass another one.") from None
    if isinstance(fs, LocalFileSystem):
        return LocalOutput(Path(path), shown, option, is_folder)
    return replace(place, fs=fs, path=path, is_folder=is_folder)
