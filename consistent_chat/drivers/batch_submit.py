"""One wave: everything that is missing at one time, in batches that are there already and in new ones."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from consistent_chat.drivers.batch_client import SUBMITTING, BatchContext, RequestSpool
from consistent_chat.drivers.pending import PendingRequests
from consistent_chat.errors import BudgetSpent, ServingError
from consistent_chat.request import Request
from consistent_chat.serving.batches import BatchServing
from consistent_chat.store.batch_log import Batch, Requests, request_line

logger = logging.getLogger(__name__)


class Overtaken(Exception):
    """Another run has made the next entry of the log: what is missing is to be looked at again."""


class BatchSubmission:
    """Finds what is missing, and submits what is in no batch.

    `under_way` are the batches that have it, `new` those of them that were submitted here, `over` says that the budget
    did not allow all.
    """

    def __init__(self, means: BatchContext, library: RequestSpool) -> None:
        self._means, self._library = means, library
        entries = means.log.read()  # before the responses: what is closed in the one is found in the other
        means.store.reread()
        self._number = max((batch.number for batch in entries), default=0)
        self._open: dict[Batch, Requests] = {batch: library.of(batch) for batch in entries if batch.is_open}
        self._needed: set[Batch] = set()
        self._outbox: BatchChunker | None = None
        self.new: list[Batch] = []
        self.over: BudgetSpent | None = None
        self._is_full = False

    @property
    def under_way(self) -> list[Batch]:
        """The batches that have what is missing, in order."""
        return [batch for batch in self._open if batch in self._needed]

    def go(self, missing: PendingRequests, check: Callable[[], None]) -> None:
        """Submit what is in no batch; `check` is called when all that is missing is known.

        Raises Overtaken, Gone, and whatever says that nothing can be submitted.
        """
        with tempfile.TemporaryDirectory(dir=self._library.folder) as folder:
            try:
                for request in missing.requests(self._means.store):
                    if not self._is_under_way(request) and self._means.submits:
                        self._put(request, Path(folder))
                check()
                while self._outbox is not None and (chunk := self._outbox.take()) is not None:
                    self._submit(chunk)
            finally:
                self._release()
        self._close_answered()

    def _close_answered(self) -> None:
        """Close batches all of whose answers are in the store: a run was killed before it wrote so down."""
        for batch, requests in self._open.items():
            if batch not in self._needed and all(map(self._is_answered, map(requests.find, requests))):
                self._means.log.close(batch, f"{batch.requests:,} of {batch.requests:,} answered")

    def _is_answered(self, request: Request | None) -> bool:
        return request is not None and self._means.store.find(request) is not None

    def _is_under_way(self, request: Request) -> bool:
        batch = next((batch for batch, requests in self._open.items() if request.digest in requests), None)
        if batch is not None and batch not in self._needed:
            self._needed.add(batch)
            self._means.budget.price(request.model)  # which must be known before anything is read
            if batch.serving != self._means.name:
                raise ServingError(
                    f"{batch} was submitted to {batch.serving!r} and has requests that this build needs. Pass "
                    f"serving={batch.serving!r} to collect it, or give it up: consistent-chat batches --forget "
                    f"{batch.number}."
                )
        return batch is not None

    def _put(self, request: Request, folder: Path) -> None:
        self._outbox = self._outbox or BatchChunker(self._means.desk.batches, folder)
        if self.over is not None or self._is_full or request in self._outbox:
            return
        try:
            cost = self._means.budget.reserve(request)
        except BudgetSpent as error:
            self.over = error
            return
        if cost is None:  # the next wave has room when this one is settled
            self._is_full = True
            return
        full = self._outbox.add(request, cost)
        if full is not None:
            self._submit(full)

    def _submit(self, chunk: BatchChunk) -> None:
        """Write a batch down, and then submit it; what is not known of it after that is found out by waiting."""
        log = self._means.log
        self._number += 1
        batch = Batch(self._number, self._means.name, chunk.model, len(chunk), self._means.desk.newest())
        SUBMITTING.add(batch.name)
        try:
            if not log.begin(batch, chunk.requests):
                raise Overtaken
            self._means.reserved[batch.number] = len(chunk), chunk.cost
            batch = self._sent(batch, chunk)
        finally:
            SUBMITTING.discard(batch.name)
            if batch.number not in self._means.reserved:
                self._means.budget.release(len(chunk), chunk.cost)
        logger.info("Submitted: %s", batch)
        self._open[batch] = self._library.take(batch, chunk.requests)
        self._needed.add(batch)
        self.new.append(batch)

    def _sent(self, batch: Batch, chunk: BatchChunk) -> Batch:
        try:
            state = self._means.desk.submit(batch.name, batch.model, chunk.entries)
        except ServingError:
            self._means.log.close(batch, "refused")
            raise
        return batch if state is None else self._means.log.confirm(batch, state.id)

    def _release(self) -> None:
        """Put back what is reserved for parcels that were not submitted."""
        while self._outbox is not None and (chunk := self._outbox.take()) is not None:
            self._means.budget.release(len(chunk), chunk.cost)


ENVELOPE = 1_000
"""Bytes that stand around the entries of a batch, at the most."""


class BatchChunk:
    """The requests of one batch, in two files: as the provider takes them, and as the store keeps them."""

    def __init__(self, model: str, folder: Path) -> None:
        self.model = model
        self.entries, self.requests = folder / "entries.jsonl", folder / "requests.jsonl"
        self._entries, self._requests = self.entries.open("wb"), self.requests.open("wb")
        self.size, self.cost = 0, 0.0
        self._digests: set[str] = set()

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, digest: str) -> bool:
        return digest in self._digests

    def add(self, request: Request, entry: bytes, cost: float) -> None:
        """Add a request, with what it can cost at the most."""
        self._entries.write(entry + b"\n")
        self._requests.write(request_line(request))
        self._digests.add(request.digest)
        self.size += len(entry) + 1
        self.cost += cost

    def seal(self) -> BatchChunk:
        """Bring everything into the files."""
        self._entries.close()
        self._requests.close()
        return self


class BatchChunker:
    """Divides requests into parcels, which lie in folders of this machine. Only their digests are held in memory."""

    def __init__(self, batches: BatchServing, folder: Path) -> None:
        self._batches, self._folder = batches, folder
        self._open: dict[str, BatchChunk] = {}
        self._count = 0

    def __contains__(self, request: Request) -> bool:
        chunk = self._open.get(request.model)
        return chunk is not None and request.digest in chunk

    def add(self, request: Request, cost: float) -> BatchChunk | None:
        """Add a request; return the parcel that it does not fit into any more."""
        entry, full = self._batches.entry(request), None
        chunk = self._open.get(request.model)
        if chunk is not None and not self._has_room(chunk, entry):
            full = self._open.pop(request.model).seal()
            chunk = None
        if chunk is None:
            chunk = self._open[request.model] = self._new(request.model)
        chunk.add(request, entry, cost)
        return full

    def take(self) -> BatchChunk | None:
        """Return the oldest chunk that is not full, or None."""
        return self._open.pop(next(iter(self._open))).seal() if self._open else None

    def _has_room(self, chunk: BatchChunk, entry: bytes) -> bool:
        fits = chunk.size + len(entry) + 1 <= self._batches.most_bytes - ENVELOPE
        return fits and len(chunk) < self._batches.most_requests

    def _new(self, model: str) -> BatchChunk:
        folder = self._folder / str(self._count)
        folder.mkdir()
        self._count += 1
        return BatchChunk(model, folder)
