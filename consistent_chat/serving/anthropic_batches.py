"""Anthropic's Message Batches API. Requests and answers have the format of anthropic_messages.py."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from consistent_chat.errors import ServingError, TransportError
from consistent_chat.request import Request, json_line
from consistent_chat.serving.anthropic_messages import Form, headers, read_message
from consistent_chat.serving.batches import (
    MOST_LISTED,
    SUBMIT_SECONDS,
    BatchStatus,
    Find,
    Outcome,
    Results,
    read_line,
    refusal,
)
from consistent_chat.serving.http import Fault, broken, count
from consistent_chat.serving.negotiate import Negotiator, Simpler
from consistent_chat.serving.wire import Wire

PATH = "/v1/messages/batches"
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""HTTP statuses of the API's error types, which a batch reports without a status."""


HEAD, TAIL, PIECE = b'{"requests":[', b"]}", 2**20
"""The text around the entries of a submission, and the number of bytes that are sent at a time."""


class AnthropicBatches:
    """A BatchServing. The limits and types of results are those of Anthropic's guide to batch processing."""

    most_requests = 100_000
    most_bytes = 256_000_000

    def __init__(
        self, wire: Wire, negotiator: Negotiator[Form], body: Callable[[Request], Any], simpler: Simpler[Form]
    ) -> None:
        self._wire, self._negotiator, self._body, self._simpler = wire, negotiator, body, simpler
        self._forms: dict[str, Form] = {}  # the form in which each batch was submitted

    def entry(self, request: Request) -> bytes:
        """Return a request as one line of JSON."""
        entry = {"custom_id": request.digest, "params": self._body(request)}
        return json_line(entry)

    async def submit(self, name: str, model: str, entries: Path) -> BatchStatus:
        """Submit a batch. The API stores no name for it."""
        form = self._negotiator.about(model).form
        with self._refusing(model):
            length = {"content-length": str(_length(entries))}
            told = await self._wire.post(PATH, SUBMIT_SECONDS, {**headers(form), **length}, content=_body(entries))
        state = self._state(told)
        self._forms[state.id] = form
        return state

    async def state(self, id: str) -> BatchStatus:
        """Return the state of a batch."""
        with self._refusing():
            return self._state(await self._wire.get(f"{PATH}/{id}"))

    async def recent(self) -> AsyncGenerator[BatchStatus, None]:
        """Yield the workspace's batches, the newest first."""
        with self._refusing():
            async with contextlib.aclosing(self._wire.listed(PATH, "after_id", MOST_LISTED)) as batches:
                async for told in batches:
                    yield self._state(told)

    async def results(self, state: BatchStatus, find: Find) -> Results:
        """Yield the outcomes of the requests. A batch whose results are archived or deleted has none."""
        if state.told.get("archived_at"):
            return
        with self._refusing():
            async with contextlib.aclosing(self._wire.lines(self._address(state))) as lines:
                async for line in lines:
                    if line.strip():
                        told = read_line(self._wire.peer, line)
                        id = str(told.get("custom_id"))
                        request = find(id)
                        yield id, None if request is None else self._outcome(state.id, request, told.get("result"))

    def _outcome(self, batch: str, request: Request, result: Any) -> Outcome:
        result = result if isinstance(result, dict) else {}
        message, kind = result.get("message"), result.get("type")
        try:
            if kind == "succeeded" and isinstance(message, dict):
                return read_message(self._wire.peer, message)
            if kind == "errored":
                raise _fault(result.get("error"))
        except Fault as fault:
            form = self._forms.setdefault(batch, self._negotiator.about(request.model).form)
            return self._negotiator.read(request, form, fault, self._simpler)
        except ServingError as error:
            return error
        return TransportError(f"A request of batch {batch} was not answered: {kind or 'no result'}.")

    def _state(self, told: Mapping[str, Any]) -> BatchStatus:
        id, status = told.get("id"), told.get("processing_status")
        if not isinstance(id, str) or not isinstance(status, str):
            raise broken(self._wire.peer, told, "id and processing_status")
        given = told.get("request_counts")
        counts = {name: count(value) or 0 for name, value in (given if isinstance(given, dict) else {}).items()}
        total = sum(counts.values())
        done = total - counts.get("processing", 0)
        return BatchStatus(
            id, status, status == "ended", total, done, expires=_seconds(told.get("expires_at")), told=told
        )

    def _address(self, state: BatchStatus) -> str:
        """Return the address of the results as the API reports it, but on the host that our key belongs to."""
        usual = f"{PATH}/{state.id}/results"
        own = urlsplit(str(self._wire.opened().base_url))
        told = urlsplit(str(state.told.get("results_url") or usual))
        if told[:2] not in (own[:2], ("", "")) and told.path.endswith(usual):
            return usual  # behind a gateway, which may add a path
        return urlunsplit((*own[:2], *told[2:]))

    @contextlib.contextmanager
    def _refusing(self, model: str = "of the batch") -> Iterator[None]:
        try:
            yield
        except Fault as fault:
            raise refusal(self._wire.peer, fault, model) from None


async def _body(entries: Path) -> AsyncGenerator[bytes, None]:
    """Yield the body of a submission in pieces: it can have 256 MB."""
    yield HEAD
    with entries.open("rb") as file:
        while piece := file.read(PIECE):
            at_end = file.tell() == entries.stat().st_size
            yield (piece[:-1] if at_end else piece).replace(b"\n", b",")
    yield TAIL


def _length(entries: Path) -> int:
    """Return the length of the body in bytes; the last entry's line end is left out."""
    return len(HEAD) + entries.stat().st_size - 1 + len(TAIL)


def _fault(told: Any) -> Fault:
    """Return the error in a result; it may be wrapped like the API's other errors."""
    error = told.get("error", told) if isinstance(told, dict) else {}
    error = error if isinstance(error, dict) else {}
    kind, message = error.get("type"), error.get("message")
    return Fault(STATUSES.get(str(kind), 500), str(message or kind or ""), None, code=kind)


def _seconds(time: Any) -> float | None:
    """Return an RFC 3339 time in seconds since 1970."""
    try:
        return datetime.fromisoformat(str(time).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
