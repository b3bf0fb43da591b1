"""Publishes to a branch of a dataset repo, with one commit, or to a folder in a storage bucket.

Buckets have no commits, so the card and the manifest are sent last.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from consistent_chat.errors import PublishError
from consistent_chat.files import Files, file_digest
from consistent_chat.hub import HubBucket, HubRepo, deletions
from consistent_chat.publishing import layout
from consistent_chat.publishing.hub import (
    PUBLISHED,
    RemoteState,
    RepoTarget,
    check_namespace,
    translate_errors,
    translate_errors_leniently,
)
from consistent_chat.publishing.layout import Manifest

MAIN = "main"


class RepoDestination:
    """A branch of a repo. Neither needs to exist."""

    def __init__(self, api: HfApi, target: RepoTarget, private: bool, create_pr: bool) -> None:
        self.target = target
        self._api, self._private, self._create_pr = api, private, create_pr
        self._revision = target.revision or MAIN
        self._branched = True
        self._repo = HubRepo(api, target.name, revision=self._revision)
        self._seen: dict[str | None, Mapping[str, str] | None] = {}

    def state(self) -> RemoteState:
        """Return the state of the branch. A missing branch will be created from the main one."""
        with translate_errors(self.target):
            try:
                info = self._info()
            except RevisionNotFoundError:
                raise
            except RepositoryNotFoundError as error:
                if getattr(error.response, "status_code", 404) == 401:
                    raise
                return RemoteState()
            files = self._list(info.sha)
            readme = self._read(layout.README, info.sha) if layout.README in files else b""
            manifest = self._read(layout.MANIFEST, info.sha) if layout.MANIFEST in files else None
        return RemoteState(
            exists=True,
            files=files,
            readme=readme.decode("utf-8", "replace"),
            manifest=Manifest.found(manifest),
            private=info.private,
            head=info.sha,
        )

    def check(self, state: RemoteState) -> None:
        """Check the options, and the write access if the Hub reports it."""
        if not state.exists:
            if self._create_pr:
                raise PublishError(
                    f"There is no repo {self.target} to propose changes to. Publish without --create-pr."
                )
            check_namespace(self._api, self.target)
            return
        if self._private and state.private is False:
            raise PublishError(
                f"{self.target} is already public. Make it private in its settings, or choose another name."
            )
        if not self._create_pr:  # a pull request needs only read access
            self._check_right()

    def _check_right(self) -> None:
        # clients before 1.0 have no argument `write`
        with translate_errors_leniently(self.target), contextlib.suppress(TypeError):
            self._repo.check_write_access()
            return
        check_namespace(self._api, self.target)

    def has_published(self, state: RemoteState) -> bool:
        """Return whether this account has published here with a commit. A manifest alone may be a stranger's."""
        return state.manifest is not None and self._published(state) is not None

    def is_ours(self, state: RemoteState, path: str) -> bool:
        """Compare with the files of this account's last publication. A manifest alone does not prove who wrote them."""
        published = self._published(state)
        return published is not None and layout.is_written(path) and published.get(path) == state.files[path]

    def _published(self, state: RemoteState) -> Mapping[str, str] | None:
        """Return the files of the last publication with the Hub's ids of their content, or None if there is none."""
        if state.head not in self._seen:
            commit = self._last_publication() if state.exists else None
            self._seen[state.head] = None if commit is None else self._files_at(commit, state)
        return self._seen[state.head]

    def _last_publication(self) -> str | None:
        """Return the id of the newest commit with which this account has published, or None."""
        revision = self._revision if self._branched else MAIN
        authors: set[str] | None = None
        with translate_errors_leniently(self.target):
            authors = {self._api.whoami()["name"]}
        with translate_errors(self.target):
            for commit in self._api.list_repo_commits(revision=revision, **self._repo.id):
                if commit.title.startswith(PUBLISHED) and (authors is None or authors.issuperset(commit.authors)):
                    return commit.commit_id
        return None

    def _files_at(self, commit: str, state: RemoteState) -> Mapping[str, str]:
        if commit == state.head:
            files, manifest = state.files, state.manifest
        else:
            with translate_errors(self.target):
                files = self._list(commit)
                content = self._read(layout.MANIFEST, commit) if layout.MANIFEST in files else None
            manifest = Manifest.found(content)
        return {path: files[path] for path in (manifest.files if manifest else ()) if path in files}

    def has(self, state: RemoteState, path: str, file: Path) -> bool:
        """Compare with the ids that the Hub lists: SHA-256 for large files, git's id for others."""
        there = state.files.get(path)
        return there is not None and there == (file_digest(file) if len(there) == 64 else layout.blob(file))

    def put(self, state: RemoteState, folder: Path, add: list[str], gone: list[str], message: str) -> str:
        """Make one commit. Files that were uploaded before an interruption are not uploaded again."""
        return self._commit({**{path: folder / path for path in add}, **deletions(gone)}, message, state)

    def edit_card(self, edit: Callable[[str], str]) -> None:
        """Commit the card, if it changes."""
        state = self.state()
        readme = edit(state.readme)
        if readme != state.readme:
            self._commit({layout.README: readme.encode("utf-8")}, "Show progress", state)

    def _commit(self, files: Files, message: str, state: RemoteState) -> str:
        with translate_errors(self.target, moving=True):
            if not state.exists:
                self._api.create_repo(private=self._private, exist_ok=True, **self._repo.id)
            if not self._branched or (not state.exists and self._revision != MAIN):
                self._api.create_branch(branch=self._revision, exist_ok=True, **self._repo.id)
            made = self._repo.commit(files, message, parent_commit=state.head, create_pr=self._create_pr)
        return str(made.pr_url or made.commit_url)

    def _info(self) -> Any:
        try:
            return self._api.repo_info(revision=self._revision, **self._repo.id)
        except RevisionNotFoundError:
            self._branched = False
            return self._api.repo_info(revision=MAIN, **self._repo.id)

    def _list(self, revision: str) -> dict[str, str]:
        """Return the files of a commit with the ids of their content: the SHA-256 of large ones, else git's."""
        tree = self._api.list_repo_tree(recursive=True, revision=revision, **self._repo.id)
        files = (entry for entry in tree if isinstance(entry, RepoFile))
        return {entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in files}

    def _read(self, path: str, revision: str) -> bytes:
        return Path(self._api.hf_hub_download(filename=path, revision=revision, **self._repo.id)).read_bytes()


LAST = (layout.README, layout.MANIFEST)


class BucketDestination:
    """A folder of a bucket, which may not exist yet."""

    def __init__(self, api: HfApi, target: RepoTarget, private: bool) -> None:
        self.target = target
        self._api, self._private, self._bucket = api, private, HubBucket(api, target.name)
        if not hasattr(api, "batch_bucket_files"):
            raise PublishError('This huggingface_hub has no buckets. Run `pip install "huggingface_hub>=2"`.')

    def state(self) -> RemoteState:
        """Return the state of the folder. Without a manifest, no dataset was published completely."""
        with translate_errors(self.target):
            from huggingface_hub.errors import BucketNotFoundError

            try:
                info = self._api.bucket_info(self.target.name)
            except BucketNotFoundError as error:
                if getattr(error.response, "status_code", 404) == 401:
                    raise
                return RemoteState()
            prefix = self._path("")
            tree = self._api.list_bucket_tree(self.target.name, prefix.rstrip("/") or None, recursive=True)
            paths = [entry.path for entry in tree if entry.type == "file" and entry.path.startswith(prefix)]
            files = {path[len(prefix) :]: path for path in paths}
            readme, manifest = (self._read(path) if path in files else None for path in LAST)
        return RemoteState(
            exists=True,
            files=files,
            readme=(readme or b"").decode("utf-8", "replace"),
            manifest=Manifest.found(manifest),
            private=info.private,
        )

    def check(self, state: RemoteState) -> None:
        """Check that the bucket belongs to the user and that the token may write."""
        check_namespace(self._api, self.target)
        if self._private and state.exists and state.private is False:
            raise PublishError(f"The bucket {self.target.name} is already public. Make it private in its settings.")

    def has_published(self, state: RemoteState) -> bool:
        """Return whether there is a manifest. A bucket has no history, but only its users can write a manifest."""
        return state.manifest is not None

    def is_ours(self, state: RemoteState, path: str) -> bool:
        """Compare the content with the manifest; if publishing was stopped before it was sent, compare the path."""
        if not layout.is_written(path) or state.manifest is None:
            return layout.is_written(path)
        with translate_errors(self.target):
            return state.manifest.files.get(path) == self._digest(path)

    def has(self, state: RemoteState, path: str, file: Path) -> bool:
        """Compare a file's digest with the manifest; compare the card and the manifest with those in the bucket."""
        if path not in state.files or state.manifest is None:
            return False
        if path == layout.README:
            return state.readme.encode("utf-8") == file.read_bytes()
        if path == layout.MANIFEST:
            return state.manifest.text() == file.read_bytes()
        return state.manifest.files.get(path) == file_digest(file)

    def put(self, state: RemoteState, folder: Path, add: list[str], gone: list[str], message: str) -> str:
        """Send recipe and responses first, then rows, then card and manifest. Raises ConflictError and PublishError.

        The Hub knows the content of files that were sent before an interruption, so they are not sent again.
        """
        first = sorted((path for path in add if path not in LAST), key=lambda path: path.startswith(layout.ROWS))
        with translate_errors(self.target, moving=True):
            if not state.exists:
                self._api.create_bucket(self.target.name, private=self._private, exist_ok=True)
            if first:
                self._change({path: folder / path for path in first})
            self._change({**{path: folder / path for path in add if path in LAST}, **deletions(gone)})
        return self.target.url

    def edit_card(self, edit: Callable[[str], str]) -> None:
        """Send the card, if it changes."""
        before = self.state().readme
        readme = edit(before)
        if readme == before:
            return
        with translate_errors(self.target):
            self._api.create_bucket(self.target.name, private=self._private, exist_ok=True)
            self._change({layout.README: readme.encode("utf-8")})

    def _change(self, files: Files) -> None:
        self._bucket.change({self._path(path): content for path, content in files.items()})

    def _path(self, path: str) -> str:
        return f"{self.target.path}/{path}" if self.target.path else path

    def _read(self, path: str) -> bytes:
        with self._open(path) as file:
            content: bytes = file.read()
        return content

    def _digest(self, path: str) -> str:
        digest = hashlib.sha256()
        with self._open(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def _open(self, path: str) -> Any:
        from huggingface_hub import HfFileSystem

        files = HfFileSystem(endpoint=self._api.endpoint, token=self._api.token, skip_instance_cache=True)
        return files.open(f"buckets/{self.target.name}/{self._path(path)}", "rb")
