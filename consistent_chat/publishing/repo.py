"""Publishes to a dataset repo of the Hub, or to a branch of one, by one commit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from consistent_chat.errors import PublishError
from consistent_chat.files import Files, file_digest
from consistent_chat.hub import HubRepo, deletions
from consistent_chat.publishing import layout
from consistent_chat.publishing.hub import (
    PUBLISHED,
    RemoteState,
    check_namespace,
    translate_errors,
    translate_errors_leniently,
)
from consistent_chat.publishing.layout import Manifest
from consistent_chat.publishing.target import RepoTarget

MAIN = "main"


class RepoDestination:
    """A branch of a repo. Both may not exist yet."""

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
        """Check write access, as far as the Hub reports it, and the options."""
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
        if not self._create_pr:  # a pull request takes read access only
            self._check_right()

    def _check_right(self) -> None:
        # clients before 1.0 have no argument `write`
        with translate_errors_leniently(self.target), contextlib.suppress(TypeError):
            self._repo.check_write_access()
            return
        check_namespace(self._api, self.target)

    def has_published(self, state: RemoteState) -> bool:
        """Tell whether this account has published here by a commit. A manifest alone may be a stranger's."""
        return state.manifest is not None and self._published(state) is not None

    def is_ours(self, state: RemoteState, path: str) -> bool:
        """Compare with the files of this account's last publication; a manifest alone does not prove who wrote them."""
        published = self._published(state)
        return published is not None and layout.is_written(path) and published.get(path) == state.files[path]

    def _published(self, state: RemoteState) -> Mapping[str, str] | None:
        """Return the files of the last publication with the Hub's ids of their content, or None if there is none."""
        if state.head not in self._seen:
            commit = self._last_publication() if state.exists else None
            self._seen[state.head] = None if commit is None else self._files_at(commit, state)
        return self._seen[state.head]

    def _last_publication(self) -> str | None:
        """Return the id of the newest commit by which this account has published, or None if there is none."""
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
