"""Publishes to a folder in a storage bucket. Buckets have no commits, so card and manifest are sent last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from consistent_chat.errors import PublishError
from consistent_chat.files import Files, file_digest
from consistent_chat.hub import HubBucket, deletions
from consistent_chat.publishing import layout
from consistent_chat.publishing.hub import RemoteState, check_namespace, translate_errors
from consistent_chat.publishing.layout import Manifest
from consistent_chat.publishing.target import RepoTarget

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
        """Tell whether there is a manifest: a bucket has no history, and only its users can write one."""
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
