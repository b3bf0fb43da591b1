"""Copies of a remote store's packs on this machine: each is fetched once and verified against its name."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from consistent_chat.errors import DamagedRecord
from consistent_chat.files import file_digest
from consistent_chat.retry import retry
from consistent_chat.store.location import NotFound, StoreLocation, make_folder
from consistent_chat.store.pack import PackGone
from consistent_chat.store.record import damaged

_T = TypeVar("_T")

READINGS = 20
"""Maximum reads of a store."""
AT_ONCE = 8
TRIES = 3
"""A copy that does not match its name may be a truncated download: it is fetched again."""


def retry_if_repacked(read: Callable[[], _T]) -> _T:
    """Read a store, with retries if others repack it meanwhile."""
    return retry(read, PackGone, [0.0] * (READINGS - 1))


def fetch(place: StoreLocation) -> list[Path]:
    """Return paths on this machine of a store's packs, in order of their names.

    Raises PackGone if a pack vanishes meanwhile: other packs then have its records.
    """
    names = place.names()
    if place.is_local:
        return [place.packs / name for name in names]
    make_folder(place.packs)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda name: _copy(place, name), sorted({*names, *_unlisted(place, names)})))


def _unlisted(place: StoreLocation, names: list[str]) -> list[str]:
    """Return known packs that exist although they are not listed: a listing can be stale.

    Copies of packs that no longer exist are removed.
    """
    known = {path.name for path in place.packs.glob("*.parquet")}
    there = [name for name in known.difference(names) if place.holds(name)]
    for name in known.difference(names, there):
        (place.packs / name).unlink(missing_ok=True)
    return there


def _copy(place: StoreLocation, name: str) -> Path:
    path = place.packs / name
    if not path.exists():
        retry(lambda: _download(place, name, path), DamagedRecord, [0.0] * (TRIES - 1))
    return path


def _download(place: StoreLocation, name: str, path: Path) -> None:
    """Fetch a pack; raise DamagedRecord if it arrived incomplete."""
    partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")
    try:
        place.download(name, partial)
        if file_digest(partial) != path.stem:
            raise damaged(f"{place.url}/packs/{name}", "its bytes do not match its name")
        partial.replace(path)
    except NotFound:
        raise PackGone(f"{place.url}/packs/{name}") from None
    finally:
        partial.unlink(missing_ok=True)
