"""The standard output, for one file."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from consistent_chat.errors import RecipeError
from consistent_chat.text.console import tell_lines


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
