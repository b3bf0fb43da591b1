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

MOST_FOUND = 256
"""Responses found last that are held as they were stored: more than most dialogues have."""
logger = logging.getLogger(__name__)


class Mode(str, Enum):
    """What a build does with the store."""

    RECORD = "record"
    """Look up a response, else call the model and store it."""
    REPLAY = "replay"
    """Look up only; a missing response is an error. No network, no key."""
    REFRESH = "refresh"
    """Call the model; the new response supersedes the stored one. It starts over each time; to resume, use record."""


def default_location() -> str:
    """Return where responses are kept unless `responses=` says otherwise; it follows HF_HOME."""
    return str(home() / "responses")


class ResponseStore:
    """Responses by request, in one or several locations: all are read, the first is written.

    The first with a response to a request wins.
    `adjacent` are locations that the caller does not name: they are read last, and get `options_beside`.

    A response goes to a journal on this machine at once, and from there to packs: as `flush` says (None: the location's
    default), and when the store is closed. Safe to use from several threads, and, with one store each, from any number
    of processes. Raises StoreError if a location cannot be read or written, and DamagedRecord if its content differs
    from what was written.
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
        self._found: dict[str, tuple[Response, StoredResponse]] = {}  # the last, as they were stored
        self._recorded = StoreReader(self._places)

    def find(self, request: Request) -> Response | None:
        """Return the response to a request, or None; in a refresh, only responses that this store has kept count."""
        if self._refresh and request.key not in self._own:
            return None
        with self._lock:
            kept = self._journaled(request.key) if self._flusher.is_running else None
            kept = kept or self._recorded.find(request.key)
        if kept is None:
            return None
        if len(self._found) >= MOST_FOUND:
            self._found = {}
        response = kept.answer(request.key)
        self._found[request.key] = response, kept
        return response

    def find_all(self, request: Request) -> list[Response]:
        """Return the response to a request, and then the others that writers at the same time have kept for it."""
        if self._refresh:
            return [kept for kept in [self.find(request)] if kept is not None]
        with self._lock:
            own = self._journaled(request.key)
            return [kept.answer(request.key) for kept in ([own] if own else self._recorded.find_all(request.key))]

    def note_checks(self, identity: str) -> None:
        """Tell of each response found whether it passed the checks of an identity on this machine ("" for none).

        Notes are this machine's own: none is read from a store, and none is written to one.
        """
        with self._lock:
            self._recorded.note_checks(identity)

    def mark_checked(self, request: Request, response: Response) -> None:
        """Note that a response that was found has passed the checks."""
        found, kept = self._found.get(request.key, (None, None))

        def is_it(other: StoredResponse) -> bool:
            return other == kept if found is response else other.answer(request.key) == response

        with self._lock:
            self._recorded.mark_checked(request.key, is_it)

    def prepare(self) -> None:
        """Prepare to keep responses, before any is paid for; raises StoreError if that is not possible.

        Verify recorded packs against their names: a damaged response must not look like a missing one.
        """
        with self._lock:
            self._recorded.verify_checksum()
            self._open_writer()

    def keep(self, request: Request, response: Response) -> Response:
        """Keep a response and return it as stored; from then on it survives the end of the process.

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
        return response.as_stored()

    def has(self, key: str) -> bool:
        """Tell whether anything is recorded for a key."""
        return self._recorded.find(key) is not None

    def holds(self, record: Record) -> bool:
        """Tell whether this record is the one that wins for its key."""
        return self._recorded.find(record.key) == record.kept

    def reread(self) -> None:
        """Read all locations again, for what others have kept meanwhile."""
        with self._lock:
            self._recorded.reread()

    def records(self) -> Iterator[Record]:
        """Yield all records from when the store was opened or packed since, including superseded ones."""
        return self._recorded.records()

    def close(self) -> None:
        """Pack what this store has kept, and what killed writers have left behind; save the notes."""
        self._recorded.save_notes()
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
                unpacked, self._full = self._full, []  # not all of `own`: packed ones are closed
                for writer in unpacked:
                    writer.close()  # the next packer takes them over
                raise

    def _flush(self) -> None:
        try:
            with self._packing:
                self._pack(self._waiting(), [])
        except StoreError as error:
            logger.warning("%s It will be retried.", error)

    def _pack(self, own: list[JournalWriter], left: list[Path]) -> None:
        """Pack locked journals; they are deleted last, so that a stop loses nothing."""
        packed = pack_journals([*left, *(writer.path for writer in own)], self._places[0])
        with self._lock:
            if packed is not None:
                self._recorded.add(packed)
            self._full = [writer for writer in self._full if writer not in own]
        for writer in own:
            writer.discard()
        remove(left)

    def _taken(self) -> list[JournalWriter]:
        """Return this store's journals, and write no more to them."""
        with self._lock:
            if self._writer is not None:
                self._rotate(self._writer)
            return list(self._full)

    def _waiting(self) -> list[JournalWriter]:
        """Return the journals for a flush. While an earlier flush has left some, the current journal continues."""
        with self._lock:
            if self._writer is not None and len(self._writer) and not self._full:
                self._rotate(self._writer)
            return list(self._full)

    def _rotate(self, writer: JournalWriter) -> None:
        self._full.append(writer)
        self._writer = None

    def _open_writer(self) -> JournalWriter:
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
    """Calls `flush` in a thread, one call at a time, while it is running."""

    def __init__(self, flush: Callable[[], None], seconds: float | None) -> None:
        self._flush, self._seconds = flush, seconds
        self._due = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
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
        """Let a running flush finish, and start no more."""
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
"""Maximum number of records compared, so that the message comes within seconds."""

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
        return f"{_short(str(found))} is recorded, {_short(str(asked))} is asked"
    one, other = _text(found), _text(asked)
    start = max(0, _common(one, other) - EXCERPT // 3)
    lead = "..." if start else ""
    return f"{_short(lead + one[start:])!r} is recorded, {_short(lead + other[start:])!r} is asked"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(message["content"] for message in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, Mapping) else str(value)


def _short(text: str) -> str:
    return text if len(text) <= EXCERPT else text[: EXCERPT - 3] + "..."


def _common(one: str, other: str) -> int:
    """Return the length of the prefix that two texts share; by bisection, since texts can be long."""
    start, end = 0, min(len(one), len(other))
    while start < end:
        middle = (start + end + 1) // 2
        if one[start:middle] == other[start:middle]:
            start = middle
        else:
            end = middle - 1
    return start
