"""Writing to the Hugging Face Hub: a repo by commits, a storage bucket by batches. The store and the publisher use it.

The Hub's fsspec filesystem would send each file as a separate commit, through a temporary copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError

from consistent_chat.files import Files
from consistent_chat.retry import retry

PASSING = frozenset({408, 409, 412, 429, 500, 502, 503, 504})
"""Statuses of a write that may succeed on a retry: another commit came first, or the Hub is overloaded."""
PAUSES = (1.0, 4.0)
"""Seconds before the second and the third try of a write."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class HubRepo:
    """A repo, or a branch of one. `kind` is "dataset", "model" or "space"."""

    api: HfApi
    name: str
    kind: str = "dataset"
    revision: str | None = None

    @property
    def id(self) -> dict[str, Any]:
        """The arguments with which the Hub's client names the repo."""
        return {"repo_id": self.name, "repo_type": self.kind}

    def check_write_access(self) -> None:
        """Check that the token may write, without writing. Raises HfHubHTTPError."""
        self.api.auth_check(**self.id, write=True)

    def exists(self, path: str) -> bool:
        """Return whether a file exists."""
        return bool(self.api.file_exists(filename=path, revision=self.revision, **self.id))

    def existing(self, paths: list[str]) -> set[str]:
        """Return which of these files exist."""
        found = self.api.get_paths_info(paths=paths, revision=self.revision, **self.id) if paths else []
        return {info.path for info in found}

    def commit(self, files: Files, message: str, **options: Any) -> Any:
        """Add and delete files in one commit and return the client's answer.

        `options` are those of `HfApi.create_commit`.
        """
        operations = [
            CommitOperationDelete(path) if content is None else CommitOperationAdd(path, content)
            for path, content in files.items()
        ]
        given: dict[str, Any] = {**self.id, "revision": self.revision, "commit_message": message, **options}
        return self.api.create_commit(operations=operations, **given)


@dataclass(frozen=True)
class HubBucket:
    """A storage bucket. A change takes two requests, regardless of the number of files."""

    api: HfApi
    name: str

    def exists(self, path: str) -> bool:
        """Return whether a file exists."""
        return bool(list(self.api.get_bucket_paths_info(self.name, [path])))

    def change(self, files: Files) -> None:
        """Add and delete files."""
        add = [(content, path) for path, content in files.items() if content is not None]
        delete = [path for path, content in files.items() if content is None]
        changes: dict[str, Any] = {name: paths for name, paths in (("add", add), ("delete", delete)) if paths}
        self.api.batch_bucket_files(self.name, **changes)


def deletions(paths: Iterable[str]) -> Files:
    """Return the mapping that deletes these paths."""
    return dict.fromkeys(paths)


def with_retries(write: Callable[[], Result]) -> Result:
    """Return the result of a write, which is retried after each status in `PASSING`. Raises HfHubHTTPError."""
    return retry(write, HfHubHTTPError, PAUSES, lambda error: error.response.status_code in PASSING)
