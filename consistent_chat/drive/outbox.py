"""Requests on their way into batches: as few batches as a provider's limits allow, each of one model."""

from __future__ import annotations

from pathlib import Path

from consistent_chat.request import Request
from consistent_chat.serving.batches import BatchServing
from consistent_chat.store.batch_log import request_line

ENVELOPE = 1_000
"""Bytes that stand around the entries of a batch, at the most."""


class Parcel:
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

    def seal(self) -> Parcel:
        """Bring everything into the files."""
        self._entries.close()
        self._requests.close()
        return self


class Outbox:
    """Divides requests into parcels, which lie in folders of this machine. Only their digests are held in memory."""

    def __init__(self, batches: BatchServing, folder: Path) -> None:
        self._batches, self._folder = batches, folder
        self._open: dict[str, Parcel] = {}
        self._count = 0

    def __contains__(self, request: Request) -> bool:
        parcel = self._open.get(request.model)
        return parcel is not None and request.digest in parcel

    def add(self, request: Request, cost: float) -> Parcel | None:
        """Add a request; return the parcel that it does not fit into any more."""
        entry, full = self._batches.entry(request), None
        parcel = self._open.get(request.model)
        if parcel is not None and not self._has_room(parcel, entry):
            full = self._open.pop(request.model).seal()
            parcel = None
        if parcel is None:
            parcel = self._open[request.model] = self._new(request.model)
        parcel.add(request, entry, cost)
        return full

    def take(self) -> Parcel | None:
        """Return a parcel that is not full, in the order in which they were begun, or None."""
        return self._open.pop(next(iter(self._open))).seal() if self._open else None

    def _has_room(self, parcel: Parcel, entry: bytes) -> bool:
        fits = parcel.size + len(entry) + 1 <= self._batches.most_bytes - ENVELOPE
        return fits and len(parcel) < self._batches.most_requests

    def _new(self, model: str) -> Parcel:
        folder = self._folder / str(self._count)
        folder.mkdir()
        self._count += 1
        return Parcel(model, folder)
