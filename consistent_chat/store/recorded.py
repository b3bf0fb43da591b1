"""What the places of a store hold, as it was when they were last read, and what has been packed since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from consistent_chat.store.copies import fetch, settled
from consistent_chat.store.index import Index
from consistent_chat.store.journal import Journal, read_journals, report_torn
from consistent_chat.store.pack import Pack, PackGone
from consistent_chat.store.place import Place
from consistent_chat.store.record import Kept, Record


class Recorded:
    """The answers in some places. Where others have packed them anew meanwhile, the places are read again."""

    _index: Index
    _journals: list[Journal]

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        settled(self._read)
        report_torn(self._journals)

    def find(self, key: str) -> Kept | None:
        """Return what holds for a key, or None."""
        found = self._all(key)
        return found[0] if len(found) == 1 else min(found, key=_order, default=None)

    def find_all(self, key: str) -> list[Kept]:
        """Return what holds for a key, and then all that other writers have kept for it as often refreshed."""
        found = sorted(set(self._all(key)), key=_order)
        return [kept for kept in found if kept.generation == found[0].generation]

    def vouch(self) -> None:
        """Hold all packs to their names: what one of them lacks would be asked for, and paid for, again."""
        for pack in self._index.packs:
            pack.vouch()

    def _all(self, key: str) -> list[Kept]:
        try:
            found = self._index.find(key)
        except PackGone:
            settled(self._read)
            found = self._index.find(key)
        return found + [kept for journal in self._journals if (kept := journal.find(key)) is not None]

    def records(self) -> Iterator[Record]:
        """Yield all records, superseded ones too, each once."""
        seen: set[int] = set()
        while True:
            try:
                for record in chain(*self._index.packs, *self._journals):
                    if (mark := int(record.digest[:16], 16)) not in seen:
                        seen.add(mark)
                        yield record
                return
            except PackGone:
                settled(self._read)

    def add(self, path: Path) -> None:
        """Take in a pack that was made since."""
        try:
            self._index = self._index.plus(Pack(path))
        except PackGone:
            settled(self._read)

    def reread(self) -> None:
        """Read the places again."""
        settled(self._read)

    def _read(self) -> None:
        # Journals first: a record leaves its journal only when it lies in a pack, so none is missed in between.
        self._journals = [journal for place in self._places for journal in read_journals(place.journals)]
        self._index = Index([Pack(path) for place in self._places for path in fetch(place)])


def _order(kept: Kept) -> tuple[int, str]:
    """Order what is kept for one key: the highest generation holds, then the smallest digest, wherever it came from."""
    return -kept.generation, kept.digest
