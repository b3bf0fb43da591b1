"""Submits one wave: all requests that are missing at one time, in existing batches and in new ones.

The requests of open batches, and of batches to submit, are in files on this machine.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from consistent_chat.drivers.batch_client import BatchBudget, BatchClients
from consistent_chat.drivers.replay import PendingRequests
from consistent_chat.errors import BudgetSpent, ServingError
from consistent_chat.request import Request
from consistent_chat.serving.batches import BatchServing
from consistent_chat.store import ResponseStore
from consistent_chat.store.batch_log import Batch, BatchLog, Requests, request_line

logger = logging.getLogger(__name__)

SUBMITTING: set[str] = set()
"""The names of batches that this process is submitting."""


class LogConflict(Exception):
    """Another run has written the next entry of the log, so missing requests must be determined again."""


class BatchSubmission:
    """Finds missing requests, and submits those that are not in a batch, each to the serving of its role.

    `under_way` are the batches with missing requests, `new` those of them that were submitted here. `over` tells
    whether the budget was too small for all.
    """

    def __init__(
        self,
        store: ResponseStore,
        log: BatchLog,
        clients: BatchClients,
        budget: BatchBudget,
        spool: RequestSpool,
    ) -> None:
        self._store, self._log, self._clients, self._budget, self._spool = store, log, clients, budget, spool
        entries = log.read()  # read before the responses, which include those of batches closed by then
        store.reread()
        self._number = max((batch.number for batch in entries), default=0)
        self._open: dict[Batch, Requests] = {batch: spool.of(batch) for batch in entries if batch.is_open}
        self._needed: set[Batch] = set()
        self._chunkers: dict[str, BatchChunker] = {}
        self.new: list[Batch] = []
        self.over: BudgetSpent | None = None
        self._is_full = False

    @property
    def under_way(self) -> list[Batch]:
        """The batches with missing requests, in order."""
        return [batch for batch in self._open if batch in self._needed]

    def submit(self, missing: PendingRequests, check: Callable[[], None], may_submit: bool) -> None:
        """Submit the requests that are not in a batch, if allowed.

        `check` is called when all missing requests are known. Raises LogConflict, Gone, and errors that prevent
        submissions.
        """
        with tempfile.TemporaryDirectory(dir=self._spool.folder) as folder:
            try:
                for request in missing.requests(self._store):
                    if not self._is_under_way(request) and may_submit:
                        if not self._chunkers:
                            self._budget.check(missing.models)  # before a batch of another model is paid for
                        self._put(request, Path(folder))
                check()
                for role, chunker in self._chunkers.items():
                    while (chunk := chunker.take()) is not None:
                        self._submit(role, chunk)
            finally:
                self._release()
        self._close_answered()

    def _close_answered(self) -> None:
        """Close batches whose answers are all in the store, because a run was killed before it logged that."""
        for batch, requests in self._open.items():
            if batch not in self._needed and all(map(self._is_answered, map(requests.find, requests))):
                self._log.close(batch, f"{batch.requests:,} of {batch.requests:,} answered")

    def _is_answered(self, request: Request | None) -> bool:
        return request is not None and self._store.find(request) is not None

    def _is_under_way(self, request: Request) -> bool:
        batch = next((batch for batch, requests in self._open.items() if request.digest in requests), None)
        if batch is not None and batch not in self._needed:
            self._needed.add(batch)
            self._budget.price(request.model)  # must be known before anything is read
            self._clients.of(batch)
        return batch is not None

    def _put(self, request: Request, folder: Path) -> None:
        role = self._clients.role_of(request)
        chunker = self._chunkers.get(role) or self._new_chunker(role, folder)
        if self.over is not None or self._is_full or request in chunker:
            return
        try:
            cost = self._budget.reserve(request)
        except BudgetSpent as error:
            self.over = error
            return
        if cost is None:  # the next wave has room after this one is settled
            self._is_full = True
            return
        full = chunker.add(request, cost)
        if full is not None:
            self._submit(role, full)

    def _new_chunker(self, role: str, folder: Path) -> BatchChunker:
        self._clients.check()
        own = folder / (role or "all")
        own.mkdir()
        self._chunkers[role] = BatchChunker(self._clients[role].batches, own)
        return self._chunkers[role]

    def _submit(self, role: str, chunk: BatchChunk) -> None:
        """Record a batch in the log, then submit it. The poller checks whether an unconfirmed batch exists."""
        self._number += 1
        name, before = self._clients.name(role), self._clients[role].newest()
        batch = Batch(self._number, name, chunk.model, len(chunk), before, role=role)
        SUBMITTING.add(batch.name)
        try:
            if not self._log.begin(batch, chunk.requests):
                raise LogConflict
            self._budget.hold(batch, len(chunk), chunk.cost)
            batch = self._sent(batch, chunk)
        finally:
            SUBMITTING.discard(batch.name)
            if not self._budget.holds(batch):
                self._budget.release(len(chunk), chunk.cost)
        logger.info("Submitted: %s", batch)
        self._open[batch] = self._spool.take(batch, chunk.requests)
        self._needed.add(batch)
        self.new.append(batch)

    def _sent(self, batch: Batch, chunk: BatchChunk) -> Batch:
        try:
            state = self._clients[batch.role].submit(batch.name, batch.model, chunk.entries)
        except ServingError:
            self._log.close(batch, "refused")
            raise
        return batch if state is None else self._log.confirm(batch, state.id)

    def _release(self) -> None:
        """Release the reservations of chunks that were not submitted."""
        for chunker in self._chunkers.values():
            while (chunk := chunker.take()) is not None:
                self._budget.release(len(chunk), chunk.cost)


class RequestSpool:
    """The requests of batches, in files in a folder of this machine."""

    def __init__(self, log: BatchLog, folder: Path) -> None:
        self._log, self.folder = log, folder
        self._requests: dict[str, Requests] = {}

    def of(self, batch: Batch) -> Requests:
        """Return a batch's requests; raises Gone if it has been closed."""
        if batch.name not in self._requests:
            self._requests[batch.name] = self._log.requests(batch, self.folder)
        return self._requests[batch.name]

    def take(self, batch: Batch, path: Path) -> Requests:
        """Take over the file of a new batch's requests."""
        self._requests[batch.name] = Requests(path.rename(self.folder / f"{batch.name}.jsonl"))
        return self._requests[batch.name]

    def drop(self, batch: Batch) -> None:
        """Remove a batch's requests."""
        requests = self._requests.pop(batch.name, None)
        if requests is not None:
            requests.close()
            requests.path.unlink()

    def close(self) -> None:
        """Close all files."""
        for requests in self._requests.values():
            requests.close()


ENVELOPE = 1_000
"""Maximum bytes of a batch besides its entries."""


class BatchChunk:
    """The requests of one batch, in two files: in the provider's format and in the store's."""

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
        """Add a request, with its maximum cost."""
        self._entries.write(entry + b"\n")
        self._requests.write(request_line(request))
        self._digests.add(request.digest)
        self.size += len(entry) + 1
        self.cost += cost

    def seal(self) -> BatchChunk:
        """Flush everything to the files."""
        self._entries.close()
        self._requests.close()
        return self


class BatchChunker:
    """Divides requests into chunks, in folders of this machine. Only digests are held in memory."""

    def __init__(self, batches: BatchServing, folder: Path) -> None:
        self._batches, self._folder = batches, folder
        self._open: dict[str, BatchChunk] = {}
        self._count = 0

    def __contains__(self, request: Request) -> bool:
        chunk = self._open.get(request.model)
        return chunk is not None and request.digest in chunk

    def add(self, request: Request, cost: float) -> BatchChunk | None:
        """Add a request; return the chunk that is now full, or None."""
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
