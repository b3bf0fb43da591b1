"""Collects the results of batches: keeps answers, counts faults and refusals."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass

from consistent_chat.drivers.batch_budget import BatchBudget
from consistent_chat.drivers.batch_client import BatchClient, BatchClients
from consistent_chat.drivers.stats import RunStats
from consistent_chat.errors import RefusedRequest, ServingError, TransportError
from consistent_chat.request import Request, Response
from consistent_chat.serving.batches import BatchStatus
from consistent_chat.store import ResponseStore
from consistent_chat.store.batch_log import Batch, Requests

MOST_REFUSALS = 3
"""Refusals of one request, while others are answered, after which a run stops."""
READINGS = 3
"""Maximum reads of results that do not contain every request."""


@dataclass
class Collected:
    """The results of batches: the number of answers, the last error of one request, and an error that ends the run.

    `covered` is the number of requests in the results.
    """

    covered: int = 0
    answered: int = 0
    fault: ServingError | None = None
    final: ServingError | None = None


class ResultCollector:
    """Keeps the answers of batches, and counts them. Only answers that the store lacks are new."""

    def __init__(self, store: ResponseStore, clients: BatchClients, budget: BatchBudget, tally: RunStats) -> None:
        self._store, self._clients, self._budget, self._tally = store, clients, budget, tally
        self._read: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()

    def collect(self, batch: Batch, state: BatchStatus, requests: Requests) -> Collected:
        """Keep the answers of an ended batch.

        Raises TransportError if not all could be read: then collect again from the start.
        """
        self._store.reread()
        client = self._clients.of(batch)
        found = client.run(self._collect(client, state, requests))
        if found.covered < len(requests) and state.fault is None:
            self._test_again(batch, len(requests) - found.covered)
        if isinstance(found.fault, RefusedRequest) and not (found.answered or self._tally.calls):
            found.final = found.final or found.fault
        self._store.pack()  # so that a run that finds the batch closed also finds its answers
        if state.fault is not None:
            found.fault = ServingError(f"The provider has given up {batch}: {state.fault}")
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
                    self._note(digest, outcome, found)
        return found

    def _test_again(self, batch: Batch, lacking: int) -> None:
        """Raise TransportError if results may be truncated: missing ones would be paid for again."""
        self._read[batch.name] += 1
        if self._read[batch.name] < READINGS:
            raise TransportError(f"The results of {batch} lack {lacking:,} of its requests.")

    def _keep(self, request: Request, response: Response) -> None:
        if self._store.find(request) is None:
            response = self._store.keep(request, response)
            self._budget.record(request, response)
            self._tally.called(response, self._budget.price(request.model))

    def _note(self, digest: str, error: ServingError, found: Collected) -> None:
        found.fault = error
        if isinstance(error, RefusedRequest | TransportError):
            self._tally.retried(error)
        if isinstance(error, RefusedRequest):
            self._refusals[digest] += 1
            if self._refusals[digest] >= MOST_REFUSALS:
                found.final = error
        elif not isinstance(error, TransportError):
            found.final = error
