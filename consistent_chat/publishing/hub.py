"""What repos and buckets have in common: what is there, who may write, and how a refusal is said."""

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
"""What a server answers that does not know a question."""


PUBLISHED = "Publish dialogues"
"""The title of a commit that publishes a dataset."""


class ConflictError(Exception):
    """What is there has changed meanwhile, or the Hub had no time: look again, and send what is then missing."""


@dataclass(frozen=True)
class RemoteState:
    """What is there: files by path with something that changes with their content, the card, the manifest.

    `head` is the commit, None where there is no repo yet. `private` is None where it is unknown.
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

    def look(self) -> RemoteState:
        """Find out what is there; raises PublishError."""

    def check(self, state: RemoteState) -> None:
        """Raise PublishError unless one may write; it leaves no trace."""

    def has_published(self, state: RemoteState) -> bool:
        """Tell whether what is there goes back to a publication, and not to a stranger's manifest alone."""

    def is_ours(self, state: RemoteState, path: str) -> bool:
        """Tell whether what lies at a path is what was published there: unchanged, and no stranger's."""

    def has(self, state: RemoteState, path: str, file: Path) -> bool:
        """Tell whether a file is there already, byte for byte."""

    def put(self, state: RemoteState, folder: Path, add: list[str], gone: list[str], message: str) -> str:
        """Send files of a folder and remove others, all at once; return the address. Raises Moved, PublishError."""

    def say(self, edit: Callable[[str], str]) -> None:
        """Change the card as it is now, and nothing else. Raises Moved, PublishError."""


def open_api(target: RepoTarget, token: str | None) -> HfApi:
    """Return the Hub's client with the user's token; raises PublishError where there is none."""
    token = token or get_token()
    if not token:
        raise PublishError(
            f"There is no token for the Hub, so nothing can be published to {target}. Run `hf auth login`, or set "
            "HF_TOKEN to a token that may write."
        )
    return HfApi(token=token)


def check_namespace(api: HfApi, target: RepoTarget) -> None:
    """Ask who it is; raises PublishError for a namespace that is neither the user's nor one of their organisations'."""
    who: dict[str, Any] = {}
    with asking(target):
        who = api.whoami()
    own = [each["name"] for each in (who, *(who.get("orgs") or ())) if "name" in each]
    role = ((who.get("auth") or {}).get("accessToken") or {}).get("role")
    if own and target.namespace.lower() not in [name.lower() for name in own]:
        raise PublishError(f"{target} belongs to {target.namespace!r}. You are logged in as {', '.join(own)}.")
    if role == "read":
        raise PublishError(
            f"The token may only read, so nothing can be published to {target}. Take one that may write."
        )


@contextlib.contextmanager
def translate_errors(target: RepoTarget, moving: bool = False) -> Iterator[None]:
    """Say in plain words what the Hub refuses; with `moving`, raise Moved for what may pass when it is tried again."""
    try:
        yield
    except ConsistentChatError:
        raise
    except Exception as error:  # the client's, of httpx or requests, or of the disk
        status = getattr(getattr(error, "response", None), "status_code", None)
        if moving and status in PASSING:
            raise ConflictError(f"{said(error)}.") from None
        raise PublishError(f"{target} cannot be reached or written: {_reason(error, status)}") from None


@contextlib.contextmanager
def asking(target: RepoTarget) -> Iterator[None]:
    """As `explained`, for what a Hub may not know how to answer: it then refuses by itself what one may not do."""
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
        return "the token has no right to write there. Take one that may, or another name."
    return f"{said(error)}. Run it again: what has arrived is not sent twice."


def said(error: Exception) -> str:
    """Return an error of a client in one line, without what an address in it may hold of secrets."""
    return f"{type(error).__name__}: {' '.join(without_secrets(str(error)).split())[:300]}".rstrip(".")
