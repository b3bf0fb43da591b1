"""The requests of batches, in files on this machine: of open batches, and of those to be submitted."""

from __future__ import annotations

from pathlib import Path

from consistent_chat.request import Request
from consistent_chat.serving.batches import BatchServing
from consistent_chat.store.batch_log import Batch, BatchLog, Requests, request_line


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
"""Maximum bytes around the entries of a batch."""


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
    """Divides requests into chunks, in folders of this machine. Only their digests are held in memory."""

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
