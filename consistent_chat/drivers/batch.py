"""The batch driver: fills a store through a provider's batch API, wave by wave.

A wave is what all dialogues need next: stage one of all of them first, then stage two, with redraws wherever an answer
was of no use. The store's log tells of each batch before it is submitted, so that any run on any machine takes it over.
Rows are no matter of this driver: once nothing is missing, they come out by replay.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from consistent_chat.drivers.batch_client import BatchContext, RequestSpool
from consistent_chat.drivers.batch_poll import BatchPoller, Collected, whereabouts
from consistent_chat.drivers.batch_submit import BatchSubmission, Overtaken
from consistent_chat.drivers.pending import PendingRequests
from consistent_chat.drivers.retry import HOPELESS, despair
from consistent_chat.errors import BatchesPending, BudgetSpent, ServingError, StoreError, UnfilledSlot
from consistent_chat.store.batch_log import Batch
from consistent_chat.store.location import NotFound

logger = logging.getLogger(__name__)

FRUITLESS = 5
"""Waves in a row that bring no answer at all, after which a run stops."""
LOOKS = 50
"""Times that a wave is begun anew because other runs have written to the log meanwhile."""


def fill(missing: PendingRequests, means: BatchContext) -> None:
    """Fill the store with what is missing; where `means` does not submit, only with what batches have of it.

    Raises BatchesPending where that takes waiting and `means` does not wait, BudgetSpent when all is there that the
    budget allows, ServingError or UnfilledSlot where going on makes no sense, and StoreError.
    """
    with tempfile.TemporaryDirectory(prefix="consistent_chat-") as folder, ExitStack() as closing:
        closing.callback(means.close)
        library = RequestSpool(means.log, Path(folder))
        closing.callback(library.close)
        _Driver(missing, means, library).run()


class _Driver:
    def __init__(self, missing: PendingRequests, means: BatchContext, library: RequestSpool) -> None:
        self._missing, self._means, self._library = missing, means, library
        self._answered, self._unusable = 0, 0
        self._over: BudgetSpent | None = None

    def run(self) -> None:
        """Submit and collect until nothing is missing that may be submitted."""
        fruitless = 0
        while under_way := self._submitted():
            last = self._collected(under_way)
            fruitless = 0 if last.answered else fruitless + 1
            if fruitless == FRUITLESS:
                why = last.fault or "Their results tell of none of the requests."
                raise ServingError(f"{FRUITLESS} waves of batches brought no answer, and the run stops. {why}")
            if self._over is not None:
                break
        if self._over is not None:
            raise self._over

    def _submitted(self) -> Sequence[Batch]:
        """Return the batches that have what is missing, after submitting what none of them had."""
        self._unusable = self._missing.unusable
        for _ in range(LOOKS):
            try:
                wave = BatchSubmission(self._means, self._library)
                wave.go(self._missing, self._check_hope)
            except (Overtaken, NotFound):
                continue
            self._over = self._over or wave.over
            if wave.new and not self._means.waits:
                count = sum(batch.requests for batch in wave.new)
                raise BatchesPending(f"{count:,} requests are submitted. {whereabouts(wave.under_way)}")
            return wave.under_way
        raise StoreError(
            "The store's batches change all the time, or the requests of one are gone (batches/*.jsonl.gz). List them "
            "with `consistent-chat batches`, and give up what is lost with --forget."
        )

    def _collected(self, under_way: Sequence[Batch]) -> Collected:
        waiting = BatchPoller(self._means, self._library, under_way)
        try:
            found = waiting.go()
        except KeyboardInterrupt:
            logger.warning("Stopping. %s", whereabouts(waiting.batches))
            raise
        if waiting.batches:
            raise BatchesPending(whereabouts(waiting.batches))
        self._answered = found.answered
        return found

    def _check_hope(self) -> None:
        """Stop where of many answers in the last wave none was usable."""
        new, last = self._missing.unusable - self._unusable, self._missing.last
        if last is not None and new >= self._answered >= HOPELESS:
            raise UnfilledSlot(despair(self._answered, *last))
