"""The batch driver: fills a store through a provider's batch API, wave by wave.

A wave contains the next request of every dialogue: stage one of all of them, then stage two, then redraws of unusable
responses. The store's log records each batch before it is submitted, so that any run on any machine can take it over.
This driver makes no rows: a replay does so when no response is missing.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from consistent_chat.drivers.batch_client import BatchBudget, BatchClients, Open
from consistent_chat.drivers.batch_poll import (
    BatchPoller,
    BatchProgress,
    Collected,
    ResultCollector,
    open_batches_message,
)
from consistent_chat.drivers.batch_submit import BatchSubmission, LogConflict, RequestSpool
from consistent_chat.drivers.budget import Usage
from consistent_chat.drivers.limits import Limits
from consistent_chat.drivers.replay import PendingRequests
from consistent_chat.drivers.retry import HOPELESS, unusable_message
from consistent_chat.drivers.stats import RunStats
from consistent_chat.errors import BatchesPending, BudgetSpent, ServingError, StoreError, UnfilledSlot
from consistent_chat.retry import retry
from consistent_chat.store import ResponseStore
from consistent_chat.store.batch_log import Batch, BatchLog
from consistent_chat.store.location import NotFound

logger = logging.getLogger(__name__)

FRUITLESS = 5
"""Number of consecutive waves without answers after which a run stops."""
LOOKS = 50
"""Maximum attempts to start a wave while other runs write to the log."""


@dataclass(frozen=True)
class BatchOptions:
    """Options for filling a store with the responses of batches.

    `serving` is the serving's name in the log, or the names of those by role. `submits` says whether batches may be
    submitted, or only open ones collected; `waits`, whether to wait for them. `watch` is called with the progress.
    """

    serving: str | Mapping[str, str]
    submits: bool = True
    waits: bool = True
    watch: Callable[[BatchProgress], None] = lambda progress: None


def fill(
    missing: PendingRequests,
    store: ResponseStore,
    log: BatchLog,
    open_serving: Open | Mapping[str, Open],
    limits: Limits,
    stats: RunStats,
    spent: Usage,
    options: BatchOptions,
) -> None:
    """Fill the store with missing responses; if the options forbid submissions, only with those of open batches.

    Raises BatchesPending if it would have to wait and the options forbid that, BudgetSpent if the budget is used up,
    ServingError or UnfilledSlot if continuing makes no sense, and StoreError.
    """
    with tempfile.TemporaryDirectory(prefix="consistent_chat-") as folder, ExitStack() as closing:
        closing.callback(stats.settle)
        closing.callback(store.close)
        clients = BatchClients(options.serving, open_serving, _prepare(store, log))
        budget = BatchBudget(limits, spent)
        closing.callback(clients.close)
        closing.callback(budget.close)
        spool = RequestSpool(log, Path(folder))
        closing.callback(spool.close)
        _Driver(missing, store, log, clients, budget, spool, stats, options).run()


def _prepare(store: ResponseStore, log: BatchLog) -> Callable[[], None]:
    """Return a function that prepares store and log, before any call is paid for."""

    def prepare() -> None:
        store.prepare()
        log.prepare()

    return prepare


class _Driver:
    def __init__(
        self,
        missing: PendingRequests,
        store: ResponseStore,
        log: BatchLog,
        clients: BatchClients,
        budget: BatchBudget,
        spool: RequestSpool,
        stats: RunStats,
        options: BatchOptions,
    ) -> None:
        self._missing, self._store, self._log, self._options = missing, store, log, options
        self._clients, self._budget, self._spool = clients, budget, spool
        self._collector = ResultCollector(store, clients, budget, stats)
        self._answered, self._unusable = 0, 0
        self._over: BudgetSpent | None = None

    def run(self) -> None:
        """Submit and collect batches until no more requests are missing or allowed."""
        fruitless = 0
        while under_way := self._submitted():
            last = self._collected(under_way)
            fruitless = 0 if last.answered else fruitless + 1
            if fruitless == FRUITLESS:
                why = last.fault or "Their results did not contain any of the requests."
                raise ServingError(f"Stopping: {FRUITLESS} waves of batches returned no answer. {why}")
            if self._over is not None:
                break
        if self._over is not None:
            raise self._over

    def _submitted(self) -> Sequence[Batch]:
        """Return the batches with the missing requests, after submitting those that were not in a batch."""
        self._unusable = self._missing.unusable
        try:
            wave = retry(self._wave, (LogConflict, NotFound), [0.0] * (LOOKS - 1))
        except (LogConflict, NotFound):
            raise StoreError(
                "The store's batches keep changing, or the file with a batch's requests is missing "
                "(batches/*.jsonl.gz). List the batches with `consistent-chat batches`, and give up lost ones with "
                "--forget."
            ) from None
        self._over = self._over or wave.over
        if wave.new and not self._options.waits:
            count = sum(batch.requests for batch in wave.new)
            raise BatchesPending(f"{count:,} requests are submitted. {open_batches_message(wave.under_way)}")
        return wave.under_way

    def _wave(self) -> BatchSubmission:
        wave = self._submission()
        wave.submit(self._missing, self._check_usable, self._options.submits)
        return wave

    def _submission(self) -> BatchSubmission:
        return BatchSubmission(self._store, self._log, self._clients, self._budget, self._spool)

    def _collected(self, under_way: Sequence[Batch]) -> Collected:
        waiting = BatchPoller(self._log, self._clients, self._budget, self._spool, self._collector, under_way)
        try:
            found = waiting.wait(self._options.watch if self._options.waits else None)
        except KeyboardInterrupt:
            logger.warning("Stopping. %s", open_batches_message(waiting.batches))
            raise
        if waiting.batches:
            raise BatchesPending(open_batches_message(waiting.batches))
        self._answered = found.answered
        return found

    def _check_usable(self) -> None:
        """Raise UnfilledSlot if the last wave had many responses and all were unusable."""
        new, last = self._missing.unusable - self._unusable, self._missing.last
        if last is not None and new >= self._answered >= HOPELESS:
            raise UnfilledSlot(unusable_message(self._answered, *last))
