"""How files get into a store: into a folder, or to whatever fsspec reaches. hub_backends.py has those for the Hub.

Each way can `check` that it is open, `send` a pack and `remove` packs, and `put` and `create` other files; it leaves
the marker that makes a place a store.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from fsspec.utils import get_protocol

from consistent_chat.files import PRIVATE, Files, atomic_write, make_private_folder, move_into_place, temporary_file

STORE_FORMAT = 1
MARKER = "store.json"
MARKED = json.dumps({"consistent_chat_store": STORE_FORMAT}).encode("ascii") + b"\n"
WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss"})
"""Protocols of object stores: to make a folder there would be to make the bucket of a mistyped name."""
SECONDS = 600.0
"""How long sending a file may take where nothing else bounds it: botocore waits for ever for a leave to send."""


class StoreBackend(Protocol):
    """How files get into one store. All that fails raises what the store's filesystem raises."""

    def check(self) -> None:
        """Make sure that packs can be sent."""

    def send(self, pack: Path) -> None:
        """Put a pack into the store, completely or not at all."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""

    def put(self, files: Files) -> None:
        """Put files into the store, in the place of those that are there; None removes what is there."""

    def create(self, path: str, content: bytes, beside: Files) -> bool:
        """Put a file where there is none, and then others beside it; False where another writer was faster.

        Two writers at the same instant both succeed where neither the filesystem nor the server can tell.
        """


class LocalBackend:
    """A folder of this machine, in which packs are made."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        """Leave the marker, completely or not at all: other writers start at the same time."""
        marker = self._root / MARKER
        if not marker.exists():
            make_private_folder(self._root / "packs")
            with atomic_write(marker, PRIVATE) as file:
                file.write(MARKED)

    def send(self, pack: Path) -> None:
        """Do nothing: it is there."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""
        for name in names:
            (self._root / "packs" / name).unlink(missing_ok=True)

    def put(self, files: Files) -> None:
        """Put files into the folder, each completely or not at all."""
        for path, content in files.items():
            target = self._root / path
            if content is None:
                target.unlink(missing_ok=True)
            else:
                with self._written(target, content) as file:
                    move_into_place(file, target)

    def create(self, path: str, content: bytes, beside: Files) -> bool:
        """Put a file where there is none: a link is made by one writer alone."""
        self.put(beside)
        with self._written(self._root / path, content) as file:
            try:
                os.link(file.name, self._root / path)
            except FileExistsError:
                return False
            except OSError:  # there are no links on this filesystem
                return self._opened(self._root / path, content)
        return True

    def _opened(self, target: Path, content: bytes) -> bool:
        try:
            with open(target, "xb", opener=lambda name, flags: os.open(name, flags, PRIVATE)) as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    @contextlib.contextmanager
    def _written(self, target: Path, content: bytes | Path) -> Iterator[BinaryIO]:
        """Give a temporary file with this content, beside the target and on the disk."""
        make_private_folder(target.parent)
        with temporary_file(target.parent) as file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
            yield file


class FsspecBackend:
    """A place that an fsspec filesystem reaches."""

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self._fs, self._root = fs, root
        self._has_folders = get_protocol(url) not in WITHOUT_FOLDERS
        self._patience = {"timeout": SECONDS} if fs.async_impl else {}

    def check(self) -> None:
        """Leave the marker, again if it is there: nothing less shows that one may write."""
        if self._has_folders:
            self._fs.makedirs(f"{self._root}/packs", exist_ok=True)
        self._fs.pipe_file(f"{self._root}/{MARKER}", MARKED, **self._patience)

    def send(self, pack: Path) -> None:
        """Put a pack into the store; where files can be seen half written, under another name first."""
        path = f"{self._root}/packs/{pack.name}"
        first = f"{self._root}/packs/.{pack.name}.{uuid.uuid4().hex}" if self._has_folders else path
        self._fs.put_file(str(pack), first, **self._patience)
        if first != path:
            self._fs.mv(first, path)

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""
        self._fs.rm([f"{self._root}/packs/{name}" for name in names])

    def put(self, files: Files) -> None:
        """Put files into the store; where files can be seen half written, under another name first."""
        for path, content in files.items():
            target = f"{self._root}/{path}"
            if content is None:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm_file(target)
            else:
                self._put(target, content)

    def create(self, path: str, content: bytes, beside: Files) -> bool:
        """Put a file where there is none, which object stores answer for."""
        self.put(beside)
        target = f"{self._root}/{path}"
        if self._has_folders:
            if self._fs.exists(target):
                return False
            self._put(target, content)
            return True
        try:
            with self._fs.open(target, "xb") as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    def _put(self, target: str, content: bytes | Path) -> None:
        folder = target.rpartition("/")[0]
        first = f"{folder}/.{uuid.uuid4().hex}.tmp" if self._has_folders else target  # `mv` takes * and ? for patterns
        if self._has_folders:
            self._fs.makedirs(folder, exist_ok=True)
        if isinstance(content, Path):
            self._fs.put_file(str(content), first, **self._patience)
        else:
            self._fs.pipe_file(first, content, **self._patience)
        if first != target:
            self._fs.mv(first, target)
