"""The response store that the drivers use: find a response, keep a response."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import chain
from typing import Any

import numpy as np

from consistent_chat.errors import StoreError
from consistent_chat.request import Request, Response
from consistent_chat.store.journal import Journal, JournalWriter, abandoned, is_abandoned, read_journals
from consistent_chat.store.pack import Pack, write_pack
from consistent_chat.store.place import Place, home
from consistent_chat.store.record import Record

logger = logging.getLogger(__name__)


class Mode(str, Enum):
    """What a build does with the store."""

    RECORD = "record"
    """Look up, else call and store."""
    REPLAY = "replay"
    """Look up only; what is missing is an error. No network, no key."""
    REFRESH = "refresh"
    """Call, and let the new response supersede the stored one. Begins anew each time; to go on, use record."""


def default_location() -> str:
    """Return where responses are kept unless `responses=` says otherwise; it follows HF_HOME."""
    return str(home() / "responses")


class ResponseStore:
    """Responses by request, over one or several places: all are read, the first is written.

    Safe to use from several threads, and, each with a store of its own, from any number of processes.
    Raises StoreError when a place cannot be read, and DamagedRecord when what it holds is not what was written.
    """

    def __init__(
        self, places: str | Sequence[str], storage_options: Mapping[str, Any] | None = None, refresh: bool = False
    ) -> None:
        urls = [places] if isinstance(places, str) else list(places)
        self._places = [Place(url, storage_options) for url in urls]
        self._refresh = refresh
        self._lock = threading.Lock()
        self._writer: JournalWriter | None = None
        self._read_all()

    def find(self, request: Request) -> Response | None:
        """Return the response to a request, or None; in a refresh only what this store has itself kept counts."""
        with self._lock:
            record = self._writer.find(request.key) if self._writer else None
            if record is None and not self._refresh:
                record = self._recorded(request.key)
        return None if record is None else record.answer()

    def prepare(self) -> None:
        """Make ready to keep responses, before any is paid; raises StoreError when that is not possible."""
        with self._lock:
            self._begun()

    def keep(self, request: Request, response: Response) -> None:
        """Keep a response; when this returns, it survives the end of the process."""
        with self._lock:
            before = self._recorded(request.key) if self._refresh else None
            self._begun().append(Record.of(request, response, before.generation + 1 if before else 0))

    def records(self) -> Iterator[Record]:
        """Yield all that was recorded when the store was opened, superseded records too."""
        return chain(*self._packs, *self._journals)

    def close(self) -> None:
        """Pack what this store has kept, and what writers that were killed have left behind."""
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            self.pack()

    def pack(self) -> None:
        """Turn the journals that nobody writes any more into one pack."""
        place = self._places[0]
        try:
            with abandoned(place.journals) as paths:
                _pack([Journal(path) for path in paths], place)
        except OSError as error:
            raise StoreError(
                f"The journals in {place.journals} cannot be packed: {error.strerror or error}. They are kept. "
                "Make room or give rights there, and run again."
            ) from None

    def _begun(self) -> JournalWriter:
        if self._writer is None:
            self._places[0].prepare()
            self._writer = JournalWriter(self._places[0].journals)
        return self._writer

    def _read_all(self) -> None:
        # Journals first: a record leaves its journal only when it lies in a pack, so none is missed in between.
        self._journals = [journal for place in self._places for journal in read_journals(place.journals)]
        for journal in self._journals:
            if journal.torn and is_abandoned(journal.path):
                logger.warning(
                    "The last line of %s is torn: its writer was stopped while writing. %d bytes of an answer that "
                    "never counted as arrived are set aside.",
                    journal.path,
                    len(journal.torn),
                )
        self._packs = [Pack(place.fetch(name)) for place in self._places for name in place.pack_names()]
        prefixes = [pack.prefixes() for pack in self._packs]
        starts = np.cumsum([0, *map(len, prefixes)])
        self._starts = starts[:-1]
        joined = np.concatenate(prefixes) if prefixes else np.empty(0, np.uint64)
        self._order = np.argsort(joined, kind="stable")
        self._sorted = joined[self._order]

    def _recorded(self, key: str) -> Record | None:
        best: Record | None = None
        for record in chain(self._in_packs(key), self._in_journals(key)):
            if best is None or record.precedes(best):
                best = record
        return best

    def _in_packs(self, key: str) -> Iterator[Record]:
        prefix = np.uint64(int(key[7:23], 16))
        at = int(np.searchsorted(self._sorted, prefix))
        while at < len(self._sorted) and self._sorted[at] == prefix:
            row = int(self._order[at])
            pack = int(np.searchsorted(self._starts, row, side="right")) - 1
            record = self._packs[pack].record(row - int(self._starts[pack]))
            if record.key == key:
                yield record
            at += 1

    def _in_journals(self, key: str) -> Iterator[Record]:
        return (record for journal in self._journals if (record := journal.find(key)) is not None)


def _pack(journals: Sequence[Journal], place: Place) -> None:
    """Pack journals that are held locked; deleting comes last, so that a stop loses nothing."""
    for journal in journals:
        if journal.torn:
            place.torn.mkdir(parents=True, exist_ok=True)
            (place.torn / journal.path.name).write_bytes(journal.torn)
    if any(len(journal) for journal in journals):
        place.send(write_pack(chain(*journals), place.packs))
    for journal in journals:
        journal.path.unlink(missing_ok=True)
