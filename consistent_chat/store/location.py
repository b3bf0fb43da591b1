"""The location of a store: a folder on this machine, or a URL that fsspec opens.

A remote location also has a folder on this machine, for unsent journals and copies of its packs. The rest of the
package does not distinguish local from remote stores. The store in the folder `responses` next to a recipe file is not
named by the caller and may be a stranger's, so credentials for another server are not sent to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from consistent_chat.errors import StoreError
from consistent_chat.files import Files, NotPlainFile, make_private_folder, read_plain
from consistent_chat.store.backends import (
    MARKER,
    STORE_FORMAT,
    FsspecBackend,
    LocalBackend,
    StoreBackend,
    hub_backend,
)
from consistent_chat.store.journal import journal_paths
from consistent_chat.text.sanitize import redact_all, secret_values, secrets_of, without_secrets

ADDRESSES = ("endpoint_url", "endpoint", "client_kwargs", "host", "port", "account_name")
"""Options that select the server of a URL, as opposed to credentials."""


@dataclass(frozen=True)
class Flush:
    """When responses move from their journal to a pack: after this many responses, and after this many seconds."""

    records: int
    seconds: float | None


LOCAL = Flush(10_000, None)
REMOTE = Flush(2_000, 60.0)
REPO = Flush(10_000, 300.0)
"""In a Hub repo each flush is a commit, and the Hub limits commits per hour."""


MOST_MARKER = 64 << 10
MOST_BYTES = 1 << 30
"""Maximum bytes that are read of a marker, and of a batch's file."""


class NotFound(Exception):
    """A file no longer exists."""


def home() -> Path:
    """Return the folder for this package's files on this machine, which depends on HF_HOME. Raises StoreError."""
    if constants.HF_HOME.startswith("~"):
        raise StoreError("This user has no home folder. Set HF_HOME to a writable folder.")
    return Path(constants.HF_HOME) / "consistent_chat"


def make_folder(path: Path) -> None:
    """Create a folder on this machine. Raises StoreError."""
    try:
        make_private_folder(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be created: {error.strerror}. Grant access there, or set HF_HOME.") from None


class StoreLocation:
    """The location of one store. `journals`, `torn`, `packs` and `staging` (for new packs) are folders on this machine.

    `url` is shown in messages: it has no user, password or query.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = without_secrets(url)
        options = own_options(url, storage_options or {})
        self._secrets = [*secrets_of(url), *secret_values(options)]
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url, **options)
        except Exception as error:  # raised by the filesystem: for example, FTP connects here
            raise StoreError(f"The response store {self.url!r} cannot be opened: {self._reason(error)}.") from None
        self.is_local = isinstance(self._fs, LocalFileSystem)
        base = Path(self._root) if self.is_local else home() / "remote" / self._identity(options)
        self.journals, self.torn, self.packs = base / "journals", base / "torn", base / "packs"
        self.staging = self.packs if self.is_local else base / "staging"

    @property
    def flush(self) -> Flush:
        """When responses written here move to a pack."""
        if self.is_local:
            return LOCAL
        is_repo = get_protocol(self.url) == "hf" and not self._root.startswith("buckets/")
        return REPO if is_repo else REMOTE

    def names(self) -> list[str]:
        """Return the names of the packs in the location's listing, in order."""
        self._fs.invalidate_cache()
        self._check_format()
        return [name for name in self.listed("packs") if name.endswith(".parquet") and not name.startswith(".")]

    def check_exists(self) -> None:
        """Raise StoreError if there is no marker, pack or journal, because the name may be mistyped."""
        if not self.is_marked() and not self.names() and not journal_paths(self.journals):
            raise StoreError(f"There is no response store at {self.url!r}. Check the path for typos.")

    def is_same(self, other: StoreLocation) -> bool:
        """Return whether another location is the same place, even if it is written differently."""
        return (self._fs, self._root.rstrip("/")) == (other._fs, other._root.rstrip("/"))

    def content(self) -> list[tuple[str, int]]:
        """Return what identifies the content: the names of the packs, and the names and sizes of the journals."""
        journals = [(path.name, path.stat().st_size) for path in journal_paths(self.journals)] if self.is_local else []
        return [*((name, 0) for name in self.names()), *journals]

    def is_marked(self) -> bool:
        """Return whether the marker exists, which makes a location a store."""
        return self._is_there(f"{self._root}/{MARKER}")

    def holds(self, name: str) -> bool:
        """Return whether a pack exists, even if it is not in the listing."""
        return self._is_there(self._path(name))

    def download(self, name: str, path: Path) -> None:
        """Copy a pack to this machine. Raises Gone."""
        try:
            self._fs.get_file(self._path(name), str(path))
        except FileNotFoundError:
            raise NotFound from None
        except Exception as error:
            raise StoreError(
                f"{self.url}/packs/{name} cannot be read: {self._reason(error)}. Nothing is lost; rerun when the file "
                f"can be read."
            ) from None

    def send(self, pack: Path) -> Path:
        """Put a pack from `staging` into the store. Return its new path on this machine."""
        try:
            self._backend().send(pack)
        except Exception as error:
            pack.unlink(missing_ok=True)  # it is written again, possibly with more records
            raise StoreError(
                f"Responses cannot be sent to {self.url!r}: {self._reason(error)}. They are kept on this machine, in "
                f"{self.journals}; the next run sends them."
            ) from None
        make_folder(self.packs)
        return pack.replace(self.packs / pack.name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs whose records are in another one."""
        there = [name for name in names if self.holds(name)]
        if there:
            self._attempt("written to", lambda: self._backend().remove(there), absent=[])

    def listed(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, in order."""
        self._fs.invalidate_cache()
        found = self._attempt("listed", lambda: self._fs.ls(f"{self._root}/{folder}", detail=False), absent=[])
        self._fs.invalidate_cache()  # s3fs would answer `exists` from this listing, which may be stale
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def read(self, path: str) -> bytes:
        """Return the content of a file. Raises Gone."""
        content = self._attempt("read from", lambda: self._bytes(path, MOST_BYTES), absent=NotFound)
        if content is NotFound:
            raise NotFound
        return bytes(content)

    def put(self, files: Files) -> None:
        """Put files into the store and replace existing ones; None removes a file."""
        self._attempt("written to", lambda: self._backend().put(files))

    def create(self, path: str, content: bytes, adjacent_store: Files) -> bool:
        """Create a file, and then other files with it; return False if another writer was faster."""
        return bool(self._attempt("written to", lambda: self._backend().create(path, content, adjacent_store)))

    def prepare(self) -> None:
        """Raise StoreError, before any call is paid for, unless the location can be written."""
        self._attempt("written to", lambda: self._backend().check())

    def _is_there(self, path: str) -> bool:
        """Use `info`, because `exists` on the Hub reports every error as absence."""
        return bool(self._attempt("reached at", lambda: self._fs.info(path), absent={}))

    def _backend(self) -> StoreBackend:
        if self.is_local:
            return LocalBackend(Path(self._root))
        is_hub = get_protocol(self.url) == "hf"
        return hub_backend(self._fs, self._root) if is_hub else FsspecBackend(self._fs, self._root, self.url)

    def _path(self, name: str) -> str:
        return f"{self._root}/packs/{name}"

    def _identity(self, options: Mapping[str, Any]) -> str:
        """Return the name of a remote location's local folder, which does not depend on credentials."""
        address = {name: options[name] for name in ADDRESSES if name in options}
        endpoint = getattr(self._fs, "endpoint", "")  # the Hub's
        identity = repr((self._fs.protocol, endpoint, sorted(address.items()), self._root))
        return hashlib.sha256(identity.encode("utf-8")).hexdigest()[:16]

    def _check_format(self) -> None:
        marker = self._attempt("read from", lambda: self._bytes(MARKER, MOST_MARKER), absent=NotFound)
        if marker is NotFound:
            return
        try:
            version = json.loads(marker)["consistent_chat_store"]
        except (ValueError, KeyError, TypeError, RecursionError):
            version = None
        if type(version) is not int:
            raise StoreError(f"{self.url}/{MARKER} is not a response store. Pass another location as responses=.")
        if version != STORE_FORMAT:
            raise StoreError(
                f"The response store {self.url!r} has format {version}; this version reads {STORE_FORMAT}. "
                "Update consistent_chat."
            )

    def _bytes(self, path: str, limit: int) -> bytes:
        """Return the bytes of a file up to a limit. A local file must be a regular one."""
        if self.is_local:
            return read_plain(Path(self._root, path), limit)
        content = self._fs.cat_file(f"{self._root}/{path}", end=limit + 1)
        if len(content) > limit:
            raise NotPlainFile(f"{path} is larger than {limit:,} bytes")
        return bytes(content)

    def _reason(self, error: Exception) -> str:
        """Return an error's message without the secrets of the URL and the options."""
        kind = "" if isinstance(error, (ValueError, ImportError)) else f"{type(error).__name__}: "
        said = str(getattr(error, "strerror", None) or f"{kind}{error}").rstrip(".")
        return redact_all(said, self._secrets)

    def _attempt(self, verb: str, act: Callable[[], Any], absent: Any = None) -> Any:
        try:
            return act()
        except Exception as error:  # each filesystem raises its own kind of errors: botocore's, the Hub's, ...
            if absent is not None and _is_absent(error):
                return absent
            raise StoreError(
                f"The response store {self.url!r} cannot be {verb}: {self._reason(error)}. Check that it exists and "
                "that you have access, or pass another location as responses=."
            ) from None


def _is_absent(error: Exception) -> bool:
    """Return whether an error means that a file does not exist.

    A missing repo or bucket raises the same class, but with an error of the Hub's client as its cause.
    """
    return isinstance(error, FileNotFoundError) and not isinstance(error.__cause__, HfHubHTTPError)


def own_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for this URL. Options under a protocol's name, such as the Hub's token, apply only to it."""
    common = {name: value for name, value in options.items() if name not in fsspec.available_protocols()}
    own = options.get(get_protocol(url), {})  # without a token, `datasets` passes token=None
    return {**common, **{name: value for name, value in own.items() if value is not None}}


FOLDER = "responses"
UNLISTED = frozenset({"http", "https"})
"""Protocols without listings of folders, so that a store's packs cannot be found."""
SERVERLESS = frozenset({"file", "local", "memory", "hf", "s3", "s3a", "gs", "gcs", "oss", "oci"})
"""Protocols whose URLs do not name a server: it is the provider's, or is named in the options."""


def options_beside(url: str, storage_options: Mapping[str, Any], named: Iterable[str]) -> dict[str, Any]:
    """Return the options for a location that the caller has not named, such as the store next to a recipe file.

    Options under a protocol's name apply to every location of that protocol. Other options are for the locations that
    the caller names; another location gets them only if it is on the same server or if its URL names no server.
    Otherwise a stranger's server would receive the caller's password.
    """
    servers = {_server(place) for place in named}
    if get_protocol(url) in SERVERLESS or _server(url) in servers:
        return dict(storage_options)
    known = fsspec.available_protocols()
    return {name: value for name, value in storage_options.items() if name in known}


def _server(url: str) -> tuple[str, str]:
    return str(get_protocol(url)), urlsplit(url).netloc.rpartition("@")[2].lower()


def adjacent_store(url: str, storage_options: Mapping[str, Any] | None = None) -> str | None:
    """Return the address of the store in the folder `responses` next to a file, or None if there is no store.

    Raises StoreError if the folder cannot be read.
    """
    if "::" in url or get_protocol(url) in UNLISTED:
        return None
    if "://" in url:
        place = posixpath.join(posixpath.dirname(url), FOLDER)
    else:
        place = os.path.join(os.path.dirname(os.path.abspath(os.path.expanduser(url))), FOLDER)
    return place if StoreLocation(place, storage_options).is_marked() else None
