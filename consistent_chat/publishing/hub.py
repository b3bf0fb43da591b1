"""Repos and buckets of the Hub as locations of a dataset: their names, state, access and errors."""

from __future__ import annotations

import contextlib
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from consistent_chat.errors import ConsistentChatError, PublishError, RecipeError
from consistent_chat.hub import PASSING
from consistent_chat.publishing.layout import Manifest
from consistent_chat.text.sanitize import without_secrets

_NAME = re.compile(r"(?=.{1,96}$)[A-Za-z0-9_](?:[A-Za-z0-9_]|[.-](?![.-]))*(?<![.-])(?<!\.git)")
"""A name that the Hub accepts: letters, digits, `_`, and single `-` or `.` in between."""

_REVISION = re.compile(r"(?![-/.])(?!.*(?:\.\.|//|/\.|@\{|\.lock(?:/|$)))[^\x00-\x20\x7f~^:?*\[\\]+(?<![./])")
"""A name that git accepts for a branch (git-check-ref-format)."""


@dataclass(frozen=True)
class RepoTarget:
    """A repo (`path` is empty) or a folder of a bucket (`revision` is None)."""

    kind: str
    name: str
    path: str = ""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> RepoTarget:
        """Parse "user/repo", "user/repo@branch" or "buckets/user/name/path", also after "hf://"; raises RecipeError."""
        plain = text.removeprefix("hf://").removeprefix("datasets/").rstrip("/")
        if plain.startswith("buckets/"):
            return cls._bucket(text, plain, revision)
        name, _, at = map(urllib.parse.unquote, plain.partition("@"))
        if at and revision and at != revision:
            raise RecipeError(f"{text!r} names the revision {at!r}, but {revision!r} is given. Pass only one of them.")
        if (at or revision) and not _REVISION.fullmatch(at or revision or ""):
            raise RecipeError(f"{at or revision!r} is not the name of a branch. Write letters, digits, and - or _.")
        if name.count("/") != 1 or not _is_name(*name.split("/")) or (not at and "@" in plain):
            raise RecipeError(
                f"{text!r} is not the name of a repo. Write user/repo, or buckets/user/name/path for a bucket: "
                "letters, digits, _, and single - or . in between."
            )
        return cls("datasets", name, revision=at or revision)

    @classmethod
    def _bucket(cls, text: str, plain: str, revision: str | None) -> RepoTarget:
        _, *parts = plain.split("/")
        path = parts[2:]
        if len(parts) < 2 or not _is_name(*parts[:2]) or any(part in ("", ".", "..") for part in path):
            raise RecipeError(f"{text!r} is not a path in a bucket. Write buckets/user/name/path.")
        if revision:
            raise RecipeError(f"{text!r} is in a bucket, which has no revisions. Leave the revision out.")
        return cls("buckets", "/".join(parts[:2]), "/".join(path))

    @property
    def is_bucket(self) -> bool:
        """Whether it is in a bucket."""
        return self.kind == "buckets"

    @property
    def namespace(self) -> str:
        """The user or organisation that owns the repo or bucket."""
        return self.name.partition("/")[0]

    @property
    def title(self) -> str:
        """The last part of the name."""
        return (self.path or self.name).rpartition("/")[2]

    @property
    def url(self) -> str:
        """The address for fsspec."""
        at = f"@{self.revision.replace('/', '%2F')}" if self.revision else ""
        return f"hf://{self.kind}/{self.name}{at}" + (f"/{self.path}" if self.path else "")

    def __str__(self) -> str:
        """Return the name that `load_dataset` takes."""
        return self.name if not self.is_bucket else f"buckets/{self.name}" + (f"/{self.path}" if self.path else "")


def _is_name(*parts: str) -> bool:
    return all(_NAME.fullmatch(part) for part in parts)


UNKNOWN = frozenset({404, 405, 501})
"""Statuses of a server that does not have an endpoint."""


PUBLISHED = "Publish dialogues"
"""The title of a commit that publishes a dataset."""


class ConflictError(Exception):
    """The repo or bucket has changed, or the Hub is overloaded. Call `state` again and send the missing files."""


@dataclass(frozen=True)
class RemoteState:
    """The state of a repo or bucket: the card, the manifest, and the files, by path, with an id of their content.

    `head` is the commit, None if there is no repo yet. `private` is None if unknown.
    """

    exists: bool = False
    files: Mapping[str, Any] = field(default_factory=dict)
    readme: str = ""
    manifest: Manifest | None = None
    private: bool | None = None
    head: str | None = None


class Destination(Protocol):
    """A repo, or a folder in a bucket."""

    target: RepoTarget

    def state(self) -> RemoteState:
        """Return the current state. Raises PublishError."""

    def check(self, state: RemoteState) -> None:
        """Raise PublishError if the user may not write. Changes nothing."""

    def has_published(self, state: RemoteState) -> bool:
        """Return whether there is a publication, not only a stranger's manifest."""

    def is_ours(self, state: RemoteState, path: str) -> bool:
        """Return whether the file at a path is the published one: unchanged, and not a stranger's."""

    def has(self, state: RemoteState, path: str, file: Path) -> bool:
        """Return whether the file already exists with the same bytes."""

    def put(self, state: RemoteState, folder: Path, add: list[str], gone: list[str], message: str) -> str:
        """Send files of a folder and delete others; return the address. Raises ConflictError and PublishError."""

    def edit_card(self, edit: Callable[[str], str]) -> None:
        """Edit the current card. Raises ConflictError and PublishError."""


def open_api(target: RepoTarget, token: str | None) -> HfApi:
    """Return the Hub's client with the user's token. Raises PublishError if there is no token."""
    token = token or get_token()
    if not token:
        raise PublishError(
            f"There is no token for the Hub, so nothing can be published to {target}. Run `hf auth login`, or set "
            "HF_TOKEN to a token that may write."
        )
    return HfApi(token=token)


def check_namespace(api: HfApi, target: RepoTarget) -> None:
    """Raise PublishError for a namespace of neither the user nor their organisations, or for a read-only token."""
    who: dict[str, Any] = {}
    with translate_errors_leniently(target):
        who = api.whoami()
    own = [each["name"] for each in (who, *(who.get("orgs") or ())) if "name" in each]
    role = ((who.get("auth") or {}).get("accessToken") or {}).get("role")
    if own and target.namespace.lower() not in [name.lower() for name in own]:
        raise PublishError(f"{target} belongs to {target.namespace!r}, but you are logged in as {', '.join(own)}.")
    if role == "read":
        raise PublishError(
            f"The token is read-only, so nothing can be published to {target}. Use a token that may write."
        )


@contextlib.contextmanager
def translate_errors(target: RepoTarget, moving: bool = False) -> Iterator[None]:
    """Raise PublishError for errors of the Hub. With `moving`, raise ConflictError for those that a retry may solve."""
    try:
        yield
    except ConsistentChatError:
        raise
    except Exception as error:  # errors of the client, of httpx or requests, or of the disk
        status = getattr(getattr(error, "response", None), "status_code", None)
        if moving and status in PASSING:
            raise ConflictError(f"{said(error)}.") from None
        raise PublishError(f"{target} cannot be reached or written: {_reason(error, status)}") from None


@contextlib.contextmanager
def translate_errors_leniently(target: RepoTarget) -> Iterator[None]:
    """Like `translate_errors`, but ignore a missing endpoint: the Hub will reject later what is not allowed."""
    with translate_errors(target):
        try:
            yield
        except HfHubHTTPError as error:
            if isinstance(error, RepositoryNotFoundError) or error.response.status_code not in UNKNOWN:
                raise


def _reason(error: Exception, status: int | None) -> str:
    if status == 401:
        return "the token is not valid. Run `hf auth login`, or set HF_TOKEN to one that may write."
    if status == 403:
        return "the token has no write access there. Use a token with write access, or another name."
    return f"{said(error)}. Rerun the command; files that have arrived are not sent twice."


def said(error: Exception) -> str:
    """Return an error of a client in one line, without secrets in addresses."""
    return f"{type(error).__name__}: {' '.join(without_secrets(str(error)).split())[:300]}".rstrip(".")
