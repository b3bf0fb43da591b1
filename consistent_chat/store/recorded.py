"""What the places of a store hold, as it was when they were last read, and what has been packed since."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from consistent_chat.store.copies import fetch, settled
from consistent_chat.store.index import Index
from consistent_chat.store.journal import Journal, is_abandoned, read_journals
from consistent_chat.store.pack import Pack, PackGone
from consistent_chat.store.place import Place
from consistent_chat.store.record import Kept, Record

logger = logging.getLogger(__name__)


class Recorded:
    """The answers in some places. Where others have packed them anew meanwhile, the places are read again."""

    _index: Index
    _journals: list[Journal]

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        settled(self._read)
        for journal in self._journals:
            _report_torn(journal)

    def find(self, key: str) -> Kept | None:
        """Return what holds for a key, or None."""
        try:
            found = self._index.find(key)
        except PackGone:
            settled(self._read)
            found = self._index.find(key)
        found += [kept for journal in self._journals if (kept := journal.find(key)) is not None]
        return found[0] if len(found) == 1 else _holding(found)

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

    def _read(self) -> None:
        # Journals first: a record leaves its journal only when it lies in a pack, so none is missed in between.
        self._journals = [journal for place in self._places for journal in read_journals(place.journals)]
        self._index = Index([Pack(path) for place in self._places for path in fetch(place)])


def _holding(found: Iterable[Kept]) -> Kept | None:
    """Return what holds among all that is kept for one key, or None."""
    best: Kept | None = None
    for kept in found:
        if best is None or kept.precedes(best):
            best = kept
    return best


def _report_torn(journal: Journal) -> None:
    if journal.torn and is_abandoned(journal.path):
        logger.warning(
            "The last line of %s is torn: its writer was stopped while writing. %d bytes of an answer that never "
            "counted as arrived are set aside.",
            journal.path,
            len(journal.torn),
        )
