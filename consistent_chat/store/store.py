"""The response store that the drivers use: find a response, keep a response."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from consistent_chat.errors import StoreError
from consistent_chat.request import Request, Response
from consistent_chat.store.adjacent import options_beside
from consistent_chat.store.index import StoreReader
from consistent_chat.store.journal import JournalWriter, abandoned, remove
from consistent_chat.store.location import Flush, StoreLocation, home
from consistent_chat.store.maintenance import pack_journals
from consistent_chat.store.record import MOST_REFRESHES, Record, StoredResponse

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

    The first that has a response to a request decides.
    `adjacent` are places that the caller does not name: they are read last, and get `options_beside`.

    What is kept goes to a journal on this machine at once, and from there to packs: when `flush` says so (None stands
    for what suits the place), and when the store is closed. Safe to use from several threads, and, each with a store
    of its own, from any number of processes. Raises StoreError when a place cannot be read or written, and
    DamagedRecord when what it holds is not what was written.
    """

    def __init__(
        self,
        places: str | Sequence[str],
        storage_options: Mapping[str, Any] | None = None,
        refresh: bool = False,
        flush: Flush | None = None,
        adjacent: Sequence[str] = (),
    ) -> None:
        urls = [places] if isinstance(places, str) else list(places)
        options = storage_options or {}
        beside = [StoreLocation(url, options_beside(url, options, urls)) for url in adjacent]
        self._places = [*(StoreLocation(url, options) for url in urls), *beside]
        for place in self._places[1:]:
            place.check_exists()
        self._refresh = refresh
        self._flush_when = flush or self._places[0].flush
        self._lock = threading.Lock()  # held by whoever looks or keeps, for microseconds
        self._packing = threading.Lock()  # held by the one who packs, for seconds
        self._flusher = PeriodicTask(self._flush, self._flush_when.seconds)
        self._writer: JournalWriter | None = None
        self._full: list[JournalWriter] = []
        self._own: set[str] = set()  # the keys that this store has kept, where they count apart
        self._recorded = StoreReader(self._places)

    def find(self, request: Request) -> Response | None:
        """Return the response to a request, or None; in a refresh only what this store has itself kept counts."""
        if self._refresh and request.key not in self._own:
            return None
        with self._lock:
            kept = self._journaled(request.key) if self._flusher.is_running else None
            kept = kept or self._recorded.find(request.key)
        return None if kept is None else kept.answer(request.key)

    def find_all(self, request: Request) -> list[Response]:
        """Return the response to a request, and then the others that writers at the same time have kept for it."""
        if self._refresh:
            return [kept for kept in [self.find(request)] if kept is not None]
        with self._lock:
            own = self._journaled(request.key)
            return [kept.answer(request.key) for kept in ([own] if own else self._recorded.find_all(request.key))]

    def prepare(self) -> None:
        """Make ready to keep responses, before any is paid; raises StoreError when that is not possible.

        What is recorded is held to its names: damage must not look like something that was never asked.
        """
        with self._lock:
            self._recorded.verify_checksum()
            self._begun()

    def keep(self, request: Request, response: Response) -> Response:
        """Keep a response and return it as it is stored; when this returns, it survives the end of the process.

        Whoever goes on with what is returned comes to the same rows as whoever finds it later.
        """
        with self._lock:
            before = self._recorded.find(request.key) if self._refresh else None
            writer = self._begun()
            record = Record.of(request, response, min(before.generation + 1, MOST_REFRESHES) if before else 0)
            writer.append(record)
            if self._refresh:
                self._own.add(request.key)
            if len(writer) >= self._flush_when.records or writer.is_full:
                self._turn_over(writer)
                self._flusher.wake()
        return record.kept.answer(request.key)

    def has(self, key: str) -> bool:
        """Tell whether anything is recorded for a key."""
        return self._recorded.find(key) is not None

    def holds(self, record: Record) -> bool:
        """Tell whether of all that is recorded for its key it is this record that holds."""
        return self._recorded.find(record.key) == record.kept

    def reread(self) -> None:
        """Look at all places again, for what others have kept meanwhile."""
        with self._lock:
            self._recorded.reread()

    def records(self) -> Iterator[Record]:
        """Yield all that was recorded when the store was opened or packed since, superseded records too."""
        return self._recorded.records()

    def close(self) -> None:
        """Pack what this store has kept, and what writers that were killed have left behind."""
        if self._flusher.is_running:
            self._flusher.stop()
            self.pack()

    def pack(self) -> None:
        """Turn the journals of this store, and abandoned ones, into one pack."""
        with self._packing, abandoned(self._places[0].journals) as left:
            own = self._taken()
            try:
                self._pack(own, left)
            except BaseException:
                unpacked, self._full = self._full, []  # not all of `own`: those that were packed are closed
                for writer in unpacked:
                    writer.close()  # whoever packs next takes them over
                raise

    def _flush(self) -> None:
        try:
            with self._packing:
                self._pack(self._waiting(), [])
        except StoreError as error:
            logger.warning("%s It is tried again.", error)

    def _pack(self, own: list[JournalWriter], left: list[Path]) -> None:
        """Pack journals that are held locked; deleting them comes last, so that a stop loses nothing."""
        packed = pack_journals([*left, *(writer.path for writer in own)], self._places[0])
        with self._lock:
            if packed is not None:
                self._recorded.add(packed)
            self._full = [writer for writer in self._full if writer not in own]
        for writer in own:
            writer.discard()
        remove(left)

    def _taken(self) -> list[JournalWriter]:
        """Return this store's journals, which are then written no more."""
        with self._lock:
            if self._writer is not None:
                self._turn_over(self._writer)
            return list(self._full)

    def _waiting(self) -> list[JournalWriter]:
        """Return what a flush packs. As long as something is left of the one before, the current journal goes on."""
        with self._lock:
            if self._writer is not None and len(self._writer) and not self._full:
                self._turn_over(self._writer)
            return list(self._full)

    def _turn_over(self, writer: JournalWriter) -> None:
        self._full.append(writer)
        self._writer = None

    def _begun(self) -> JournalWriter:
        place = self._places[0]
        if not self._flusher.is_running:
            place.prepare()
        if self._writer is None:
            self._writer = JournalWriter(place.journals)
        self._flusher.start()
        return self._writer

    def _journaled(self, key: str) -> StoredResponse | None:
        writers = reversed(self._full if self._writer is None else [*self._full, self._writer])
        return next((kept for writer in writers if (kept := writer.find(key)) is not None), None)


class PeriodicTask:
    """Calls `flush` in a thread of its own, one call at a time, while it is running."""

    def __init__(self, flush: Callable[[], None], seconds: float | None) -> None:
        self._flush, self._seconds = flush, seconds
        self._due = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether it was started, and not stopped since."""
        return self._thread is not None

    def start(self) -> None:
        """Begin, unless it is running."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="consistent_chat flush", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Flush now."""
        self._due.set()

    def stop(self) -> None:
        """Let a flush that is going on finish, and begin no more."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._due.set()
            thread.join()

    def _work(self) -> None:
        while True:
            self._due.wait(self._seconds)
            self._due.clear()
            if threading.current_thread() is not self._thread:
                return
            self._flush()
