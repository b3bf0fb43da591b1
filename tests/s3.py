"""A local S3: moto's server behind a proxy that records every request and can make planned requests fail.

    with S3() as s3:
        s3.begin(once("PUT", SLOW_DOWN))
        ResponseStore("s3://bucket/responses", {"endpoint_url": s3.url, "key": "any", "secret": "any"}).prepare()
        assert s3.count("PUT") == 2

A plan sees only the request and its position in the order, so the same requests always meet the same faults. moto
checks neither keys nor permissions; plans stand in for these checks.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import sleep  # this one: tests take the pauses from the client's
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from moto.server import ThreadedMotoServer
from multidict import CIMultiDict
from yarl import URL


@dataclass(frozen=True)
class Asked:
    """One request as it arrived. `number` counts all requests from 0, `nth` those of this kind for this path.

    `kind` is the HTTP method, or LIST for a GET that lists a bucket.
    """

    number: int
    nth: int
    kind: str
    path: str


@dataclass(frozen=True)
class Fault:
    """What the client receives instead of the answer.

    `status` and `code` are S3's error. `ending` is one of:

    - "reset": the proxy breaks the connection, and the request is not carried out;
    - "lost": the request is carried out, but its answer is lost;
    - "cut": the connection breaks after half of the body, although the whole length was announced;
    - "short": the same half, announced as if it were the whole body;
    - "stale": a LIST gets the last listing from before the plan began.

    `delay` is the time in seconds before any of these.
    """

    name: str
    status: int = 0
    code: str = ""
    ending: str = "whole"
    delay: float = 0.0


INTERNAL_ERROR = Fault("500", 500, "InternalError")
SLOW_DOWN = Fault("503", 503, "SlowDown")
ACCESS_DENIED = Fault("denied", 403, "AccessDenied")
UNKNOWN_KEY = Fault("unknown key", 403, "InvalidAccessKeyId")
RESET = Fault("reset", ending="reset")
LOST = Fault("lost", ending="lost")
CUT = Fault("cut", ending="cut")
SHORT = Fault("short", ending="short")
STALE = Fault("stale", ending="stale")
SLOW = Fault("slow", delay=0.05)

HOP = frozenset({"Connection", "Content-Length", "Date", "Host", "Server", "Transfer-Encoding"})
"""Headers of one connection, which the proxy makes itself."""

Plan = Callable[[Asked], "Fault | None"]


@dataclass(frozen=True)
class Answer:
    """The answer of the server behind the proxy."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


def once(kind: str, fault: Fault, under: str = "") -> Plan:
    """Return a plan in which, for each path that contains `under`, the first request of a kind fails."""
    return lambda asked: fault if asked.kind == kind and asked.nth == 0 and under in asked.path else None


def always(*kinds: str, fault: Fault, under: str = "") -> Plan:
    """Return a plan in which every request of these kinds fails, for paths that contain `under`."""
    return lambda asked: fault if asked.kind in kinds and under in asked.path else None


class S3:
    """The server and the proxy, as a context manager.

    `asked` holds every request since the plan began, and `faults` those that the plan made fail.
    """

    def __init__(self) -> None:
        self.url = ""
        self._listings: dict[str, Answer] = {}
        self.begin()

    def begin(self, plan: Plan | None = None) -> None:
        """Switch to another plan, and reset the counts."""
        self.asked: list[Asked] = []
        self.faults: list[Asked] = []
        self._nth: Counter[tuple[str, str]] = Counter()
        self._plan = plan or (lambda asked: None)
        self._stale = dict(self._listings)

    def count(self, *kinds: str, under: str = "") -> int:
        """Return how many requests of these kinds arrived for paths that contain `under`."""
        return sum(asked.kind in kinds and under in asked.path for asked in self.asked)

    def __enter__(self) -> S3:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self._behind = "http://{}:{}".format(*self._server.get_host_and_port())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._wait(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._server.stop()

    def _wait(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self) -> None:
        self._client = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault = self._fault(request)
        if fault is None:
            return await _send(request, await self._answer(request, body))
        await sleep(fault.delay)
        if fault.ending == "reset":
            return _reset(request)
        if fault.status:
            return _error(fault)
        return await _send(request, await self._answer(request, body, fault.ending == "stale"), fault.ending)

    def _fault(self, request: web.Request) -> Fault | None:
        kind = "LIST" if _lists(request) else request.method
        asked = Asked(len(self.asked), self._nth[kind, request.path], kind, request.path)
        self._nth[kind, request.path] += 1
        self.asked.append(asked)
        fault = self._plan(asked)
        self.faults += [asked] if fault else []
        return fault

    async def _answer(self, request: web.Request, body: bytes, stale: bool = False) -> Answer:
        """Forward a request to the server behind the proxy, or return an earlier listing if `stale`."""
        question = request.raw_path
        if stale and question in self._stale:
            return self._stale[question]
        headers = {name: value for name, value in request.headers.items() if name not in HOP}
        url = URL(self._behind + question, encoded=True)
        async with self._client.request(request.method, url, data=body, headers=headers) as reply:
            kept = CIMultiDict((name, value) for name, value in reply.headers.items() if name not in HOP)
            if request.method == "HEAD":  # its response has no body, so the length is copied
                kept["Content-Length"] = reply.headers.get("Content-Length", "0")
            answer = Answer(reply.status, kept, await reply.read())
        if _lists(request):
            self._listings[question] = answer
        return answer


def _lists(request: web.Request) -> bool:
    return request.method == "GET" and "list-type" in request.query


async def _send(request: web.Request, answer: Answer, ending: str = "whole") -> web.StreamResponse:
    """Send an answer with the given ending."""
    half = answer.body[: len(answer.body) // 2]
    if ending == "lost":
        return _reset(request)
    if ending == "short":
        unchecked = {name: value for name, value in answer.headers.items() if "checksum" not in name.lower()}
        return web.Response(status=answer.status, headers=unchecked, body=half)
    if ending != "cut":
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(half)
    _reset(request)
    return response


def _reset(request: web.Request) -> web.StreamResponse:
    """Break the connection."""
    assert request.transport is not None
    request.transport.close()
    return web.StreamResponse()


def _error(fault: Fault) -> web.Response:
    text = f"<Error><Code>{fault.code}</Code><Message>{fault.code} by the plan</Message></Error>"
    return web.Response(status=fault.status, text=text, content_type="application/xml")
