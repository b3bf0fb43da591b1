"""Writes files to a store: in a folder, by any fsspec filesystem, or on the Hub.

Each backend can `check` that it is writable, `send` a pack and `remove` packs, and `put` and `create` other files; it
writes the marker that makes a location a store. The backends for the Hub write several files per commit, with retries
after a conflict or an overload.
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
from huggingface_hub import HfApi

from consistent_chat.files import PRIVATE, Files, atomic_write, make_private_folder, move_into_place, temporary_file
from consistent_chat.hub import HubBucket, HubRepo, deletions, with_retries

STORE_FORMAT = 1
MARKER = "store.json"
STORE_FIELD = "consistent_chat_store"
"""The field of a marker with the store's format."""
MARKED = json.dumps({STORE_FIELD: STORE_FORMAT}).encode("ascii") + b"\n"
WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss"})
"""Protocols of object stores: creating a folder there could create a bucket with a mistyped name."""
SECONDS = 600.0
"""Maximum seconds to send a file if there is no other bound: botocore waits forever for a `100 Continue`."""


class StoreBackend(Protocol):
    """Writes files to one store. Its errors are those of the store's filesystem."""

    def check(self) -> None:
        """Raise an error unless packs can be sent."""

    def send(self, pack: Path) -> None:
        """Put a pack into the store atomically."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""

    def put(self, files: Files) -> None:
        """Put files into the store and replace existing ones; None removes a file."""

    def create(self, path: str, content: bytes, beside: Files) -> bool:
        """Create a file, and then the other files `beside` it; return False if another writer was faster.

        Two writers at the same instant both succeed if neither the filesystem nor the server can detect it.
        """


class LocalBackend:
    """A folder on this machine, where packs are written in place."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        """Write the marker atomically: other writers may start at the same time."""
        marker = self._root / MARKER
        if not marker.exists():
            make_private_folder(self._root / "packs")
            with atomic_write(marker, PRIVATE) as file:
                file.write(MARKED)

    def send(self, pack: Path) -> None:
        """Do nothing, because the pack was written in place."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""
        for name in names:
            (self._root / "packs" / name).unlink(missing_ok=True)

    def put(self, files: Files) -> None:
        """Put files into the folder, each atomically."""
        for path, content in files.items():
            target = self._root / path
            if content is None:
                target.unlink(missing_ok=True)
            else:
                with self._written(target, content) as file:
                    move_into_place(file, target)

    def create(self, path: str, content: bytes, beside: Files) -> bool:
        """Create a file: only one of several writers can create a link."""
        self.put(beside)
        with self._written(self._root / path, content) as file:
            try:
                os.link(file.name, self._root / path)
            except FileExistsError:
                return False
            except OSError:  # this filesystem has no hard links
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
        """Yield a temporary file with this content, next to the target and synced to the disk."""
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
    """A location on an fsspec filesystem."""

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self._fs, self._root = fs, root
        self._has_folders = get_protocol(url) not in WITHOUT_FOLDERS
        self._patience = {"timeout": SECONDS} if fs.async_impl else {}

    def check(self) -> None:
        """Write the marker even if it exists, because nothing else shows that writing is allowed."""
        if self._has_folders:
            self._fs.makedirs(f"{self._root}/packs", exist_ok=True)
        self._fs.pipe_file(f"{self._root}/{MARKER}", MARKED, **self._patience)

    def send(self, pack: Path) -> None:
        """Put a pack into the store, under a temporary name first if others could see it half written."""
        path = f"{self._root}/packs/{pack.name}"
        first = f"{self._root}/packs/.{pack.name}.{uuid.uuid4().hex}" if self._has_folders else path
        self._fs.put_file(str(pack), first, **self._patience)
        if first != path:
            self._fs.mv(first, path)

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""
        self._fs.rm([f"{self._root}/packs/{name}" for name in names])

    def put(self, files: Files) -> None:
        """Put files into the store, under temporary names first if others could see them half written."""
        for path, content in files.items():
            target = f"{self._root}/{path}"
            if content is None:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm_file(target)
            else:
                self._put(target, content)

    def create(self, path: str, content: bytes, beside: Files) -> bool:
        """Create a file; object stores guarantee that only one writer succeeds."""
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
        first = f"{folder}/.{uuid.uuid4().hex}.tmp" if self._has_folders else target  # `mv` treats * and ? as patterns
        if self._has_folders:
            self._fs.makedirs(folder, exist_ok=True)
        if isinstance(content, Path):
            self._fs.put_file(str(content), first, **self._patience)
        else:
            self._fs.pipe_file(first, content, **self._patience)
        if first != target:
            self._fs.mv(first, target)


class HubRepoBackend:
    """A store in a repo or a branch. Each call makes at most one commit, and none if the files are unchanged."""

    def __init__(self, repo: HubRepo, root: str) -> None:
        self._repo, self._root = repo, root

    def check(self) -> None:
        """Check that the token may write; nothing is written."""
        self._repo.check_write_access()

    def send(self, pack: Path) -> None:
        """Send a pack together with the marker."""
        self._commit({MARKER: MARKED, f"packs/{pack.name}": pack}, "Add responses")

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""
        self._commit(deletions(f"packs/{name}" for name in names), "Put packs together")

    def put(self, files: Files) -> None:
        """Put files into the repo in one commit.

        Files that do not exist are not deleted, because the Hub would reject that.
        """
        gone = {path: _join(self._root, path) for path, content in files.items() if content is None}
        there = self._repo.existing(list(gone.values()))
        changes = {path: content for path, content in files.items() if path not in gone or gone[path] in there}
        if changes:
            self._commit(changes, f"Write {' and '.join(files)}")

    def create(self, path: str, content: bytes, beside: Files) -> bool:
        """Put files into the repo in one commit, unless the first exists."""
        if self._repo.exists(_join(self._root, path)):
            return False
        self.put({**beside, path: content})
        return True

    def _commit(self, files: Files, message: str) -> None:
        with_retries(lambda: self._repo.commit(_below(self._root, files), message))


class HubBucketBackend:
    """A store in a storage bucket."""

    def __init__(self, bucket: HubBucket, root: str) -> None:
        self._bucket, self._root = bucket, root

    def check(self) -> None:
        """Send the marker even if it exists, because the Hub has no other way to check that the token may write."""
        self.put({MARKER: MARKED})

    def send(self, pack: Path) -> None:
        """Send a pack."""
        self.put({f"packs/{pack.name}": pack})

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""
        self.put(deletions(f"packs/{name}" for name in names))

    def put(self, files: Files) -> None:
        """Put files into the bucket."""
        with_retries(lambda: self._bucket.change(_below(self._root, files)))

    def create(self, path: str, content: bytes, beside: Files) -> bool:
        """Put files into the bucket, unless the first exists."""
        if self._bucket.exists(_join(self._root, path)):
            return False
        self.put({**beside, path: content})
        return True


def hub_backend(fs: Any, root: str) -> HubRepoBackend | HubBucketBackend:
    """Return the backend for a path of the Hub's filesystem; raises FileNotFoundError if the repo does not exist."""
    api, where = HfApi(endpoint=fs.endpoint, token=fs.token), fs.resolve_path(root)
    if hasattr(where, "bucket_id"):
        return HubBucketBackend(HubBucket(api, where.bucket_id), where.path)
    return HubRepoBackend(HubRepo(api, where.repo_id, where.repo_type, where.revision), where.path_in_repo)


def _below(root: str, files: Files) -> Files:
    return {_join(root, path): content for path, content in files.items()}


def _join(root: str, path: str) -> str:
    return f"{root}/{path}".lstrip("/")
