"""Batch APIs: thousands of requests at once, answered within a day, at half the price.

A serving that has one has an attribute `batches`, which is a BatchServing. Its coroutines are used from the event loop
in which the serving is closed. They raise TransportError and ServingError as `answer` does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from consistent_chat.errors import ServingError, TransportError
from consistent_chat.request import Request, Response
from consistent_chat.serving.http import Fault, Peer, read_object

DISCOUNT = 0.5
"""The factor of batch prices, by Anthropic's and OpenAI's price lists."""
SUBMIT_SECONDS = 600.0
"""Seconds that sending a batch may take, whatever the timeout of a call: it has up to 256 MB."""
MISSING = frozenset({404, 405, 501})
"""Statuses by which a server says that it does not have an endpoint."""
MOST_LISTED = 2_000
"""Maximum number of the provider's batches that are listed."""

Find = Callable[[str], "Request | None"]
Outcome = Response | ServingError
"""The outcome of one request: an answer, kept like any other, or an error; TransportError if it may be sent again."""
Results = AsyncGenerator["tuple[str, Outcome | None]", None]


class BatchesUnsupported(ServingError):
    """The server does not have the endpoint, or not this batch: it answered with this status."""

    status = 0


class NotSubmitted(TransportError):
    """A temporary fault before a batch was submitted: the provider certainly does not have it."""


@dataclass(frozen=True)
class BatchStatus:
    """A batch as its provider reports it.

    `name` is the name it was submitted under, if the provider keeps names. `requests` is their number and `done`
    how many are processed, 0 if the provider does not say. `expires` is in seconds since 1970. `fault` is the
    provider's reason for giving up the whole batch. `told` is the report itself.
    """

    id: str
    status: str
    ended: bool
    requests: int = 0
    done: int = 0
    name: str | None = None
    expires: float | None = None
    fault: str | None = None
    told: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


class BatchServing(Protocol):
    """A provider's batch API. Requests are identified by digest: a custom id allows 64 characters and no colon."""

    most_requests: int
    most_bytes: int

    def entry(self, request: Request) -> bytes:
        """Return a request as one line of a batch, without a line end."""

    async def submit(self, name: str, model: str, entries: Path) -> BatchStatus:
        """Submit a file of entries, one per line, for one model.

        After a TransportError the batch may exist or not, unless it is NotSubmitted.
        """

    async def state(self, id: str) -> BatchStatus:
        """Return the state of a batch."""

    def recent(self) -> AsyncGenerator[BatchStatus, None]:
        """Yield the account's batches, newest first, at most MOST_LISTED."""

    def results(self, state: BatchStatus, find: Find) -> Results:
        """Yield the outcomes of the requests of an ended batch, by digest, in any order.

        `find` returns the request of a digest; the outcome of an unknown one is None.
        """


def read_line(peer: Peer, line: bytes) -> Mapping[str, Any]:
    """Return the request's digest and outcome from a line of results; empty for a line that cannot be read."""
    try:
        return read_object(peer, line, "a line of results")
    except TransportError:
        return {}


def refusal(peer: Peer, fault: Fault, model: str) -> ServingError:
    """Return the error for a refusal that concerns a whole batch."""
    if fault.status in MISSING:
        error = BatchesUnsupported(
            f"{peer.place} has no batch API, or not this batch: it answered {fault.status}: "
            f"{peer.quote(fault.message) or 'nothing more'}. Nothing is lost. Check base_url, or use driver='online'."
        )
        error.status = fault.status
        return error
    return peer.error(fault, model)
