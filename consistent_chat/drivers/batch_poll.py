"""Polls batches at growing intervals, and collects ended ones: stores answers, counts faults and refusals."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from consistent_chat.drivers.batch_client import BatchBudget, BatchClient, BatchClients, Undecided
from consistent_chat.drivers.batch_submit import SUBMITTING, RequestSpool
from consistent_chat.drivers.stats import RunStats
from consistent_chat.errors import OversizedAnswer, RefusedRequest, ServingError, TransportError
from consistent_chat.request import Request, Response
from consistent_chat.serving.batches import SUBMIT_SECONDS, BatchesUnsupported, BatchStatus
from consistent_chat.store import ResponseStore
from consistent_chat.store.batch_log import Batch, BatchLog, Requests

FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 2.0, 1.5, 60.0
"""Shortest and longest seconds between polls: small batches take minutes, large ones hours."""
LONGEST_ASKED = 600.0
"""Maximum seconds of a pause that a server requests."""
SILENCE = 6 * 3600.0
"""Seconds without any answer from the provider after which a run stops."""
SETTLE = 10.0
"""Seconds to keep searching for a batch that may just have been submitted."""
LIVES = 2 * SUBMIT_SECONDS + 60.0
"""Seconds after which a process on another machine has either submitted its batch or has stopped."""


@dataclass(frozen=True)
class BatchProgress:
    """The progress of a wave: its requests, the processed ones, and when its first batch expires.

    `expires` is in seconds since 1970, or None if unknown; `fault` is the reason why the last poll failed.
    """

    batches: int
    requests: int
    done: int
    expires: float | None
    fault: str


class BatchPoller:
    """Polls some batches. `batches` are those that are not collected yet."""

    def __init__(
        self,
        log: BatchLog,
        clients: BatchClients,
        budget: BatchBudget,
        spool: RequestSpool,
        collector: ResultCollector,
        batches: Sequence[Batch],
    ) -> None:
        self._log, self._clients, self._budget, self._spool = log, clients, budget, spool
        self._collector = collector
        self._found = Collected()
        self._total = sum(batch.requests for batch in batches)
        self._states: dict[str, BatchStatus] = {}
        self._sought: dict[str, float] = {}
        self._heard = time.monotonic()
        self._oversized: Counter[int] = Counter()
        self._fault: TransportError | None = None
        self.batches = list(batches)

    def wait(self, watch: Callable[[BatchProgress], None] | None) -> Collected:
        """Wait until all batches are collected, and return their results. Without `watch`, poll only once."""
        backoff = FIRST_PAUSE
        while True:
            self._poll_all()
            if not self.batches or watch is None:
                return self._found
            watch(self._progress())
            asked = self._fault.retry_after or 0.0 if self._fault else 0.0
            time.sleep(max(backoff, min(asked, LONGEST_ASKED)))
            backoff = min(backoff * GROWTH, LONGEST_PAUSE)

    def _poll_all(self) -> None:
        self._fault = None
        if any(batch.id is None for batch in self.batches):  # other runs may have updated their entries
            entries = {batch.number: batch for batch in self._log.read()}
            self.batches = [entries.get(batch.number, batch) for batch in self.batches]
        for batch in list(self.batches):
            try:
                looked = self._poll(batch)
                self._heard = time.monotonic()
            except TransportError as error:
                self._test(batch, error)
            else:
                self.batches = [other for other in self.batches if other.number != batch.number]
                self.batches += [looked] if looked.is_open else []
        self.batches.sort(key=lambda batch: batch.number)

    def _poll(self, batch: Batch) -> Batch:
        """Return the current entry of a batch."""
        if batch.id is None and batch.is_open:
            return self._search(batch)
        if batch.id is None or not batch.is_open:
            return self._closed(batch, batch.outcome or "")
        try:
            state = self._states[batch.name] = self._clients.of(batch).state(batch.id)
            return self._collected(batch, state) if state.ended else batch
        except BatchesUnsupported as error:
            raise ServingError(
                f"{error} If {batch} is lost, run `consistent-chat batches --forget {batch.number}`."
            ) from None

    def _collected(self, batch: Batch, state: BatchStatus) -> Batch:
        requests = self._spool.of(batch)
        found = self._collector.collect(batch, state, requests)
        closed = self._closed(batch, f"{state.status}: {found.answered:,} of {batch.requests:,} answered")
        self._found.answered += found.answered
        self._found.fault = found.fault or self._found.fault
        if found.final is not None:
            raise ServingError(f"{str(found.final).rstrip('.')}. Stopping; all answers are kept.") from found.final
        return closed

    def _search(self, batch: Batch) -> Batch:
        """Check whether an unconfirmed batch reached the provider."""
        if not (batch.is_own or batch.writer_is_gone or time.time() > batch.submitted + LIVES):
            return batch  # it is being submitted
        if batch.name in SUBMITTING:
            return batch
        client, place = self._clients.of(batch), (batch.serving, batch.role)
        known = {other.id for other in self._log.read() if other.id and (other.serving, other.role) == place}
        try:
            state = client.find(batch, self._spool.of(batch), known)
        except Undecided:
            return batch
        except BatchesUnsupported as error:
            raise ServingError(
                f"Cannot determine whether {batch} was submitted: {error} Check at the provider. If it was not, run "
                f"`consistent-chat batches --forget {batch.number}`."
            ) from None
        if state is not None:
            return self._log.confirm(batch, state.id)
        since = self._sought.setdefault(batch.name, time.monotonic())
        if time.monotonic() - since < SETTLE and time.time() < batch.submitted + LIVES:
            return batch
        self._found.fault = client.fault or self._found.fault
        return self._closed(batch, "never submitted")

    def _closed(self, batch: Batch, outcome: str) -> Batch:
        if batch.is_open:
            batch = self._log.close(batch, outcome)
        self._budget.release_batch(batch)
        self._spool.drop(batch)
        return batch

    def _test(self, batch: Batch, error: TransportError) -> None:
        self._fault = error
        said = str(error).rstrip(".")
        self._oversized[batch.number] += isinstance(error, OversizedAnswer)
        if self._oversized[batch.number] >= READINGS:
            raise ServingError(
                f"{said}. The rest of the results of {batch} cannot be read; what was read is kept. To request the "
                f"rest again, run `consistent-chat batches --forget {batch.number}`."
            ) from error
        if time.monotonic() - self._heard > SILENCE:
            raise ServingError(
                f"{said}. No response from the provider for 6 hours; stopping. {open_batches_message(self.batches)}"
            ) from error

    def _progress(self) -> BatchProgress:
        open_states = [self._states[batch.name] for batch in self.batches if batch.name in self._states]
        left = sum(batch.requests for batch in self.batches)
        return BatchProgress(
            batches=len(self.batches),
            requests=self._total,
            done=self._total - left + sum(min(state.done, state.requests) for state in open_states),
            expires=min((state.expires for state in open_states if state.expires), default=None),
            fault=str(self._fault or ""),
        )


def open_batches_message(batches: Sequence[Batch]) -> str:
    """Return a message about batches that are not collected yet."""
    return (
        f"Still open at the provider: {', '.join(map(str, batches))}. Rerun the same command to collect the answers; "
        "nothing is submitted twice. `consistent-chat batches` shows the progress."
    )


MOST_REFUSALS = 3
"""Refusals of one request, while others are answered, after which a run stops."""
READINGS = 3
"""Maximum reads of results that do not contain every request."""


@dataclass
class Collected:
    """The results of batches: the number of answers, the last error of a request, and an error that ends the run.

    `covered` is the number of requests in the results.
    """

    covered: int = 0
    answered: int = 0
    fault: ServingError | None = None
    final: ServingError | None = None


class ResultCollector:
    """Stores the answers of batches, and counts those that were not in the store before."""

    def __init__(self, store: ResponseStore, clients: BatchClients, budget: BatchBudget, stats: RunStats) -> None:
        self._store, self._clients, self._budget, self._stats = store, clients, budget, stats
        self._read: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._paid: set[tuple[str, str]] = set()

    def collect(self, batch: Batch, state: BatchStatus, requests: Requests) -> Collected:
        """Store the answers of an ended batch.

        If some cannot be read, raises TransportError; then collect it again in full.
        """
        self._store.reread()
        client = self._clients.of(batch)
        found = client.run(self._collect(client, state, requests))
        if found.covered < len(requests) and state.fault is None:
            self._test_again(batch, len(requests) - found.covered)
        if isinstance(found.fault, RefusedRequest) and not (found.answered or self._stats.calls):
            found.final = found.final or found.fault
        self._store.pack()  # before the batch is logged as closed, so that other runs find its answers
        if state.fault is not None:
            found.fault = ServingError(f"The provider failed to process {batch}: {state.fault}")
        return found

    async def _collect(self, client: BatchClient, state: BatchStatus, requests: Requests) -> Collected:
        found = Collected()
        async with contextlib.aclosing(client.batches.results(state, requests.find)) as results:
            async for digest, outcome in results:
                request = requests.find(digest)
                if request is None:
                    continue
                found.covered += 1
                if isinstance(outcome, Response):
                    found.answered += 1
                    self._keep(request, outcome)
                elif outcome is not None:
                    self._pay(state, request, outcome)
                    self._note(digest, outcome, found)
        return found

    def _test_again(self, batch: Batch, lacking: int) -> None:
        """Raise TransportError if results may be truncated, since missing ones would be paid for again."""
        self._read[batch.name] += 1
        if self._read[batch.name] < READINGS:
            raise TransportError(f"The results of {batch} lack {lacking:,} of its requests.")

    def _keep(self, request: Request, response: Response) -> None:
        if self._store.find(request) is None:
            response = self._store.keep(request, response)
            taken = self._budget.record(request, response)
            self._stats.called(response, taken, partial(self._budget.price, request.model))

    def _pay(self, state: BatchStatus, request: Request, error: ServingError) -> None:
        """Count the tokens of a faulty result, once even if the results are read again."""
        faulty = error.billed
        if isinstance(faulty, Response) and (state.id, request.digest) not in self._paid:
            self._paid.add((state.id, request.digest))
            taken = self._budget.record(request, faulty, calls=0)
            self._stats.paid(faulty, taken, partial(self._budget.price, request.model))

    def _note(self, digest: str, error: ServingError, found: Collected) -> None:
        found.fault = error
        if isinstance(error, RefusedRequest | TransportError):
            self._stats.retried(error)
        if isinstance(error, RefusedRequest):
            self._refusals[digest] += 1
            if self._refusals[digest] >= MOST_REFUSALS:
                found.final = error
        elif not isinstance(error, TransportError):
            found.final = error
