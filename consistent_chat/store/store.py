"""The response store that drivers use: finds and keeps responses, and explains a missing one.

The explanation names the nearest recorded request and how it differs.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from consistent_chat.errors import StoreError
from consistent_chat.request import Request, Response
from consistent_chat.store.index import StoreReader
from consistent_chat.store.journal import JournalWriter, abandoned, remove
from consistent_chat.store.location import Flush, StoreLocation, home, options_beside
from consistent_chat.store.maintenance import pack_journals
from consistent_chat.store.record import MOST_REFRESHES, Record, StoredResponse

logger = logging.getLogger(__name__)


class Mode(str, Enum):
    """What a build does with the store."""

    RECORD = "record"
    """Look up a response, else call the model and store it."""
    REPLAY = "replay"
    """Look up only. A missing response is an error. No network, no key."""
    REFRESH = "refresh"
    """Call the model. The new response supersedes the stored one.

    Each run starts from the beginning; to resume, use record.
    """


def default_location() -> str:
    """Return the folder where responses are stored without `responses=`. It depends on HF_HOME."""
    return str(home() / "responses")


class ResponseStore:
    """Responses by request, in one or several locations: all are read, only the first is written.

    The first location with a response to a request wins. `adjacent` are locations that the caller does not name; they
    are read last, with `options_beside`. A response is written to a journal on this machine immediately, and to a pack
    as `flush` says (None: the location's default), and when the store is closed. A store can be used by several
    threads, and the location by any number of processes with a store each. Raises StoreError if a location cannot be
    read or written, and DamagedRecord if its content differs from what was written.
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
        self._lock = threading.Lock()  # held to find or keep a response, for microseconds
        self._packing = threading.Lock()  # held to pack, for seconds
        self._flusher = PeriodicTask(self._flush, self._flush_when.seconds)
        self._writer: JournalWriter | None = None
        self._full: list[JournalWriter] = []
        self._own: set[str] = set()  # the keys that this store has kept, for a refresh
        self._ahead: dict[str, StoredResponse] = {}  # what was read ahead
        self._recorded = StoreReader(self._places)

    def find(self, request: Request) -> Response | None:
        """Return the response to a request, or None. In a refresh, only responses that this store has written count."""
        kept = self._kept(request.key)
        return None if kept is None else kept.answer(request.key)

    def find_used(self, key: str, digest: str) -> Response | None:
        """Return the response to the request with a key if its digest begins so, or None."""
        kept = self._ahead.pop(key, None) or self._kept(key)
        if kept is None or not kept.digest.startswith(digest):
            return None
        return kept.answer(key)

    def read_ahead(self, keys: Sequence[str]) -> None:
        """Read the responses that `find_used` will be asked for next, at once.

        Only while nothing is kept: a response that was kept in the meantime must be found.
        """
        with self._lock:
            is_read_only = not (self._refresh or self._flusher.is_running)
            self._ahead = self._recorded.first_of(keys) if keys and is_read_only else {}

    def _kept(self, key: str) -> StoredResponse | None:
        if self._refresh and key not in self._own:
            return None
        with self._lock:
            kept = self._journaled(key) if self._flusher.is_running else None
            return self._recorded.find(key) if kept is None else kept

    def find_all(self, request: Request) -> list[Response]:
        """Return the response to a request, and then the others that concurrent writers have stored for it."""
        if self._refresh:
            return [kept for kept in [self.find(request)] if kept is not None]
        with self._lock:
            own = self._journaled(request.key)
            return [kept.answer(request.key) for kept in ([own] if own else self._recorded.find_all(request.key))]

    def note_checks(self, identity: str) -> None:
        """Mark responses that passed the checks of an identity on this machine ("" to mark none).

        Notes stay on this machine: they are neither read from a store nor written to one.
        """
        with self._lock:
            self._ahead = {}
            self._recorded.note_checks(identity)

    def mark_checked(self, key: str, digest: str) -> None:
        """Note that the response to a key whose record has a digest passed the checks.

        A note is about a row of a pack. For a record that is still in a journal, it is made when that is packed.
        """
        with self._lock:
            self._recorded.mark_checked(key, digest)

    def prepare(self) -> None:
        """Raise StoreError, before any response is paid for, unless responses can be stored.

        Also verify packs against their names, because a damaged response must not look like a missing one.
        """
        with self._lock:
            self._recorded.verify_checksum()
            self._open_writer()

    def keep(self, request: Request, response: Response) -> Response:
        """Store a response, which then survives the end of the process, and return it as stored.

        A driver must continue with the returned response, to make the same rows as a replay.
        """
        with self._lock:
            before = self._recorded.find(request.key) if self._refresh else None
            writer = self._open_writer()
            record = Record.of(request, response, min(before.generation + 1, MOST_REFRESHES) if before else 0)
            writer.append(record)
            if self._refresh:
                self._own.add(request.key)
            if len(writer) >= self._flush_when.records or writer.is_full:
                self._rotate(writer)
                self._flusher.wake()
        return response.kept_as(record.digest)

    def has(self, key: str) -> bool:
        """Return whether a response is recorded for a key."""
        return self._recorded.find(key) is not None

    def holds(self, record: Record) -> bool:
        """Return whether this record is the one that wins for its key."""
        return self._recorded.find(record.key) == record.kept

    def reread(self) -> None:
        """Read all locations again, to find what others have stored since."""
        with self._lock:
            self._ahead = {}
            self._recorded.reread()

    def records(self) -> Iterator[Record]:
        """Yield all records from when the store was opened or packed since, including superseded ones."""
        return self._recorded.records()

    def close(self) -> None:
        """Pack the journals of this store and of killed writers, and save the notes."""
        try:
            if self._flusher.is_running:
                self._flusher.stop()
                self.pack()
        finally:
            self._recorded.save_notes()

    def pack(self) -> None:
        """Pack the journals of this store and abandoned ones into one pack."""
        with self._packing, abandoned(self._places[0].journals) as left:
            own = self._taken()
            try:
                self._pack(own, left)
            except BaseException:
                unpacked, self._full = self._full, []  # not all of `own`, since packed journals are closed
                for writer in unpacked:
                    writer.close()  # released, so that the next packer takes them over
                raise

    def _flush(self) -> None:
        try:
            with self._packing:
                self._pack(self._waiting(), [])
        except StoreError as error:
            logger.warning("%s It will be retried.", error)

    def _pack(self, own: list[JournalWriter], left: list[Path]) -> None:
        """Pack locked journals. The journals are deleted last, so that a stop loses nothing."""
        packed = pack_journals(left, own, self._places[0])
        with self._lock:
            if packed is not None:
                self._recorded.add(packed)
            self._full = [writer for writer in self._full if writer not in own]
        for writer in own:
            writer.discard()
        remove(left)

    def _taken(self) -> list[JournalWriter]:
        """Return this store's journals, to which nothing more is written."""
        with self._lock:
            if self._writer is not None:
                self._rotate(self._writer)
            return list(self._full)

    def _waiting(self) -> list[JournalWriter]:
        """Return the journals for a flush. If an earlier flush has left some, the current journal stays open."""
        with self._lock:
            if self._writer is not None and len(self._writer) and not self._full:
                self._rotate(self._writer)
            return list(self._full)

    def _rotate(self, writer: JournalWriter) -> None:
        self._full.append(writer)
        self._writer = None

    def _open_writer(self) -> JournalWriter:
        place, self._ahead = self._places[0], {}
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
    """Calls `flush` in a thread, one call at a time, while it is running."""

    def __init__(self, flush: Callable[[], None], seconds: float | None) -> None:
        self._flush, self._seconds = flush, seconds
        self._due = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether the task was started and has not been stopped."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread, unless it is running."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="consistent_chat flush", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Flush now."""
        self._due.set()

    def stop(self) -> None:
        """Wait for a running flush, and start no more."""
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


LOOKED_AT = 20_000
"""Maximum number of records that are compared, so that the message appears within seconds."""

EXCERPT = 60


def explain_miss(request: Request, index: int, store: ResponseStore) -> str:
    """Return the message for a request that is not recorded."""
    asked = request.identity()
    records = itertools.islice(store.records(), LOOKED_AT)
    closest_records = max(
        (record.asked() for record in records), key=lambda found: _likeness(asked, found), default=None
    )
    where = "The store is empty."
    if closest_records is not None:
        where = f"The nearest recorded request differs in {_differences(asked, closest_records)}."
    return (
        f"No response is recorded for dialogue {index}, draw {request.draw} of {request.key}. {where} "
        "Pass serving= (and, unless it runs locally, a key) to request it, or another location as responses=."
    )


def _likeness(asked: dict[str, Any], found: dict[str, Any]) -> tuple[int, int]:
    same = sum(asked[name] == found.get(name) for name in asked)
    return same, _common(_text(asked["messages"]), _text(found.get("messages", [])))


def _differences(asked: dict[str, Any], found: dict[str, Any]) -> str:
    names = [name for name in asked if asked[name] != found.get(name)]
    return "; ".join(f"{name}: {_excerpts(asked[name], found.get(name))}" for name in names) or "nothing"


def _excerpts(asked: Any, found: Any) -> str:
    if not isinstance(asked, (str, list, Mapping)):
        return f"{_short(str(found))} is recorded, {_short(str(asked))} is requested"
    one, other = _text(found), _text(asked)
    start = max(0, _common(one, other) - EXCERPT // 3)
    lead = "..." if start else ""
    return f"{_short(lead + one[start:])!r} is recorded, {_short(lead + other[start:])!r} is requested"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(message["content"] for message in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, Mapping) else str(value)


def _short(text: str) -> str:
    return text if len(text) <= EXCERPT else text[: EXCERPT - 3] + "..."


def _common(one: str, other: str) -> int:
    """Return the length of the common prefix of two texts, by bisection, since texts can be long."""
    start, end = 0, min(len(one), len(other))
    while start < end:
        middle = (start + end + 1) // 2
        if one[start:middle] == other[start:middle]:
            start = middle
        else:
            end = middle - 1
    return start
