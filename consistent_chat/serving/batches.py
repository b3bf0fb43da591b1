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
"""Maximum seconds to send a batch, regardless of the timeout of calls: a batch has up to 256 MB."""
MISSING = frozenset({404, 405, 501})
"""Statuses that mean that a server does not have an endpoint."""
MOST_LISTED = 2_000
"""Maximum number of batches that are listed."""

Find = Callable[[str], "Request | None"]
Outcome = Response | ServingError
"""The outcome of one request: an answer, kept like any other, or an error; TransportError if it may be sent again."""
Results = AsyncGenerator["tuple[str, Outcome | None]", None]


class BatchesUnsupported(ServingError):
    """The server does not have the endpoint or this batch; `status` is the status of its answer."""

    status = 0


class NotSubmitted(TransportError):
    """A temporary fault before a batch was submitted, so the provider certainly does not have the batch."""


@dataclass(frozen=True)
class BatchStatus:
    """A batch as its provider reports it.

    `name` is the name it was submitted under, if the provider keeps names. `requests` is their number and `done` how
    many are processed, 0 if the provider does not say. `expires` is in seconds since 1970. `fault` is the provider's
    reason for the failure of the whole batch. `told` is the provider's report.
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
    """A provider's batch API.

    Requests are identified by digest, because a custom id may have 64 characters and no colon.
    """

    most_requests: int
    most_bytes: int

    def entry(self, request: Request) -> bytes:
        """Return a request as one line of a batch, without a line end."""

    async def submit(self, name: str, model: str, entries: Path) -> BatchStatus:
        """Submit a file of entries, one per line, for one model.

        After a TransportError the batch may or may not exist; after NotSubmitted it does not.
        """

    async def state(self, id: str) -> BatchStatus:
        """Return the state of a batch."""

    def recent(self) -> AsyncGenerator[BatchStatus, None]:
        """Yield the account's batches, newest first, at most MOST_LISTED."""

    def results(self, state: BatchStatus, find: Find) -> Results:
        """Yield the outcomes of the requests of an ended batch, by digest, in any order.

        `find` returns the request with a digest; the outcome of an unknown request is None.
        """


def read_line(peer: Peer, line: bytes) -> Mapping[str, Any]:
    """Return a request's digest and its outcome from a line of results; both are empty for an unreadable line."""
    try:
        return read_object(peer, line, "a line of results")
    except TransportError:
        return {}


def refusal(peer: Peer, fault: Fault, model: str) -> ServingError:
    """Return the error for a refusal that concerns a whole batch."""
    if fault.status in MISSING:
        error = BatchesUnsupported(
            f"{peer.place} has no batch API or does not know this batch: it answered {fault.status}: "
            f"{peer.quote(fault.message) or 'nothing more'}. Nothing is lost. Check base_url, or use driver='online'."
        )
        error.status = fault.status
        return error
    return peer.error(fault, model)
