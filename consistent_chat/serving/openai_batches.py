"""OpenAI's batch API, also of servers that offer the same endpoints for files and batches.

Requests and answers have the format of openai.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from consistent_chat.errors import ServingError, TransportError
from consistent_chat.request import Request, json_line
from consistent_chat.serving.batches import (
    MOST_LISTED,
    SUBMIT_SECONDS,
    BatchStatus,
    Find,
    NotSubmitted,
    Outcome,
    Results,
    read_line,
    refusal,
)
from consistent_chat.serving.http import Fault, broken, count, fault_of
from consistent_chat.serving.negotiate import Negotiator
from consistent_chat.serving.openai_chat import Form, arguments, read_completion, simpler
from consistent_chat.serving.wire import Wire, exchange

ENDPOINT = "/v1/chat/completions"
NAME = "consistent_chat"
"""The metadata field with the name that a batch was submitted under."""
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
UNANSWERED = frozenset({"batch_expired", "batch_cancelled"})
"""Error codes of requests that were not processed before the batch ended."""


class OpenAIBatches:
    """A BatchServing. The limits, states and results are those of OpenAI's batch API reference."""

    most_requests = 50_000
    most_bytes = 200_000_000

    def __init__(self, wire: Wire, negotiator: Negotiator[Form]) -> None:
        self._wire, self._negotiator = wire, negotiator
        self._simpler = partial(simpler, wire.peer)
        self._forms: dict[str, Form] = {}  # the form in which each batch was submitted

    def entry(self, request: Request) -> bytes:
        """Return a request as one line of JSON."""
        body = arguments(request, self._negotiator.about(request.model).form)
        entry = {"custom_id": request.digest, "method": "POST", "url": ENDPOINT, "body": body}
        return json_line(entry)

    async def submit(self, name: str, model: str, entries: Path) -> BatchStatus:
        """Upload a file of entries and create a batch from it, with the name in its metadata."""
        form = self._negotiator.about(model).form
        with self._refusing(model):
            try:
                file = await self._upload(f"{NAME}-{name}.jsonl", entries)
            except (TransportError, Fault) as error:
                raise self._not_submitted(error, model) from None
            told = await self._wire.post("/batches", body=_order(file, name))
        state = self._state(told)
        self._forms[state.id] = form
        return state

    async def _upload(self, name: str, entries: Path) -> str:
        """Upload a file without holding it in memory, and return its id."""
        wire = self._wire
        create = wire.opened().files.with_raw_response.create
        with entries.open("rb") as file:
            sending = create(file=(name, file), purpose="batch", timeout=SUBMIT_SECONDS)
            told = await exchange(wire.sdk, wire.peer, sending, SUBMIT_SECONDS)
        if not isinstance(told.get("id"), str):
            raise broken(wire.peer, told, "id")
        return str(told["id"])

    def _not_submitted(self, error: TransportError | Fault, model: str) -> ServingError:
        known = refusal(self._wire.peer, error, model) if isinstance(error, Fault) else error
        if isinstance(known, TransportError):
            return NotSubmitted(str(known), known.retry_after, known.rate_limited)
        return known

    async def state(self, id: str) -> BatchStatus:
        """Return the state of a batch."""
        with self._refusing():
            return self._state(await self._wire.get(f"/batches/{id}"))

    async def recent(self) -> AsyncGenerator[BatchStatus, None]:
        """Yield the project's batches, the newest first."""
        with self._refusing():
            async with contextlib.aclosing(self._wire.listed("/batches", "after", MOST_LISTED)) as batches:
                async for told in batches:
                    yield self._state(told)

    async def results(self, state: BatchStatus, find: Find) -> Results:
        """Yield the outcomes of the requests: answers are in one file, errors in another."""
        for file in (state.told.get("output_file_id"), state.told.get("error_file_id")):
            if not file:
                continue
            with self._refusing():
                async with contextlib.aclosing(self._wire.lines(f"/files/{file}/content")) as lines:
                    async for line in lines:
                        if line.strip():
                            told = read_line(self._wire.peer, line)
                            id = str(told.get("custom_id"))
                            request = find(id)
                            yield id, None if request is None else self._outcome(state.id, request, told)

    def _outcome(self, batch: str, request: Request, told: Mapping[str, Any]) -> Outcome:
        given, error = told.get("response"), told.get("error")
        response = given if isinstance(given, dict) else {}
        body, status = response.get("body"), count(response.get("status_code")) or 200
        code = error.get("code") if isinstance(error, dict) else None
        if code in UNANSWERED or not (response or error):
            return TransportError(f"A request of batch {batch} was not answered: {code or 'no response'}.")
        try:
            if isinstance(body, dict) and status < 400 and not error:
                return read_completion(self._wire.peer, body)
            raise _fault(status, body, error)
        except Fault as fault:
            form = self._forms.setdefault(batch, self._negotiator.about(request.model).form)
            return self._negotiator.read(request, form, fault, self._simpler)
        except ServingError as faulty:
            return faulty

    def _state(self, told: Mapping[str, Any]) -> BatchStatus:
        id, status = told.get("id"), told.get("status")
        if not isinstance(id, str) or not isinstance(status, str):
            raise broken(self._wire.peer, told, "id and status")
        given, metadata = told.get("request_counts"), told.get("metadata")
        counts = given if isinstance(given, dict) else {}
        return BatchStatus(
            id,
            status,
            status in ENDED,
            count(counts.get("total")) or 0,
            (count(counts.get("completed")) or 0) + (count(counts.get("failed")) or 0),
            name=metadata.get(NAME) if isinstance(metadata, dict) else None,
            expires=count(told.get("expires_at")),
            fault=self._wire.peer.quote(_words(told)) if status == "failed" else None,
            told=told,
        )

    @contextlib.contextmanager
    def _refusing(self, model: str = "of the batch") -> Iterator[None]:
        try:
            yield
        except Fault as fault:
            raise refusal(self._wire.peer, fault, model) from None


def _order(file: str, name: str) -> dict[str, Any]:
    return {"input_file_id": file, "endpoint": ENDPOINT, "completion_window": "24h", "metadata": {NAME: name}}


def _fault(status: int, body: Any, error: Any) -> Fault:
    """Return the error of one request, as reported by the endpoint or by the batch."""
    said = body if isinstance(body, dict) and status >= 400 else {"error": error or {}}
    return fault_of(status if status >= 400 else 500, {}, json_line(said))


def _words(told: Mapping[str, Any]) -> str:
    """Return why a batch failed as a whole."""
    errors = told.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    said = [str(error.get("message")) for error in data or () if isinstance(error, dict)]
    return "; ".join(said[:3]) or "it gives no reason"
