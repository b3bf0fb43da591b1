"""How packs get into a store on the Hub: by the Hub's own client, several files at once.

Its filesystem would send file by file, each as a commit of its own and by way of a temporary copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError

from consistent_chat.store.backends import MARKED, MARKER, Files

PASSING = frozenset({408, 409, 412, 429, 500, 502, 503, 504})
"""What a commit is answered that another one was in the way of, or that the Hub had no time for."""
PAUSES = (1.0, 4.0)
"""Seconds before the tries after the first."""


class HubRepoBackend:
    """A repo, or a branch of one. Each call is one commit at the most: what is there already makes none."""

    def __init__(self, api: HfApi, where: Any) -> None:
        self._api, self._root = api, where.path_in_repo
        self._repo = {"repo_id": where.repo_id, "repo_type": where.repo_type}
        self._revision = where.revision

    def check(self) -> None:
        """Ask whether one may write; it leaves no trace."""
        self._api.auth_check(**self._repo, write=True)

    def send(self, pack: Path) -> None:
        """Send a pack, and the marker with it."""
        files: dict[str, Path | bytes] = {MARKER: MARKED, f"packs/{pack.name}": pack}
        self._commit(
            [CommitOperationAdd(_join(self._root, path), content) for path, content in files.items()], "Add responses"
        )

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""
        gone = [CommitOperationDelete(_join(self._root, f"packs/{name}")) for name in names]
        self._commit(gone, "Put packs together")

    def put(self, files: Files) -> None:
        """Put files into the repo, by one commit."""
        paths = {_join(self._root, path): content for path, content in files.items()}
        gone = [path for path, content in paths.items() if content is None]
        given = {"revision": self._revision, **self._repo}
        there = self._api.get_paths_info(paths=gone, **given) if gone else []
        operations: list[Any] = [CommitOperationDelete(info.path) for info in there]
        operations += [CommitOperationAdd(path, content) for path, content in paths.items() if content is not None]
        if operations:
            self._commit(operations, f"Write {' and '.join(files)}")

    def create(self, path: str, content: bytes, beside: Files) -> bool:
        """Put files into the repo, by one commit, unless the first is there."""
        if self._api.file_exists(filename=_join(self._root, path), revision=self._revision, **self._repo):
            return False
        self.put({**beside, path: content})
        return True

    def _commit(self, operations: list[Any], message: str) -> None:
        given = {**self._repo, "revision": self._revision, "commit_message": message}
        _persist(lambda: self._api.create_commit(operations=operations, **given))


class HubBucketBackend:
    """A storage bucket. To send is two requests, whatever the number of files."""

    def __init__(self, api: HfApi, where: Any) -> None:
        self._api, self._bucket, self._root = api, where.bucket_id, where.path

    def check(self) -> None:
        """Send the marker, again if it is there: nothing less shows that one may write."""
        self._batch(add=[(MARKED, _join(self._root, MARKER))])

    def send(self, pack: Path) -> None:
        """Send a pack."""
        self._batch(add=[(pack, _join(self._root, f"packs/{pack.name}"))])

    def remove(self, names: Iterable[str]) -> None:
        """Remove packs."""
        self._batch(delete=[_join(self._root, f"packs/{name}") for name in names])

    def put(self, files: Files) -> None:
        """Put files into the bucket."""
        paths = {_join(self._root, path): content for path, content in files.items()}
        add = [(content, path) for path, content in paths.items() if content is not None]
        gone = [path for path, content in paths.items() if content is None]
        self._batch(add=add, **({"delete": gone} if gone else {}))

    def create(self, path: str, content: bytes, beside: Files) -> bool:
        """Put files into the bucket, unless the first is there."""
        if list(self._api.get_bucket_paths_info(self._bucket, [_join(self._root, path)])):
            return False
        self.put({**beside, path: content})
        return True

    def _batch(self, **changes: Any) -> None:
        _persist(lambda: self._api.batch_bucket_files(self._bucket, **changes))


def open_way(fs: Any, root: str) -> HubRepoBackend | HubBucketBackend:
    """Return how to write to a path of the Hub's filesystem; raises FileNotFoundError where there is nothing."""
    api, where = HfApi(endpoint=fs.endpoint, token=fs.token), fs.resolve_path(root)
    return HubBucketBackend(api, where) if hasattr(where, "bucket_id") else HubRepoBackend(api, where)


def _join(root: str, path: str) -> str:
    return f"{root}/{path}".lstrip("/")


def _persist(act: Callable[[], object]) -> None:
    for pause in PAUSES:
        try:
            act()
            return
        except HfHubHTTPError as error:
            if error.response.status_code not in PASSING:
                raise
            time.sleep(pause)
    act()
