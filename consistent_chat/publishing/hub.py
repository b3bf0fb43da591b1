"""What repos and buckets on the Hub have in common: their state, write access, and errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from consistent_chat.errors import ConsistentChatError, PublishError
from consistent_chat.hub import PASSING
from consistent_chat.publishing.layout import Manifest
from consistent_chat.publishing.target import RepoTarget
from consistent_chat.text.urls import without_secrets

UNKNOWN = frozenset({404, 405, 501})
"""Statuses of a server that does not have an endpoint."""


PUBLISHED = "Publish dialogues"
"""The title of a commit that publishes a dataset."""


class ConflictError(Exception):
    """The repo or bucket has changed, or the Hub is overloaded: call `state` again and send what is missing."""


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
        """Return the present state. Raises PublishError."""

    def check(self, state: RemoteState) -> None:
        """Raise PublishError if the user may not write. Changes nothing."""

    def has_published(self, state: RemoteState) -> bool:
        """Tell whether a publication exists, rather than only a stranger's manifest."""

    def is_ours(self, state: RemoteState, path: str) -> bool:
        """Tell whether the file at a path is the one that was published: unchanged, and not a stranger's."""

    def has(self, state: RemoteState, path: str, file: Path) -> bool:
        """Return whether a file is already there with the same bytes."""

    def put(self, state: RemoteState, folder: Path, add: list[str], gone: list[str], message: str) -> str:
        """Send files of a folder and delete others; return the address. Raises ConflictError and PublishError."""

    def edit_card(self, edit: Callable[[str], str]) -> None:
        """Edit the present card. Raises ConflictError and PublishError."""


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
    """Raise PublishError if the namespace is not the user's or their organisations', or the token only reads."""
    who: dict[str, Any] = {}
    with translate_errors_leniently(target):
        who = api.whoami()
    own = [each["name"] for each in (who, *(who.get("orgs") or ())) if "name" in each]
    role = ((who.get("auth") or {}).get("accessToken") or {}).get("role")
    if own and target.namespace.lower() not in [name.lower() for name in own]:
        raise PublishError(f"{target} belongs to {target.namespace!r}. You are logged in as {', '.join(own)}.")
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
        return "the token has no write access there. Use one that has, or another name."
    return f"{said(error)}. Rerun the command; files that have arrived are not sent twice."


def said(error: Exception) -> str:
    """Return an error of a client in one line, without secrets in addresses."""
    return f"{type(error).__name__}: {' '.join(without_secrets(str(error)).split())[:300]}".rstrip(".")
