"""What this machine has of a store: copies of a remote store's packs, notes of responses that passed the checks.

A pack is fetched once and verified against its name.

A note has a bit for each row of a pack. A pack is named by its content, so a note holds wherever the pack lies. Nothing
of it is in a store, which may be copied, published, or a stranger's: what a store brings with it is always checked. The
notes can be deleted at any time; the responses are then checked again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from consistent_chat.errors import DamagedRecord, StoreError
from consistent_chat.files import NO_LINKS, PRIVATE, atomic_write, file_digest, make_private_folder, read_plain
from consistent_chat.retry import retry
from consistent_chat.store.location import NotFound, StoreLocation, home, make_folder
from consistent_chat.store.pack import MOST_ROWS, Pack, PackGone
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


logger = logging.getLogger(__name__)

NOTES = "checked"
"""The folder of the notes under that of this package, which follows HF_HOME."""


class CheckedRows:
    """The rows of packs that have passed the checks of one identity. Without an identity, it notes nothing."""

    def __init__(self, identity: str = "") -> None:
        self._folder = _folder(identity)
        self._rows: dict[str, bytearray] = {}
        self._changed: set[str] = set()

    def of(self, pack: Pack) -> bytearray | None:
        """Return the bits of a pack's rows, which `add` changes; None where nothing is noted of the pack."""
        if self._folder is None or not pack.is_named_by_content:
            return None
        if pack.name not in self._rows:
            self._rows[pack.name] = self._read(pack.name, -(-len(pack) // 8))
        return self._rows[pack.name]

    def add(self, pack: Pack, row: int) -> None:
        """Note that a row has passed."""
        bits = self.of(pack)
        if bits is not None:
            bits[row >> 3] |= 1 << (row & 7)
            self._changed.add(pack.name)

    def save(self) -> None:
        """Write what is new beside what other processes have written. Without room for it, nothing is noted."""
        try:
            for name in self._changed:
                self._write(name)
        except OSError as error:
            logger.debug("The notes of checked responses cannot be written: %s", error)
        self._changed = set()

    def _read(self, name: str, size: int) -> bytearray:
        """Return the bits of a note; none are set where it is missing, cut or damaged."""
        bits = bytearray(size)
        if self._folder is not None:
            with contextlib.suppress(OSError):
                digest, content = _halves(read_plain(self._folder / name, 32 + MOST_ROWS, NO_LINKS))
                if len(content) == size and digest == self._digest(name, content):
                    bits[:] = content
        return bits

    def _write(self, name: str) -> None:
        if self._folder is None:
            return
        bits = self._rows[name]
        for at, others in enumerate(self._read(name, len(bits))):
            bits[at] |= others
        make_private_folder(self._folder)
        with atomic_write(self._folder / name, PRIVATE) as file:
            file.write(self._digest(name, bytes(bits)) + bits)

    def _digest(self, name: str, bits: bytes) -> bytes:
        return hashlib.sha256(f"{self._folder and self._folder.name} {name}\n".encode() + bits).digest()


def _halves(content: bytes) -> tuple[bytes, bytes]:
    return content[:32], content[32:]


def _folder(identity: str) -> Path | None:
    try:
        return home() / NOTES / identity if identity else None
    except StoreError:  # this user has no home folder
        return None
