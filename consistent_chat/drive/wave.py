"""One wave: everything that is missing at one time, in batches that are there already and in new ones."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from consistent_chat.drive.means import SUBMITTING, Library, Means
from consistent_chat.drive.missing import Missing
from consistent_chat.drive.outbox import Outbox, Parcel
from consistent_chat.errors import BudgetSpent, ServingError
from consistent_chat.request import Request
from consistent_chat.store.batch_log import Batch, Requests

logger = logging.getLogger(__name__)


class Overtaken(Exception):
    """Another run has made the next entry of the log: what is missing is to be looked at again."""


class Wave:
    """Finds what is missing, and submits what is in no batch.

    `under_way` are the batches that have it, `new` those of them that were submitted here, `over` says that the budget
    did not allow all.
    """

    def __init__(self, means: Means, library: Library) -> None:
        self._means, self._library = means, library
        entries = means.log.read()  # before the responses: what is closed in the one is found in the other
        means.store.reread()
        self._number = max((batch.number for batch in entries), default=0)
        self._open: dict[Batch, Requests] = {batch: library.of(batch) for batch in entries if batch.is_open}
        self._needed: set[Batch] = set()
        self._outbox: Outbox | None = None
        self.new: list[Batch] = []
        self.over: BudgetSpent | None = None

    @property
    def under_way(self) -> list[Batch]:
        """The batches that have what is missing, in order."""
        return [batch for batch in self._open if batch in self._needed]

    def go(self, missing: Missing, check: Callable[[], None]) -> None:
        """Submit what is in no batch; `check` is called when all that is missing is known.

        Raises Overtaken, Gone, and whatever says that nothing can be submitted.
        """
        with tempfile.TemporaryDirectory(dir=self._library.folder) as folder:
            try:
                for request in missing.requests(self._means.store):
                    if not self._is_under_way(request) and self._means.submits:
                        self._put(request, Path(folder))
                check()
                while self._outbox is not None and (parcel := self._outbox.take()) is not None:
                    self._submit(parcel)
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
        self._outbox = self._outbox or Outbox(self._means.desk.batches, folder)
        if self.over is not None or request in self._outbox:
            return
        try:
            cost = self._means.budget.reserve(request)
        except BudgetSpent as error:
            self.over = error
            return
        full = self._outbox.add(request, cost)
        if full is not None:
            self._submit(full)

    def _submit(self, parcel: Parcel) -> None:
        """Write a batch down, and then submit it; what is not known of it after that is found out by waiting."""
        log = self._means.log
        self._number += 1
        batch = Batch(self._number, self._means.name, parcel.model, len(parcel), self._means.desk.newest())
        SUBMITTING.add(batch.name)
        try:
            if not log.begin(batch, parcel.requests):
                raise Overtaken
            self._means.reserved[batch.number] = len(parcel), parcel.cost
            batch = self._sent(batch, parcel)
        finally:
            SUBMITTING.discard(batch.name)
            if batch.number not in self._means.reserved:
                self._means.budget.release(len(parcel), parcel.cost)
        logger.info("Submitted: %s", batch)
        self._open[batch] = self._library.take(batch, parcel.requests)
        self._needed.add(batch)
        self.new.append(batch)

    def _sent(self, batch: Batch, parcel: Parcel) -> Batch:
        try:
            state = self._means.desk.submit(batch.name, batch.model, parcel.entries)
        except ServingError:
            self._means.log.close(batch, "refused")
            raise
        return batch if state is None else self._means.log.confirm(batch, state.id)

    def _release(self) -> None:
        """Put back what is reserved for parcels that were not submitted."""
        while self._outbox is not None and (parcel := self._outbox.take()) is not None:
            self._means.budget.release(len(parcel), parcel.cost)
