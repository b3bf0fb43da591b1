"""Local data about a store: copies of a remote store's packs, notes about responses that passed the checks.

A pack is fetched once and verified against its name.

A note has a bit for each row of a pack. A pack is named by its content, so a note applies wherever the pack is stored.
Notes are not part of a store, which may be copied, published, or a stranger's: the responses of a store from elsewhere
are always checked. The notes can be deleted at any time; the responses are then checked again.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from consistent_chat.errors import DamagedRecord
from consistent_chat.files import file_digest
from consistent_chat.retry import retry
from consistent_chat.store.location import NotFound, StoreLocation, make_folder
from consistent_chat.store.notes import note_folder, read_note, write_note
from consistent_chat.store.pack import MOST_ROWS, Pack, PackGone
from consistent_chat.store.record import damaged

_T = TypeVar("_T")

READINGS = 20
"""Maximum number of reads of a store."""
AT_ONCE = 8
TRIES = 3
"""Maximum number of downloads of a pack: a copy that does not match its name may be truncated, and is fetched again."""


def retry_if_repacked(read: Callable[[], _T]) -> _T:
    """Read a store. Retry if other processes repack it in the meantime."""
    return retry(read, PackGone, [0.0] * (READINGS - 1))


def fetch(place: StoreLocation) -> list[Path]:
    """Return local paths of a store's packs, in order of their names.

    Raises PackGone if a pack is removed in the meantime, because other packs then have its records.
    """
    names = place.names()
    if place.is_local:
        return [place.packs / name for name in names]
    make_folder(place.packs)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda name: _copy(place, name), sorted({*names, *_unlisted(place, names)})))


def _unlisted(place: StoreLocation, names: list[str]) -> list[str]:
    """Return known packs that exist but are not listed, because a listing can be stale.

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
    """Fetch a pack. Raises DamagedRecord if the download is incomplete."""
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
"""The folder of the notes within this package's folder, which depends on HF_HOME."""


class CheckedRows:
    """The rows of packs that have passed the checks of one identity. Without an identity, nothing is noted."""

    def __init__(self, identity: str = "") -> None:
        self._folder = note_folder(NOTES, identity)
        self._rows: dict[str, bytearray] = {}
        self._changed: set[str] = set()

    @property
    def are_kept(self) -> bool:
        """Whether anything can be noted."""
        return self._folder is not None

    def of(self, pack: Pack) -> bytearray | None:
        """Return the bits of a pack's rows, which `add` changes; None if there are no notes about the pack."""
        if self._folder is None or not pack.is_named_by_content:
            return None
        if pack.name not in self._rows:
            self._rows[pack.name] = _bits(self._folder / pack.name, -(-len(pack) // 8))
        return self._rows[pack.name]

    def add(self, pack: Pack, row: int) -> None:
        """Note that a row passed."""
        bits = self.of(pack)
        if bits is not None:
            bits[row >> 3] |= 1 << (row & 7)
            self._changed.add(pack.name)

    def save(self) -> None:
        """Write new notes, together with those that other processes have written. Errors only cause a warning."""
        try:
            for name in self._changed if self._folder is not None else ():
                self._write(self._folder / name)  # type: ignore[operator]  # mypy forgets the condition
        except OSError as error:
            logger.debug("The notes about checked responses cannot be written: %s", error)
        self._changed = set()

    def _write(self, path: Path) -> None:
        bits = self._rows[path.name]
        for at, others in enumerate(_bits(path, len(bits))):
            bits[at] |= others
        write_note(path, bytes(bits))


def _bits(path: Path, size: int) -> bytearray:
    """Return the bits of a note; all are 0 if there is no such note of this size."""
    content = read_note(path, MOST_ROWS)
    return bytearray(content if len(content) == size else size)
