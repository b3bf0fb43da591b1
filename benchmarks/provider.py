"""A provider of models in a process of its own, cheap enough a call that it is not what is measured.

How long it takes and what it answers depends on the request and on how often that came before, and on nothing else: two
clients that send the same requests are treated alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import multiprocessing
import os
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

FILLER = (
    " and goes on for as long as messages usually do: with a reason for the question, two things that were tried "
    "before, what came of them, how much time and money there is, and at last a polite hope for a short reply"
)
FAULTS = ("429", "500", "malformed", "truncated", "wrong count")


@dataclass(frozen=True)
class Manner:
    """How a provider answers.

    After `median` seconds, spread lognormally by `sigma`; with each of FAULTS to `faults` of a hundred calls. It
    refuses more than `places` calls at once, more than `rate` a second (from a bucket that holds a second's worth), and
    all between the two seconds of `outage`, counted from the first call; `told` has it say how long to wait.
    """

    median: float = 0.2
    sigma: float = 0.0
    faults: int = 0
    places: float = math.inf
    rate: float = math.inf
    told: bool = False
    outage: tuple[float, float] = (math.inf, math.inf)


@dataclass
class Seen:
    """What a provider has seen: requests, how many of them it refused as too many, the sum of its service times.

    `first` is when the first request came, by the monotonic clock.
    """

    requests: int = 0
    refused: int = 0
    seconds: float = 0.0
    first: float = 0.0


@dataclass(frozen=True)
class Planned:
    """The answer to give: after how long, with what status, a text, and why it ends."""

    seconds: float
    status: int
    text: str
    finish: str


def planned(manner: Manner, body: Mapping[str, Any], attempt: int) -> Planned:
    """Return the answer to the n-th try of a request."""
    names = _names(body)
    digest = hashlib.sha256(f"{attempt} {asked(body)}".encode()).digest()
    chance, choice = (int.from_bytes(digest[at : at + 6], "big") / 2**48 for at in (0, 6))
    seconds = manner.median * math.exp(manner.sigma * statistics.NormalDist().inv_cdf(chance or 0.5))
    number = int(choice * 100 // manner.faults) if manner.faults else len(FAULTS)
    fault = FAULTS[number] if number < len(FAULTS) else ""
    if fault in ("429", "500"):
        return Planned(seconds * (fault == "500"), int(fault), "", "")
    texts = {name: f"{name} of {digest.hex()[:10]}{FILLER}" for name in names[: -1 if fault == "wrong count" else None]}
    text = json.dumps(texts)
    text = {"malformed": text.replace(":", ""), "truncated": text[: len(text) // 2]}.get(fault, text)
    return Planned(seconds, 200, text, "max_tokens" if fault == "truncated" else "end_turn")


def asked(body: Mapping[str, Any]) -> str:
    """Return what tells a request from others: not its `max_tokens`, which a client raises after a truncated answer."""
    return f"{_names(body)[0]} {body['messages']}"


def _names(body: Mapping[str, Any]) -> list[str]:
    return list(body["output_config"]["format"]["schema"]["properties"])


@contextlib.contextmanager
def provider(manner: Manner) -> Iterator[str]:
    """Run a provider in a process of its own, on another core than this one where there is one; give its address."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(manner, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def seen(url: str) -> Seen:
    """Ask a provider what it has seen."""
    with urllib.request.urlopen(f"{url}/seen") as response:
        return Seen(**json.load(response))


class _Provider:
    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._attempts: Counter[str] = Counter()
        self._in_flight = 0
        self._full_at = 0.0
        self.seen = Seen()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/seen":
            return web.json_response(asdict(self.seen))
        self._in_flight += 1
        try:
            return await self._answer(await request.read())
        finally:
            self._in_flight -= 1

    async def _answer(self, raw: bytes) -> web.Response:
        self.seen.requests += 1
        self.seen.first = self.seen.first or time.monotonic()
        wait = self._too_many()
        if wait is not None:
            self.seen.refused += 1
            return _error(429, {"retry-after": f"{wait:.3f}"} if self._manner.told else {})
        body = json.loads(raw)
        mark = asked(body)
        plan = planned(self._manner, body, self._attempts[mark])
        self._attempts[mark] += 1
        self.seen.seconds += plan.seconds
        await asyncio.sleep(plan.seconds)
        if plan.status != 200:
            return _error(plan.status, {})
        return _message(plan)

    def _too_many(self) -> float | None:
        """Return after how long there is room, or None if there is."""
        now, manner = time.monotonic(), self._manner
        begin, end = manner.outage
        if begin <= now - self.seen.first < end:
            return end - (now - self.seen.first)
        if self._in_flight > manner.places:
            return manner.median
        full_at = max(self._full_at, now) + 1 / manner.rate
        if full_at > now + 1:
            return full_at - now - 1
        self._full_at = full_at
        return None


def _message(plan: Planned) -> web.Response:
    content = [{"type": "text", "text": plan.text}]
    usage = {"input_tokens": 700, "output_tokens": len(plan.text) // 4}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content}
    return web.json_response({**message, "stop_reason": plan.finish, "stop_sequence": None, "usage": usage})


def _error(status: int, headers: Mapping[str, str]) -> web.Response:
    error = {"type": "error", "error": {"type": "some_error", "message": "Not now"}}
    return web.json_response(error, status=status, headers=headers)


def _serve(manner: Manner, there: Any) -> None:
    if hasattr(os, "sched_setaffinity"):
        own = os.sched_getaffinity(os.getppid())
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - own or own)
    asyncio.run(_run(manner, there))


async def _run(manner: Manner, there: Any) -> None:
    runner = web.ServerRunner(web.Server(_Provider(manner).answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    there.send(runner.addresses[0][1])
    await asyncio.Event().wait()
