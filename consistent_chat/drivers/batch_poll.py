"""Waits for batches, looks politely how they are getting on, and collects what has ended."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from consistent_chat.drivers.batch_client import SUBMITTING, BatchContext, BatchProgress, RequestSpool, Undecided
from consistent_chat.errors import RefusedRequest, ServingError, TransportError
from consistent_chat.request import Request, Response
from consistent_chat.serving.batches import SUBMIT_SECONDS, BatchesUnsupported, BatchStatus
from consistent_chat.store.batch_log import Batch, Requests

FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 2.0, 1.5, 60.0
"""Seconds between looks, which grow: small batches take minutes, large ones hours."""
LONGEST_ASKED = 600.0
"""Seconds of a pause that a server asks for, at the most."""
SILENCE = 6 * 3600.0
"""Seconds without any answer of the provider, after which a run stops."""
SETTLE = 10.0
"""Seconds for which a batch that may have been submitted a moment ago is looked for."""
LIVES = 2 * SUBMIT_SECONDS + 60.0
"""Seconds after which a writer on another machine has either submitted its batch or never will."""


class BatchPoller:
    """Waits for some batches. `batches` are those that are not collected yet."""

    def __init__(self, means: BatchContext, library: RequestSpool, batches: Sequence[Batch]) -> None:
        self._means, self._library = means, library
        self._collector = ResultCollector(means)
        self._found = Collected()
        self._total = sum(batch.requests for batch in batches)
        self._states: dict[str, BatchStatus] = {}
        self._sought: dict[str, float] = {}
        self._heard = time.monotonic()
        self._fault: TransportError | None = None
        self.batches = list(batches)

    def go(self) -> Collected:
        """Return what the batches have brought when all are collected; look only once where `means` does not wait."""
        backoff = FIRST_PAUSE
        while True:
            self._look_at_all()
            if not self.batches or not self._means.waits:
                return self._found
            self._means.watch(self._progress())
            asked = self._fault.retry_after or 0.0 if self._fault else 0.0
            time.sleep(max(backoff, min(asked, LONGEST_ASKED)))
            backoff = min(backoff * GROWTH, LONGEST_PAUSE)

    def _look_at_all(self) -> None:
        self._fault = None
        if any(batch.id is None for batch in self.batches):  # others may know more of them
            entries = {batch.number: batch for batch in self._means.log.read()}
            self.batches = [entries.get(batch.number, batch) for batch in self.batches]
        for batch in list(self.batches):
            try:
                looked = self._look(batch)
                self._heard = time.monotonic()
            except TransportError as error:
                self._test(batch, error)
            else:
                self.batches = [other for other in self.batches if other.number != batch.number]
                self.batches += [looked] if looked.is_open else []
        self.batches.sort(key=lambda batch: batch.number)

    def _look(self, batch: Batch) -> Batch:
        """Return what is now known of a batch."""
        if batch.id is None and batch.is_open:
            return self._sought_after(batch)
        if batch.id is None or not batch.is_open:
            return self._closed(batch, batch.outcome or "")
        try:
            state = self._states[batch.id] = self._means.desk.state(batch.id)
            return self._collected(batch, state) if state.ended else batch
        except BatchesUnsupported as error:
            raise ServingError(
                f"{error} If {batch} is lost: consistent-chat batches --forget {batch.number}."
            ) from None

    def _collected(self, batch: Batch, state: BatchStatus) -> Batch:
        requests = self._library.of(batch)
        found = self._collector.collect(batch, state, requests)
        self._means.store.pack()  # so that whoever finds the batch closed finds its answers too
        closed = self._closed(batch, f"{state.status}: {found.answered:,} of {batch.requests:,} answered")
        self._found.answered += found.answered
        self._found.fault = found.fault or self._found.fault
        if found.final is not None:
            raise ServingError(f"{str(found.final).rstrip('.')}. The run stops; all answers are kept.") from found.final
        return closed

    def _sought_after(self, batch: Batch) -> Batch:
        """Find out whether a batch arrived whose submission was not confirmed."""
        if not (batch.is_own or batch.writer_is_gone or time.time() > batch.submitted + LIVES):
            return batch  # it is being submitted
        if batch.name in SUBMITTING:
            return batch
        known = {other.id for other in self._means.log.read() if other.id is not None}
        try:
            state = self._means.desk.find(batch, self._library.of(batch), known)
        except Undecided:
            return batch
        except BatchesUnsupported as error:
            raise ServingError(
                f"Whether {batch} was submitted cannot be found out: {error} Look there. If it was not, run "
                f"consistent-chat batches --forget {batch.number}."
            ) from None
        if state is not None:
            return self._means.log.confirm(batch, state.id)
        since = self._sought.setdefault(batch.name, time.monotonic())
        if time.monotonic() - since < SETTLE and time.time() < batch.submitted + LIVES:
            return batch
        self._found.fault = self._means.desk.fault or self._found.fault
        return self._closed(batch, "never submitted")

    def _closed(self, batch: Batch, outcome: str) -> Batch:
        if batch.is_open:
            batch = self._means.log.close(batch, outcome)
        self._means.release(batch)
        self._library.drop(batch)
        return batch

    def _test(self, batch: Batch, error: TransportError) -> None:
        self._fault = error
        if time.monotonic() - self._heard > SILENCE:
            said = str(error).rstrip(".")
            raise ServingError(
                f"{said}. So it was for hours, and the run stops. {whereabouts(self.batches)}"
            ) from error

    def _progress(self) -> BatchProgress:
        open_states = [self._states[batch.id] for batch in self.batches if batch.id in self._states]
        left = sum(batch.requests for batch in self.batches)
        return BatchProgress(
            batches=len(self.batches),
            requests=self._total,
            done=self._total - left + sum(min(state.done, state.requests) for state in open_states),
            expires=min((state.expires for state in open_states if state.expires), default=None),
            fault=str(self._fault or ""),
        )


def whereabouts(batches: Sequence[Batch]) -> str:
    """Say where batches are that are not collected yet."""
    return (
        f"This goes on at the provider: {', '.join(map(str, batches))}. Run the same again to collect it: nothing is "
        "submitted twice. `consistent-chat batches` tells how it is getting on."
    )


MOST_REFUSALS = 3
"""Times that one request is refused while others are answered, after which a run stops."""

READINGS = 3
"""Times that results are read which do not tell of every request."""


@dataclass
class Collected:
    """What batches have brought: answers, the last error of a request that has none, and one that ends the run.

    `told` is of how many requests the results tell.
    """

    told: int = 0
    answered: int = 0
    fault: ServingError | None = None
    final: ServingError | None = None


class ResultCollector:
    """Keeps what batches have answered, and counts it. Only what the store lacks is new."""

    def __init__(self, means: BatchContext) -> None:
        self._means = means
        self._read: Counter[str] = Counter()

    def collect(self, batch: Batch, state: BatchStatus, requests: Requests) -> Collected:
        """Keep the answers of a batch that has ended.

        Raises TransportError where they could not all be read: then again from the start.
        """
        self._means.store.reread()
        found = self._means.desk.run(self._collect(state, requests))
        if found.told < len(requests) and state.fault is None:
            self._test_again(batch, len(requests) - found.told)
        if isinstance(found.fault, RefusedRequest) and not (found.answered or self._means.tally.calls):
            found.final = found.final or found.fault
        if state.fault is not None:
            found.fault = ServingError(f"The provider has given up {batch}: {state.fault}")
        return found

    async def _collect(self, state: BatchStatus, requests: Requests) -> Collected:
        found = Collected()
        async with contextlib.aclosing(self._means.desk.batches.results(state, requests.find)) as results:
            async for digest, outcome in results:
                request = requests.find(digest)
                if request is None:
                    continue
                found.told += 1
                if isinstance(outcome, Response):
                    found.answered += 1
                    self._keep(request, outcome)
                elif outcome is not None:
                    self._note(digest, outcome, found)
        return found

    def _test_again(self, batch: Batch, lacking: int) -> None:
        """Raise TransportError where results may have been cut on the way: what they lack would be paid for again."""
        self._read[batch.name] += 1
        if self._read[batch.name] < READINGS:
            raise TransportError(f"The results of {batch} lack {lacking:,} of its requests.")

    def _keep(self, request: Request, response: Response) -> None:
        means = self._means
        if means.store.find(request) is None:
            response = means.store.keep(request, response)
            means.budget.record(request, response)
            means.tally.called(response, means.budget.price(request.model))

    def _note(self, digest: str, error: ServingError, found: Collected) -> None:
        found.fault = error
        if isinstance(error, RefusedRequest | TransportError):
            self._means.tally.retried(error)
        if isinstance(error, RefusedRequest):
            self._means.refusals[digest] += 1
            if self._means.refusals[digest] >= MOST_REFUSALS:
                found.final = error
        elif not isinstance(error, TransportError):
            found.final = error
