"""What the batch driver works with: the store and its log, the provider, the limits of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from consistent_chat.drive.desk import Desk
from consistent_chat.drive.limits import Budget, Limits, Spent
from consistent_chat.drive.tally import Tally
from consistent_chat.prices import Price, price_of
from consistent_chat.serving import Serving
from consistent_chat.serving.batches import DISCOUNT
from consistent_chat.store import ResponseStore
from consistent_chat.store.batch_log import Batch, BatchLog, Requests

SUBMITTING: set[str] = set()
"""The names of batches that this process is submitting."""


@dataclass(frozen=True)
class Progress:
    """How a wave is getting on: its requests, and those that are through; when the first of its batches expires.

    `expires` is in seconds since 1970, None where no provider said so; `fault` is why the last look did not succeed.
    """

    batches: int
    requests: int
    done: int
    expires: float | None
    fault: str


@dataclass
class Means:
    """What a fill works with.

    `name` is the serving's name in the log. `submits` says whether batches may be submitted, or only those that are
    there already are waited for; `waits`, whether to wait. `watch` is told how the waiting goes. `reserved` has the
    calls and dollars that the budget keeps for the run's own batches, by number; `refusals` counts how often a request
    was refused.
    """

    store: ResponseStore
    log: BatchLog
    name: str
    open_serving: Callable[[], Serving]
    limits: Limits
    tally: Tally
    spent: Spent
    watch: Callable[[Progress], None] = lambda progress: None
    submits: bool = True
    waits: bool = True
    reserved: dict[int, tuple[int, float]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    _desk: Desk | None = None

    @property
    def desk(self) -> Desk:
        """The provider; opened when it is first needed, after the store is known to be writable."""
        if self._desk is None:
            self._desk = Desk(self.open_serving())
            self.store.prepare()
            self.log.prepare()
        return self._desk

    @property
    def budget(self) -> Budget:
        """The budget, at the prices of batches."""
        return Budget(self.limits, self.spent, prices=batch_price)

    def release(self, batch: Batch) -> None:
        """Put back what the budget keeps for a batch."""
        self.budget.release(*self.reserved.pop(batch.number, (0, 0.0)))

    def close(self) -> None:
        """Let go of the provider, and bring everything into the store."""
        try:
            if self._desk is not None:
                self._desk.close()
        finally:
            self.store.close()


class Library:
    """The requests of batches, in files in a folder of this machine."""

    def __init__(self, log: BatchLog, folder: Path) -> None:
        self._log, self.folder = log, folder
        self._requests: dict[str, Requests] = {}

    def of(self, batch: Batch) -> Requests:
        """Return a batch's requests; raises Gone when it has been closed."""
        if batch.name not in self._requests:
            self._requests[batch.name] = self._log.requests(batch, self.folder)
        return self._requests[batch.name]

    def take(self, batch: Batch, path: Path) -> Requests:
        """Take over the file of a new batch's requests."""
        self._requests[batch.name] = Requests(path.rename(self.folder / f"{batch.name}.jsonl"))
        return self._requests[batch.name]

    def drop(self, batch: Batch) -> None:
        """Let a batch's requests go."""
        requests = self._requests.pop(batch.name, None)
        if requests is not None:
            requests.close()
            requests.path.unlink()

    def close(self) -> None:
        """Let go of all files."""
        for requests in self._requests.values():
            requests.close()


def batch_price(model: str) -> Price | None:
    """Return what a model's tokens cost in a batch, or None where the table of prices does not know it."""
    price = price_of(model)
    return price and Price(price.input * DISCOUNT, price.output * DISCOUNT)
