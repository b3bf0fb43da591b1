"""Writes files to a store on the Hub: several per commit, with retries after a conflict or an overload."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from consistent_chat.files import Files
from consistent_chat.hub import HubBucket, HubRepo, deletions, with_retries
from consistent_chat.store.backends import MARKED, MARKER


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
        """Put files into the repo in one commit. The Hub rejects the deletion of a file that does not exist."""
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
        """Send the marker even if it exists: the Hub has no other way to check that the token may write."""
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
