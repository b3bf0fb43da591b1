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
"""What batch APIs ask of the price, by Anthropic's and OpenAI's price lists."""
SUBMIT_SECONDS = 600.0
"""How long sending a batch may take, whatever the timeout of a call: it has up to 256 MB."""
MISSING = frozenset({404, 405, 501})
"""Statuses by which a server says that it does not have an endpoint."""
MOST_LISTED = 2_000
"""Batches of the provider that are looked through, at the most."""

Find = Callable[[str], "Request | None"]
Outcome = Response | ServingError
"""What became of one request: an answer, kept as any other, or an error: TransportError where it may be asked again."""
Results = AsyncGenerator["tuple[str, Outcome | None]", None]


class BatchesUnsupported(ServingError):
    """The server does not have an endpoint, or not this batch."""


class NotSubmitted(TransportError):
    """A passing fault before a batch was submitted: it is surely not there."""


@dataclass(frozen=True)
class BatchStatus:
    """A batch as its provider reports it.

    `name` is the name it was submitted under, where the provider keeps names. `requests` is their number and `done`
    how many are through, 0 where the provider does not say. `expires` is in seconds since 1970. `fault` is why the
    provider gave up the whole batch. `told` is the report itself.
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
    """A provider's batch API. There a request goes by its digest: a custom id takes 64 characters, and no colon."""

    most_requests: int
    most_bytes: int

    def entry(self, request: Request) -> bytes:
        """Return a request as one line, without its end, as it goes into a batch."""

    async def submit(self, name: str, model: str, entries: Path) -> BatchStatus:
        """Submit a file of entries, a line each, for one model.

        After a TransportError it may be there or not, unless it is NotSubmitted.
        """

    async def state(self, id: str) -> BatchStatus:
        """Return how a batch is getting on."""

    def recent(self) -> AsyncGenerator[BatchStatus, None]:
        """Yield the account's batches, the newest first, MOST_LISTED at the most."""

    def results(self, state: BatchStatus, find: Find) -> Results:
        """Yield what became of the requests of a batch that has ended, by digest, in any order.

        `find` gives the request of a digest; None stands for what became of one that it does not know.
        """


def read_line(peer: Peer, line: bytes) -> Mapping[str, Any]:
    """Return what a line of results says; one that cannot be read says nothing, of no request."""
    try:
        return read_object(peer, line, "a line of results")
    except TransportError:
        return {}


def refusal(peer: Peer, fault: Fault, model: str) -> ServingError:
    """Return the error for a refusal of something that is about a batch as a whole."""
    if fault.status in MISSING:
        return BatchesUnsupported(
            f"{peer.place} has no batch API, or not this batch: it answered {fault.status}: "
            f"{peer.quote(fault.message) or 'nothing more'}. Nothing is lost. Check base_url, or use driver='online'."
        )
    return peer.error(fault, model)
