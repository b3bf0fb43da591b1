"""The responses that lie beside a file, as they do in a published dataset beside its recipe."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from typing import Any

from fsspec.utils import get_protocol

from consistent_chat.store.place import Place

FOLDER = "responses"
UNLISTED = frozenset({"http", "https"})
"""Protocols whose folders cannot be listed, so that a store's packs cannot be found."""


def beside(url: str, storage_options: Mapping[str, Any] | None = None) -> str | None:
    """Return the address of the store in the folder `responses` beside a file, None where there is none.

    Raises StoreError where that cannot be told.
    """
    if "::" in url or get_protocol(url) in UNLISTED:
        return None
    if "://" in url:
        place = posixpath.join(posixpath.dirname(url), FOLDER)
    else:
        place = os.path.join(os.path.dirname(os.path.abspath(os.path.expanduser(url))), FOLDER)
    return place if Place(place, storage_options).is_marked() else None
