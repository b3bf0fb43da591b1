"""Output on this machine: files, and the standard output."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.files import atomic_write, file_digest, temporary_file
from consistent_chat.text.console import tell_lines


@dataclass(frozen=True)
class LocalOutput:
    """A file or folder of this machine; `path` is absolute.

    An existing file is replaced atomically and keeps its permissions; a read-only one is refused. A
    symbolic link at `path` is replaced and never followed: links in the caches of the Hub or DVC lead to files that
    must not change, and a link in a shared folder may be a stranger's. Links among the folders above are followed.
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
        """Return the place of a file in this folder."""
        return LocalOutput(self.path / name, os.path.join(self.name, name), self.option, is_folder=False)

    def sibling(self, name: str) -> LocalOutput:
        """Return the place of another file in the folder of this file."""
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
    errno.ENOTDIR: "Pass a path whose folders are no files",
    errno.ENAMETOOLONG: "Pass a shorter path",
    errno.ELOOP: "Pass a path without a loop of links",
    errno.EINVAL: "Pass the path of a file",
    errno.EROFS: "Pass a path that is not read-only",
    errno.ENOSPC: "Free space there, or pass another path",
    errno.EDQUOT: "Free space there, or pass another path",
}


def _advice(error: OSError) -> str:
    """Return what to do about an error, without a full stop."""
    return _ADVICE.get(error.errno or 0, "Grant access, or pass another path")


def parse(text: str, option: str) -> LocalOutput:
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
        """The standard output is one place."""
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
