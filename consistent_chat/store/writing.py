"""How files get into a store: into a folder, or to whatever fsspec reaches. hub.py has the Hub's own ways.

Each way can `check` that it is open, `send` a pack and `remove` packs; it leaves the marker that makes a place a store.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from fsspec.utils import get_protocol

STORE_FORMAT = 1
MARKER = "store.json"
MARKED = json.dumps({"consistent_chat_store": STORE_FORMAT}).encode("ascii") + b"\n"
WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss"})
"""Protocols of object stores: to make a folder there would be to make the bucket of a mistyped name."""
SECONDS = 600.0
"""How long sending a file may take where nothing else bounds it: botocore waits for ever for a leave to send."""


class Way(Protocol):
    """How files get into one store. All that fails raises what the store's filesystem raises."""

    def check(self) -> None:
        """Make sure that packs can be sent."""

    def send(self, pack: Path) -> None:
        """Put a pack into the store, completely or not at all."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""


class Folder:
    """A folder of this machine, in which packs are made."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        """Leave the marker, completely or not at all: other writers start at the same time."""
        marker = self._root / MARKER
        if not marker.exists():
            (self._root / "packs").mkdir(parents=True, exist_ok=True)
            partial = marker.with_name(f"{MARKER}.{uuid.uuid4().hex}")
            partial.write_bytes(MARKED)
            partial.replace(marker)

    def send(self, pack: Path) -> None:
        """Do nothing: it is there."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""
        for name in names:
            (self._root / "packs" / name).unlink(missing_ok=True)


class Remote:
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
