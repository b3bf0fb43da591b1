"""Packs journals, merges small packs and verifies stores.

Replaced files are removed last, so that a stop loses nothing.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from consistent_chat.errors import StoreError
from consistent_chat.files import PRIVATE, atomic_write, make_private_folder
from consistent_chat.store.cache import fetch, retry_if_repacked
from consistent_chat.store.journal import (
    Journal,
    JournalWriter,
    abandoned,
    journal_paths,
    lines,
    read_journal,
    read_journals,
    remove,
    report_torn,
)
from consistent_chat.store.location import NotFound, StoreLocation
from consistent_chat.store.pack import Pack, PackGone, write_pack
from consistent_chat.store.record import Record, from_line
from consistent_chat.text import Summarized

DAY = 86_400.0
FULL = 100_000
"""Packs with at least this many records are not merged."""


@dataclass(frozen=True)
class CompactionResult:
    """The numbers of a store's packs and journals before and after."""

    packs_before: int
    journals_before: int
    packs: int
    journals: int

    def __str__(self) -> str:
        before = f"{self.packs_before:,} packs and {self.journals_before:,} journals"
        return f"{before} are now {self.packs:,} packs and {self.journals:,} journals still being written."


def compact(url: str, storage_options: Mapping[str, Any] | None = None) -> CompactionResult:
    """Pack abandoned journals, and merge small packs. It can be stopped at any time.

    Raises StoreError if there is no store, or if the store cannot be read or written.
    """
    place = StoreLocation(url, storage_options)
    place.check_exists()
    packs, journals = _counts(place)
    report_torn(read_journals(place.journals))
    while _pack_abandoned(place):
        pass
    retry_if_repacked(lambda: merge_packs(place))
    _sweep(place)
    return CompactionResult(packs, journals, *_counts(place))


def pack_journals(paths: Sequence[Path], own: Sequence[JournalWriter], place: StoreLocation) -> Path | None:
    """Put the records of journals into the store as one pack. Return its local path, or None without records.

    `paths` are those of writers that have ended, `own` are the writers of this process.

    Incomplete lines of killed writers are set aside. The caller removes the journals.
    """
    try:
        packed = write_pack(chain(_records(paths, place.torn), *own), place.staging)
    except OSError as error:
        raise StoreError(
            f"The journals in {place.journals} cannot be packed: {error.strerror or error}. The journals are kept. "
            f"Free space or grant access there, then rerun."
        ) from None
    return None if packed is None else place.send(packed)


def merge_packs(place: StoreLocation) -> None:
    """Merge packs that are not full. A record that is in several packs is written once. Raises PackGone, StoreError."""
    small = [pack for pack in map(Pack, fetch(place)) if len(pack) < FULL]
    for packs in _batches(small):
        merged = write_pack(_distinct(chain(*packs)), place.staging)
        if merged is not None:
            merged = place.send(merged)
            replaced = [pack.path for pack in packs if pack.path != merged]
            place.remove(path.name for path in replaced)
            for path in replaced:
                path.unlink(missing_ok=True)


def _sweep(place: StoreLocation) -> None:
    """Remove incomplete files that are older than a day: the process that wrote them was killed."""
    for path in (*place.packs.glob(".*.tmp"), *(() if place.is_local else place.staging.glob("*"))):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > DAY:
                path.unlink()


def _pack_abandoned(place: StoreLocation) -> bool:
    with abandoned(place.journals) as paths:
        pack_journals(paths, [], place)
        remove(paths)
    return bool(paths)


def _counts(place: StoreLocation) -> tuple[int, int]:
    return len(place.names()), len(journal_paths(place.journals))


def _records(paths: Iterable[Path], torn: Path) -> Iterator[Record]:
    for path in paths:
        journal = Journal(path)
        if journal.torn:
            make_private_folder(torn)
            with atomic_write(torn / path.name, PRIVATE) as file:
                file.write(journal.torn)
        yield from journal


def _batches(packs: Iterable[Pack]) -> Iterator[list[Pack]]:
    """Yield groups of packs, smallest first, that together fill about one pack; at most one small pack remains."""
    batch: list[Pack] = []
    for pack in sorted(packs, key=lambda pack: (len(pack), pack.path)):
        if batch and sum(map(len, batch)) + len(pack) > FULL:
            if len(batch) > 1:
                yield batch
            batch = []
        batch.append(pack)
    if len(batch) > 1:
        yield batch


def _distinct(records: Iterable[Record]) -> Iterator[Record]:
    seen: set[str] = set()
    for record in records:
        if record.digest not in seen:
            seen.add(record.digest)
            yield record


@dataclass(repr=False)
class Checked(Summarized):
    """The files and records checked, and a line for each fault that names its file and record."""

    responses: int = 0
    packs: int = 0
    journals: int = 0
    torn: int = 0
    faults: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Record a fault and continue."""
        try:
            yield
        except PackGone:
            raise
        except StoreError as error:
            self.faults.append(str(error))

    def __str__(self) -> str:
        found = f"{self.responses:,} responses in {self.packs:,} packs and {self.journals:,} journals"
        torn = f", {self.torn:,} incomplete lines of killed writers" if self.torn else ""
        return f"{found}: {f'{len(self.faults):,} faults' if self.faults else 'all intact'}{torn}."


def verify(url: str, storage_options: Mapping[str, Any] | None = None) -> Checked:
    """Check the whole store at a path or URL. For a remote store, read the remote files, not the local copies.

    Raises StoreError if there is no store, if it cannot be read, or if its format is newer.
    """
    place, checked = StoreLocation(url, storage_options), Checked()
    place.check_exists()
    for path in journal_paths(place.journals):
        _check_journal(path, checked)
    done: set[str] = set()
    while names := set(place.names()) - done:  # other processes may repack at the same time
        for name in sorted(names):
            with contextlib.suppress(PackGone, NotFound):
                _check_pack_of(place, name, checked)
        done |= names
    return checked


def _check_journal(path: Path, checked: Checked) -> None:
    try:
        data = read_journal(path)
    except FileNotFoundError:
        return  # just packed by another process
    except OSError as error:
        checked.faults.append(f"{path} cannot be read: {error.strerror}. Grant access there, or move it away.")
        return
    checked.journals += 1
    checked.torn += not data.endswith(b"\n")
    with checked.noting():
        for start, stop in lines(path, data):
            with checked.noting():
                checked.responses += 1
                where = f"{path}, byte {start}"
                from_line(data[start:stop], where).check_fields(where, "the line")


def _check_pack_of(place: StoreLocation, name: str, checked: Checked) -> None:
    if place.is_local:
        _check_pack(place.packs / name, checked)
        return
    found = Checked()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        place.download(name, path)
        _check_pack(path, found)
    checked.packs += found.packs
    checked.responses += found.responses
    checked.faults += [fault.replace(str(path), f"{place.url}/packs/{name}") for fault in found.faults]


def _check_pack(path: Path, checked: Checked) -> None:
    with checked.noting():
        pack = Pack(path)
        checked.responses += len(pack)
        checked.faults += pack.faults()
    checked.packs += 1
