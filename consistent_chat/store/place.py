"""Where a store lies: a folder on this machine, or a place that fsspec reaches, seen through local copies.

Nothing else in the package knows whether a store is local or remote.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol
from huggingface_hub import constants

from consistent_chat.errors import DamagedRecord, StoreError
from consistent_chat.store.pack import content_name

STORE_FORMAT = 1
MARKER = "store.json"
WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss"})
"""Protocols of object stores: to make a folder there would be to make the bucket of a mistyped name."""


def home() -> Path:
    """Return the folder for what this package keeps on this machine; it follows HF_HOME."""
    return Path(constants.HF_HOME) / "consistent_chat"


def _own_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is for this URL: what stands under a protocol's name, as the Hub's token does, is for that alone."""
    common = {name: value for name, value in options.items() if name not in fsspec.available_protocols()}
    return {**common, **options.get(get_protocol(url), {})}


class Place:
    """One store's location.

    `journals`, `torn` and `packs` are local folders: the store's own where it is local; for a remote one a spool
    of what is not yet sent, and copies of its packs.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url, **_own_options(url, storage_options or {}))
        except (ValueError, ImportError, OSError) as error:
            raise StoreError(f"The response store {url!r} cannot be opened: {error}") from None
        self.is_local = isinstance(self._fs, LocalFileSystem)
        spool = home() / "spool" / hashlib.sha256(url.encode("utf-8")).hexdigest()[:16]
        self._base = Path(self._root) if self.is_local else spool
        self.journals = self._base / "journals"
        self.torn = self._base / "torn"
        self.packs = self._base / "packs" if self.is_local else home() / "packs"

    def pack_names(self) -> list[str]:
        """Return the names of the store's packs, in order, after a look at the place itself."""
        self._check_format()
        self._fs.invalidate_cache()
        found = self._attempt("listed at", lambda: self._fs.ls(f"{self._root}/packs", detail=False), absent=[])
        names = (path.rstrip("/").rpartition("/")[2] for path in found)
        return sorted(name for name in names if name.endswith(".parquet") and not name.startswith("."))

    def fetch(self, name: str) -> Path:
        """Return a local path of a pack, copied here once if the store is remote."""
        path = self.packs / name
        if not self.is_local and not path.exists():
            self.packs.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")
            self._attempt("read from", lambda: self._fs.get_file(f"{self._root}/packs/{name}", str(partial)))
            if content_name(partial) != path.stem:
                partial.unlink()
                raise DamagedRecord(
                    f"{self.url}/packs/{name} is damaged: its bytes are not those it is named after. "
                    "Restore it from a copy, or delete it."
                )
            partial.replace(path)
        return path

    def send(self, pack: Path) -> None:
        """Put a pack that lies in `packs` into the store."""
        if not self.is_local:
            self._attempt("written to", lambda: self._fs.put_file(str(pack), f"{self._root}/packs/{pack.name}"))

    def prepare(self) -> None:
        """Make sure that the place can be written, before anything is paid: leave the format's marker there."""
        marker = f"{self._root}/{MARKER}"
        if self._attempt("reached at", lambda: self._fs.exists(marker)):
            return
        content = json.dumps({"consistent_chat_store": STORE_FORMAT}).encode("ascii") + b"\n"
        if get_protocol(self.url) not in WITHOUT_FOLDERS:
            self._attempt("written to", lambda: self._fs.makedirs(f"{self._root}/packs", exist_ok=True))
        if self.is_local:  # completely or not at all: other writers start at the same time
            partial = Path(f"{marker}.{uuid.uuid4().hex}")
            self._attempt("written to", lambda: (partial.write_bytes(content), partial.replace(marker)))
        else:
            self._attempt("written to", lambda: self._fs.pipe_file(marker, content))

    def _check_format(self) -> None:
        marker = self._attempt("read from", lambda: self._fs.cat_file(f"{self._root}/{MARKER}"), absent=b"")
        if not marker:
            return
        try:
            version = json.loads(marker)["consistent_chat_store"]
        except (ValueError, KeyError, TypeError):
            raise StoreError(f"{self.url}/{MARKER} is no response store's. Pass another place as responses=.") from None
        if version != STORE_FORMAT:
            raise StoreError(
                f"The response store {self.url!r} has format {version}; this version reads {STORE_FORMAT}. "
                "Update consistent_chat."
            )

    def _attempt(self, verb: str, act: Callable[[], Any], absent: Any = None) -> Any:
        try:
            return act()
        except Exception as error:  # each filesystem has errors of its own: botocore's, the Hub's, ...
            if absent is not None and isinstance(error, FileNotFoundError):
                return absent
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise StoreError(
                f"The response store {self.url!r} cannot be {verb}: {reason}. Give rights there, or pass another "
                "place as responses=."
            ) from None
