"""Output to a path on this machine, a URL that fsspec opens, or "-" for the standard output.

A file is written atomically, and read back before it is reported as written.

places.py  files of this machine, the standard output, and files in object stores, on the Hub and on other filesystems
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol

from consistent_chat.errors import RecipeError
from consistent_chat.output import places
from consistent_chat.output.places import StandardOutput

STDOUT = "-"


class Output(Protocol):
    """One location for a file, or a folder for several files."""

    @property
    def name(self) -> str:
        """The name as the user wrote it, without passwords."""

    @property
    def suffix(self) -> str:
        """The extension of the file's name in lower case (".parquet"), or ""."""

    @property
    def is_folder(self) -> bool:
        """Whether the location is a folder: it exists as one, or its name ends in a slash."""

    @property
    def identity(self) -> object:
        """A value that is equal for two names of the same file."""

    def child(self, name: str) -> Output:
        """Return the location of a file in this folder."""

    def sibling(self, name: str) -> Output:
        """Return the location of another file in the folder of this file."""

    def check(self) -> None:
        """Raise RecipeError unless a file can be written here. Leaves no trace."""

    def write(self) -> AbstractContextManager[BinaryIO]:
        """Yield a binary file. At the end of the block its content is written to this location and read back.

        Raises ConsistentChatError if the content cannot be written or differs when it is read.
        """

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Open the existing file for reading. Raises FileNotFoundError."""


def parse_output(name: str | os.PathLike[str], option: str, storage_options: Mapping[str, Any] | None = None) -> Output:
    """Return the output for a name; `option` ("--output") is named in errors.

    A leading `~` is expanded. "-" is the standard output; a file called "-" is "./-". In URLs no character is special:
    `%`, `#` and `?` are part of the name. Raises RecipeError.
    """
    text = os.fspath(name)
    if not text or "\0" in text:
        raise RecipeError(f"{option} {text!r} is not a path. Pass a file or a folder.")
    if text == STDOUT:
        return StandardOutput(option)
    url = places.parse_url(text, option, storage_options or {})
    return url or places.parse_path(text, option)
