"""A local provider with batch APIs: Anthropic's Message Batches, and OpenAI's files and batches.

A request in a batch gets the same answer as the request gets online. A batch ends after it was polled a set number of
times; its results come in another order than the requests. A fate decides what happens to a request:

    def fate(call):
        return "expired" if call.number == 0 else None

    with BatchProvider(fate) as provider:
        build(driver="batch", serving="anthropic", base_url=provider.url)
        assert provider.submitted == [...]

To kill a process at a step, let the provider stop there: `provider.stop_at("created")`, then `provider.stopped.wait()`.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from aiohttp import web

from tests.faults import GOOD, Reply
from tests.provider import Call, Provider, answer, objection
from tests.stored import until

Fate = Callable[[Call], "str | Reply | None"]
"""What befalls a request: "expired", "canceled", "lost" (no result), a Reply, or a good answer."""
BEGUN = datetime(2026, 11, 21, 9, tzinfo=timezone.utc)
ERRORS = {400: "invalid_request_error", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}


@dataclass
class Submitted:
    """One submitted batch: its calls by custom id, and how often it was polled (`looks`)."""

    id: str
    protocol: str
    calls: Mapping[str, Call]
    metadata: Mapping[str, str] = field(default_factory=dict)
    looks: int = 0
    status: str = ""


class BatchProvider(Provider):
    """The server. `looks` is how often a batch is polled before it ends.

    `submitted` lists the batches in order, `sizes` the number of bytes of the requests that created them, and `asked`
    counts polls and downloads by kind. New batches have the `status`, if one is set. Anthropic's batches name
    `results_at` as the URL of their results. `offers` selects the endpoints that exist: "batches", "list" or both. The
    endpoints of Provider answer too.
    """

    def __init__(self, fate: Fate | None = None, looks: int = 1, offers: tuple[str, ...] = ("batches", "list")) -> None:
        super().__init__()
        self._fate = fate or (lambda call: None)
        self._looks, self._offers = looks, offers
        self._files: dict[str, bytes] = {}
        self.submitted: list[Submitted] = []
        self.asked: Counter[str] = Counter()
        self.sizes: list[int] = []
        self.status = ""
        self.script_for: dict[str, Reply] = {}
        self.results_at = "{url}/v1/messages/batches/{id}/results"
        self._stop_at, self.stopped = "", threading.Event()

    @property
    def digests(self) -> list[str]:
        """Return all submitted requests in order. A request that was submitted twice is in the list twice."""
        return [digest for batch in self.submitted for digest in batch.calls]

    def script_online(self) -> None:
        """Apply the same fates to calls that arrive outside a batch."""
        self._script = lambda call: reply if isinstance(reply := self._fate(call), Reply) else None

    @property
    def online(self) -> list[Call]:
        """Return the calls that arrived outside a batch."""
        return [call for call in self.requests if "batch" not in call.headers]

    def stop_at(self, step: str) -> None:
        """Stop answering at this step: "received", "created", "look" or "results"."""
        self._stop_at = step
        self.stopped.clear()

    def reached(self, step: str, seconds: float) -> None:
        """Wait at most `seconds` until a process reaches a step."""
        until(lambda: self.asked[step] > 0, seconds)

    def go_on(self) -> None:
        """Answer again at every step."""
        self._stop_at = ""

    def _route(self, router: web.UrlDispatcher) -> None:
        super()._route(router)
        if "batches" in self._offers:
            router.add_post("/v1/messages/batches", self._create)
            router.add_get("/v1/messages/batches/{id}", self._look)
            router.add_get("/v1/messages/batches/{id}/results", self._results)
            router.add_get("/elsewhere/{id}", self._results)
            router.add_post("/v1/files", self._upload)
            router.add_get("/v1/files/{id}/content", self._content)
            router.add_post("/v1/batches", self._create)
            router.add_get("/v1/batches/{id}", self._look)
        if "list" in self._offers:
            router.add_get("/v1/messages/batches", self._list)
            router.add_get("/v1/batches", self._list)

    async def _step(self, step: str) -> None:
        self.asked[step] += 1
        if self._stop_at == step:
            self.stopped.set()
            await self._closing.wait()

    def _refused(self, request: web.Request, step: str) -> web.Response | None:
        reply = self.script_for.pop(step, None)
        if reply is None:
            return None
        if reply.ending == "reset":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=reply.status, body=reply.raw, headers=dict(reply.headers))

    async def _create(self, request: web.Request) -> web.Response:
        protocol = "anthropic" if "messages" in request.path else "openai"
        raw = await request.read()
        assert request.content_length == len(raw), "not every server takes chunks"
        self.sizes.append(len(raw))
        await self._step("received")
        if (refused := self._refused(request, "received")) is not None:
            return refused
        order = json.loads(raw)
        entries = order.get("requests") or list(map(json.loads, self._files[order["input_file_id"]].splitlines()))
        headers = {**request.headers, "batch": "yes"}
        bodies = {entry["custom_id"]: entry.get("params") or entry["body"] for entry in entries}
        assert len(bodies) == len(entries), "custom ids are unique"
        assert all(0 < len(id) <= 64 and id.isalnum() for id in bodies), "custom ids have few and plain characters"
        assert len({body["model"] for body in bodies.values()}) == 1
        calls = {id: self._record(protocol, headers, json.dumps(body).encode()) for id, body in bodies.items()}
        number = len(self.submitted)
        name = f"msgbatch_{number:04}" if protocol == "anthropic" else f"batch_{number:04}"
        made = Submitted(name, protocol, calls, order.get("metadata") or {}, status=self.status)
        self.submitted.append(made)
        await self._step("created")
        if (refused := self._refused(request, "created")) is not None:
            return refused
        return web.json_response(self._told(self.submitted[-1]))

    async def _look(self, request: web.Request) -> web.Response:
        await self._step("look")
        if (refused := self._refused(request, "look")) is not None:
            return refused
        batch = self._found(request)
        batch.looks += 1
        return web.json_response(self._told(batch))

    async def _list(self, request: web.Request) -> web.Response:
        self.asked["list"] += 1
        protocol = "anthropic" if "messages" in request.path else "openai"
        batches = [batch for batch in reversed(self.submitted) if batch.protocol == protocol]
        after = request.query.get("after_id") or request.query.get("after")
        ids = [batch.id for batch in batches]
        start = ids.index(after) + 1 if after else 0
        stop = start + min(2, int(request.query.get("limit", 20)))  # small, so that clients turn pages
        for batch in batches[start:stop]:
            batch.looks += 1
        page = [self._told(batch) for batch in batches[start:stop]]
        last = page[-1]["id"] if page else None
        return web.json_response({"data": page, "has_more": stop < len(batches), "last_id": last})

    async def _results(self, request: web.Request) -> web.StreamResponse:
        batch = self._found(request)
        return await self._stream(request, [self._result(id, call) for id, call in batch.calls.items()])

    async def _content(self, request: web.Request) -> web.StreamResponse:
        name, _, kind = request.match_info["id"].partition("-")
        batch = next(batch for batch in self.submitted if batch.id == name)
        lines = [self._line(batch, id, call) for id, call in batch.calls.items()]
        return await self._stream(request, [line for of, line in filter(None, lines) if of == kind])

    async def _stream(self, request: web.Request, lines: list[bytes | None]) -> web.StreamResponse:
        """Send the lines in another order, and half of them before the step "results"."""
        given = sorted(line for line in lines if line is not None)[::-1]
        response = web.StreamResponse()
        await response.prepare(request)
        half = len(given) // 2
        await response.write(b"".join(line + b"\n" for line in given[:half]))
        await self._step("results")
        if self.script_for.pop("results", None) is not None:
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(b"".join(line + b"\n" for line in given[half:]))
        return response

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        if (refused := self._refused(request, "upload")) is not None:
            return refused
        assert form["purpose"] == "batch"
        name = f"file_{len(self._files)}"
        self._files[name] = form["file"].file.read()  # type: ignore[union-attr]
        return web.json_response({"id": name, "object": "file"})

    def _found(self, request: web.Request) -> Submitted:
        key = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key")
        if key == "wrong-key":
            raise web.HTTPUnauthorized(text=json.dumps({"error": {"message": "invalid x-api-key"}}))
        for batch in self.submitted:
            if batch.id == request.match_info["id"]:
                return batch
        raise web.HTTPNotFound(text=json.dumps({"error": {"message": "no such batch"}}))

    def _told(self, batch: Submitted) -> dict[str, Any]:
        ended, size = batch.looks >= self._looks, len(batch.calls)
        has_files = ended and batch.status != "failed"
        if batch.protocol == "anthropic":
            counts = {"processing": 0 if ended else size, "succeeded": size if ended else 0, "errored": 0}
            return {
                "id": batch.id,
                "type": "message_batch",
                "processing_status": batch.status or ("ended" if ended else "in_progress"),
                "request_counts": {**counts, "canceled": 0, "expired": 0},
                "created_at": BEGUN.isoformat(),
                "expires_at": (BEGUN + timedelta(days=1)).isoformat(),
                "results_url": self.results_at.format(url=self.url, id=batch.id) if ended else None,
            }
        return {
            "id": batch.id,
            "object": "batch",
            "status": batch.status or ("completed" if ended else "in_progress"),
            "request_counts": {"total": size, "completed": size if ended else 0, "failed": 0},
            "created_at": int(BEGUN.timestamp()),
            "expires_at": int((BEGUN + timedelta(days=1)).timestamp()),
            "metadata": dict(batch.metadata),
            "output_file_id": f"{batch.id}-output" if has_files else None,
            "error_file_id": f"{batch.id}-error" if has_files else None,
            "errors": {"data": [{"message": "token limit reached"}]} if batch.status == "failed" else None,
        }

    def _reply(self, call: Call) -> str | Reply:
        return objection(call) or self._fate(call) or GOOD

    def _result(self, id: str, call: Call) -> bytes | None:
        reply = self._reply(call)
        if reply == "lost":
            return None
        if isinstance(reply, str):
            result: dict[str, Any] = {"type": reply}
        elif reply.raw is not None:
            error = json.loads(reply.raw)["error"]
            envelope = {"type": "error", "error": {**error, "type": ERRORS.get(reply.status, "api_error")}}
            result = {"type": "errored", "error": envelope}
        else:
            message = answer(call, reply).decode("utf-8", "surrogateescape")
            return f'{{"custom_id":"{id}","result":{{"type":"succeeded","message":{message}}}}}'.encode(
                "utf-8", "surrogateescape"
            )
        return json.dumps({"custom_id": id, "result": result}).encode()

    def _line(self, batch: Submitted, id: str, call: Call) -> tuple[str, bytes] | None:
        reply, line = self._reply(call), {"id": f"response_{id}", "custom_id": id, "response": None, "error": None}
        if reply == "lost":
            return None
        if isinstance(reply, str):
            code = {"expired": "batch_expired", "canceled": "batch_cancelled"}[reply]
            return "error", json.dumps({**line, "error": {"code": code, "message": "it did not come to it"}}).encode()
        body = answer(call, reply) if reply.raw is None else reply.raw
        whole = json.dumps(
            {**line, "response": {"status_code": reply.status, "request_id": id, "body": "BODY"}}
        ).encode()
        return "output" if reply.status < 400 else "error", whole.replace(b'"BODY"', body)
