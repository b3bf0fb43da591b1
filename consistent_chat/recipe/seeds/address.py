"""Addresses of seeds: a file on this machine, or a file of a Hub repo at a commit. No other address is read."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

from consistent_chat.errors import RecipeError
from consistent_chat.files import open_plain
from consistent_chat.text.sanitize import redact, without_secrets

HUB = "hf://"
_ADDRESS = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([^/@:]+))?/([^:%?#*\\]+)")
NO_CONTENT = "it is empty, or the server redirects to another address, which is not followed"
"""The reason for an address without content."""
_COMMIT = re.compile("[0-9a-f]{7,40}")


def check(data: str, options: Mapping[str, Any], what: str = "seeds") -> None:
    """Check the address of `what`. On the Hub it must name a commit, so that the data cannot change.

    Raises RecipeError.
    """
    if not data.startswith(HUB):
        if "://" in data or "::" in data:
            raise RecipeError(
                f"{what} must be in a file on this machine or in a dataset on the Hub, not at "
                f"{without_secrets(data)}. Download it, or write hf://datasets/user/name@commit/file."
            )
        return
    found = _ADDRESS.fullmatch(data)
    if found is None or ".." in data.split("/"):
        raise RecipeError(f"{what} must have an address of the form hf://datasets/user/name@commit/file, not {data}.")
    repo, revision, file = found.groups()
    if revision is None or not _COMMIT.fullmatch(revision):
        shown = _commit(repo, revision, options) or "<commit>"
        raise RecipeError(
            f"{what} must name the commit of a dataset on the Hub: {data} can change. Write "
            f"hf://datasets/{repo}@{shown}/{file}."
        )


def owner(url: str) -> str:
    """Return the owner of the Hub repo of an address; empty for other addresses."""
    found = re.match(r"hf://(?:datasets/|buckets/)?([\w.-]+)/", url)
    return found[1] if found else ""


def name(data: str) -> str:
    """Return the file's name, for messages."""
    return data.rstrip("/").rpartition("/")[2] if "://" in data else os.path.basename(data.rstrip(os.sep))


def folder(data: str) -> str | None:
    """Return the path of a local folder, or None if the address is not a local folder."""
    path = os.path.expanduser(data)
    return path if "://" not in data and os.path.isdir(path) else None


@contextmanager
def opened(data: str, options: Mapping[str, Any], what: str = "seeds") -> Iterator[BinaryIO]:
    """Open the file at a checked address, or one next to a recipe. Raises RecipeError if it cannot be read."""
    try:
        if "://" in data:
            import fsspec

            remote = io.BufferedReader(fsspec.open(data, "rb", **without_redirects(data, options)).open())
            if not remote.peek(1):
                raise OSError(NO_CONTENT)
            file: BinaryIO = remote
        else:
            file = open(open_plain(os.path.expanduser(data)), "rb")  # noqa: SIM115  # below
    except Exception as error:  # each filesystem raises its own errors
        reason = redact(str(getattr(error, "strerror", None) or error), data, options)
        shown = without_secrets(data)
        raise RecipeError(f"The {what} in {shown} cannot be read: {reason}. Check the path or address.") from None
    with file:
        yield file


def without_redirects(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options for opening a URL without redirects, which could lead into the user's own network."""
    kinds = [kind for kind in ("http", "https") if f"{kind}://" in url]
    return {**options, **{kind: {**options.get(kind, {}), "allow_redirects": False} for kind in kinds}}


def _commit(repo: str, revision: str | None, options: Mapping[str, Any]) -> str:
    from huggingface_hub import HfApi

    try:
        info = HfApi(token=options.get("token")).repo_info(repo, repo_type="dataset", revision=revision)
        return info.sha or ""
    except Exception:  # the message is about the address, not the Hub
        return ""
