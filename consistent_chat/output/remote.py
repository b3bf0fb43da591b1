"""Output to object stores, the Hub, memory and other fsspec filesystems."""

from __future__ import annotations

import contextlib
import posixpath
import re
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
from consistent_chat.files import file_digest, stream_digest
from consistent_chat.output.local import LocalOutput
from consistent_chat.store.backends import FsspecBackend, HubRepoBackend, hub_backend
from consistent_chat.store.location import SERVERLESS, own_options
from consistent_chat.text.sanitize import redact_all, secret_values, secrets_of, without_secrets, without_user

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
            with contextlib.suppress(Exception):  # delete access may be missing, which the output does not need
                backend.put({probe: None})
        except Exception as error:  # each filesystem raises its own errors
            raise RecipeError(
                f"{self._failed(error)} Check the address and your access, or pass another one."
            ) from None

    @contextlib.contextmanager
    def write(self) -> Iterator[BinaryIO]:
        """Yield a local file; at the end of the block its content is sent to this place and read back."""
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


def parse(text: str, option: str, storage_options: Mapping[str, Any]) -> RemoteOutput | LocalOutput | None:
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
