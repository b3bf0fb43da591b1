"""The store in the folder `responses` beside a recipe file: where it is, and which options it gets.

The caller has not named it and it may be a stranger's, so it gets no credentials that were given for another server.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.utils import get_protocol

from consistent_chat.store.location import StoreLocation

FOLDER = "responses"
UNLISTED = frozenset({"http", "https"})
"""Protocols whose folders cannot be listed, so that a store's packs cannot be found."""
SERVERLESS = frozenset({"file", "local", "memory", "hf", "s3", "s3a", "gs", "gcs", "oss", "oci"})
"""Protocols whose URLs name no server: the server is the provider's, or is named in the options."""


def options_beside(url: str, storage_options: Mapping[str, Any], named: Iterable[str]) -> dict[str, Any]:
    """Return the options for a place that the caller has not named, such as the store beside a recipe.

    Options under a protocol's name go to every place of that protocol. Other options are for the places that the caller
    names; another place gets them only if it is on the same server or its URL names no server. Otherwise the server of
    a stranger would receive the caller's password.
    """
    servers = {_server(place) for place in named}
    if get_protocol(url) in SERVERLESS or _server(url) in servers:
        return dict(storage_options)
    known = fsspec.available_protocols()
    return {name: value for name, value in storage_options.items() if name in known}


def _server(url: str) -> tuple[str, str]:
    return str(get_protocol(url)), urlsplit(url).netloc.rpartition("@")[2].lower()


def adjacent_store(url: str, storage_options: Mapping[str, Any] | None = None) -> str | None:
    """Return the address of the store in the folder `responses` beside a file, or None if there is no store.

    Raises StoreError if the folder cannot be read.
    """
    if "::" in url or get_protocol(url) in UNLISTED:
        return None
    if "://" in url:
        place = posixpath.join(posixpath.dirname(url), FOLDER)
    else:
        place = os.path.join(os.path.dirname(os.path.abspath(os.path.expanduser(url))), FOLDER)
    return place if StoreLocation(place, storage_options).is_marked() else None
