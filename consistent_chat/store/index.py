"""Finds responses in many packs. It holds only the first 64 bits of their keys in memory, sorted."""

from __future__ import annotations

import contextlib
import itertools
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from consistent_chat.errors import StoreError
from consistent_chat.store.cache import CheckedRows, fetch, retry_if_repacked
from consistent_chat.store.journal import Journal, read_journals, report_torn
from consistent_chat.store.location import StoreLocation
from consistent_chat.store.pack import Pack, PackGone, RowGroup, null_columns
from consistent_chat.store.record import CheckedResponse, Record, StoredResponse, damaged, digest_of
from consistent_chat.store.rows import RowReader

_T = TypeVar("_T")
_Located = tuple[int, int, StoredResponse]
MOST_RECENT = 256
"""Keys that were found last, and are held with their places: more than most dialogues have."""


class Index:
    """An index of packs by key."""

    def __init__(self, packs: Sequence[Pack] = (), notes: CheckedRows | None = None) -> None:
        self.packs = tuple(packs)
        self._recent: dict[str, list[_Located]] = {}
        self.use_notes(notes or CheckedRows())
        self._starts = list(accumulate(map(len, packs), initial=0))[:-1]
        joined = np.concatenate([*(pack.prefixes for pack in packs), np.empty(0, np.uint64)])
        order = np.argsort(joined, kind="stable")
        # Memoryviews return plain numbers, several times faster than numpy's scalars.
        self._rows, self._sorted = order.data, joined[order].data
        self._reader = RowReader(self.packs)

    def plus(self, pack: Pack) -> Index:
        """Return an index of these packs and one more."""
        return Index([*self.packs, pack], self._notes)

    def find(self, key: str) -> list[StoredResponse]:
        """Return all stored responses of a key. Raises DamagedRecord, and PackGone for a pack that was repacked."""
        located = self._located(key)
        return [located[0][2]] if len(located) == 1 else [kept for _, _, kept in located]

    def alone(self, keys: Sequence[str]) -> tuple[dict[str, StoredResponse], list[str]]:
        """Return the responses of keys of which these packs have only one, and the keys of which they have none.

        They are read in the order of their rows, so neighbouring rows of a group are read at once. Raises DamagedRecord
        and PackGone.
        """
        prefixes = np.frombuffer(bytes.fromhex("".join([key[7:23] for key in keys])), ">u8")
        ordered, rows = np.asarray(self._sorted), np.asarray(self._rows)
        starts, ends = (np.searchsorted(ordered, prefixes.astype(np.uint64), side) for side in ("left", "right"))
        once = np.flatnonzero(ends - starts == 1)
        found: dict[str, StoredResponse] = {}
        for row, at in sorted(zip(rows[starts[once]].tolist(), once.tolist())):
            number = bisect_right(self._starts, row) - 1
            if (kept := self._kept(keys[at], number, row - self._starts[number])) is not None:
                found[keys[at]] = kept
        return found, [keys[at] for at in np.flatnonzero(ends == starts).tolist()]

    def use_notes(self, notes: CheckedRows) -> None:
        """Mark the responses that passed the checks of these notes."""
        self._notes, self._checked = notes, [notes.of(pack) for pack in self.packs]
        self._recent = {}

    def mark_checked(self, key: str, digest: str) -> bool:
        """Note that a response that was found lately passed the checks. Return whether this was noted of any pack."""
        rows = [(number, row) for number, row, kept in self._recent.get(key, ()) if kept.digest == digest]
        for number, row in rows:
            self._notes.add(self.packs[number], row)
        return bool(rows)

    def mark_all_checked(self, digests: Mapping[str, str]) -> list[str]:
        """Note that the responses to keys whose records have these digests passed the checks. Return the found keys."""
        places = ((number, row, key) for key in digests for number, row in self._places(key))
        found: list[str] = []
        for number, rows in itertools.groupby(sorted(places), operator.itemgetter(0)):
            pack, wanted = self.packs[number], {row: key for _, row, key in rows}
            for row, key, digest in pack.identities(list(wanted)):
                if key == wanted[row] and digest == digests[key]:
                    self._notes.add(pack, row)
                    found.append(key)
        return found

    def _places(self, key: str) -> list[tuple[int, int]]:
        """Return the packs, by number, and the rows there that may have a key."""
        places: list[tuple[int, int]] = []
        prefix, ordered = int(key[7:23], 16), self._sorted
        at = bisect_left(ordered, prefix)
        while at < len(ordered) and ordered[at] == prefix:
            row = self._rows[at]
            number = bisect_right(self._starts, row) - 1
            places.append((number, row - self._starts[number]))
            at += 1
        return places

    def _located(self, key: str) -> list[_Located]:
        """Return the responses of a key, each with the number of its pack and its row there."""
        places = self._places(key)
        located = [(*place, kept) for place in places if (kept := self._kept(key, *place)) is not None]
        if len(self._recent) >= MOST_RECENT:
            self._recent = {}
        self._recent[key] = located
        return located

    def _kept(self, key: str, number: int, row: int) -> StoredResponse | None:
        """Return a row's response, or None if it has another key. The digest distinguishes both from damage."""
        for read in (self._reader.read, self._reader.read_group):
            generation, response, digest = values = read(number, row)
            if None not in values and digest_of(key, generation, response) == digest:
                checked = self._checked[number]
                is_checked = checked is not None and checked[row >> 3] >> (row & 7) & 1
                return (CheckedResponse if is_checked else StoredResponse)(generation, digest, response)
        pack = self.packs[number]
        if pack.key(row) != key:
            return None
        null = null_columns(RowGroup._fields, values)
        raise damaged(pack.where(row), null or f"the digest of {key} does not match its content")


@dataclass
class _Layer:
    """The packs and journals of one location."""

    index: Index
    journals: list[Journal]

    def find(self, key: str) -> list[StoredResponse]:
        """Return all responses of the location for a key."""
        found = self.index.find(key)
        for journal in self.journals:
            if (kept := journal.find(key)) is not None:
                found.append(kept)
        return found


class StoreReader:
    """The responses in some locations. If others have repacked a location, all are read again.

    The first location with a response wins, whatever generation or digest later locations have, because those may be a
    stranger's.
    """

    _layers: list[_Layer]

    def __init__(self, places: Sequence[StoreLocation]) -> None:
        self._places, self._checked = places, CheckedRows()
        self._unpacked: dict[str, str] = {}  # the digests of checked records that no pack had yet, by key
        retry_if_repacked(self._read)
        report_torn(chain.from_iterable(layer.journals for layer in self._layers))

    def find(self, key: str) -> StoredResponse | None:
        """Return the response that wins for a key, or None."""
        try:
            return self._first(key)
        except PackGone:
            return self._with_retries(partial(self._first, key))

    def _first(self, key: str) -> StoredResponse | None:
        for layer in self._layers:
            found = layer.find(key)
            if len(found) == 1:
                return found[0]
            if found:
                return min(found, key=_order)
        return None

    def first_of(self, keys: Sequence[str]) -> dict[str, StoredResponse]:
        """Return the responses that win for keys, without those of which there may be several or that cannot be read.

        The others are left to `find`.
        """
        found: dict[str, StoredResponse] = {}
        with contextlib.suppress(StoreError):
            for layer in self._layers:
                if layer.journals or not keys:
                    break
                alone, keys = layer.index.alone(keys)
                found |= alone
        return found

    def find_all(self, key: str) -> list[StoredResponse]:
        """Return the response that wins for a key, then all others that writers have stored for it, by location.

        Only responses of the highest generation in each location count.
        """
        found = self._with_retries(lambda: [layer.find(key) for layer in self._layers])
        return list(dict.fromkeys(chain.from_iterable(map(_latest, found))))

    def note_checks(self, identity: str) -> None:
        """Mark the responses that passed the checks of an identity on this machine."""
        self._checked, self._unpacked = CheckedRows(identity), {}
        for layer in self._layers:
            layer.index.use_notes(self._checked)

    def mark_checked(self, key: str, digest: str) -> None:
        """Note that the response to a key whose record has a digest passed the checks, as soon as it is in a pack."""
        marked = [layer.index.mark_checked(key, digest) for layer in self._layers]
        if self._checked.are_kept and True not in marked:
            self._unpacked[key] = digest

    def save_notes(self) -> None:
        """Keep the notes for the next replay."""
        self._mark_packed()
        self._checked.save()

    def _mark_packed(self) -> None:
        """Note of packs what was marked before. What cannot be read now is checked again by the next replay."""
        for layer in self._layers if self._unpacked else ():
            with contextlib.suppress(StoreError):
                for key in layer.index.mark_all_checked(self._unpacked):
                    self._unpacked.pop(key, None)

    def verify_checksum(self) -> None:
        """Verify all packs against their names, because a missing record would be requested and paid for again."""
        for pack in self._packs():
            pack.verify_checksum()

    def records(self) -> Iterator[Record]:
        """Yield all records, including superseded ones, each once."""
        seen: set[int] = set()
        while True:
            journals = (journal for layer in self._layers for journal in layer.journals)
            try:
                for record in chain(*self._packs(), *journals):
                    if (mark := int(record.digest[:16], 16)) not in seen:
                        seen.add(mark)
                        yield record
                return
            except PackGone:
                retry_if_repacked(self._read)

    def add(self, path: Path) -> None:
        """Add a new pack to the first location."""
        try:
            self._layers[0].index = self._layers[0].index.plus(Pack(path))
            self._mark_packed()
        except PackGone:
            retry_if_repacked(self._read)

    def reread(self) -> None:
        """Read the locations again."""
        retry_if_repacked(self._read)

    def _packs(self) -> list[Pack]:
        return [pack for layer in self._layers for pack in layer.index.packs]

    def _with_retries(self, look: Callable[[], _T]) -> _T:
        """Try to read. Before each retry, read the locations again, since others may repack them."""
        try:
            return look()
        except PackGone:
            return retry_if_repacked(partial(self._reread, look))

    def _reread(self, look: Callable[[], _T]) -> _T:
        self._read()
        return look()

    def _read(self) -> None:
        # Journals first: a record leaves its journal only when it is in a pack, so that none is missed.
        journals = [read_journals(place.journals) for place in self._places]
        packs = [Index([Pack(path) for path in fetch(place)], self._checked) for place in self._places]
        self._layers = [_Layer(index, found) for index, found in zip(packs, journals)]


def _latest(found: list[StoredResponse]) -> list[StoredResponse]:
    ordered = sorted(found, key=_order)
    return [kept for kept in ordered if kept.generation == ordered[0].generation]


def _order(kept: StoredResponse) -> tuple[int, str]:
    """Sort a location's responses to a key: highest generation first, then smallest digest, regardless of files."""
    return -kept.generation, kept.digest
