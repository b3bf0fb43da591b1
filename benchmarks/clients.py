"""Those who call: this project, and a bare client that knows in advance what to send."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import anthropic  # noqa: F401  so that its import is not measured, nor those that follow
import datasets
import genai_prices  # noqa: F401
import pyarrow.parquet  # noqa: F401
from made import conversed
from process import cost_of, memory
from provider import Manner, asked, planned

import consistent_chat
import consistent_chat.builder
import consistent_chat.serving.anthropic  # noqa: F401
from consistent_chat.request import Request, Response
from consistent_chat.serving.rehearsal import Rehearsal

MODEL = "claude-sonnet-4-6"
TURNS = 2
"""Turns of a dialogue that is made message by message: a chain of four calls."""


@dataclass(frozen=True)
class Run:
    """Wall seconds, CPU seconds, and the peak of memory in MB of the whole process."""

    seconds: float
    cpu: float
    peak: float


def ours(url: str, dialogs: int, concurrency: int, store: str | None = None) -> Run:
    """Build the dataset, as anybody would."""
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        given = {**fields_of(dialogs), "responses": store or f"{folder}/responses", "cache_dir": f"{folder}/cache"}
        called = {"serving": "anthropic", "base_url": url, "api_key": "a-key", "max_concurrency": concurrency}
        return _run(lambda: datasets.load_dataset("consistent_chat", **given, **called))


def bare(url: str, dialogs: int, concurrency: int, manner: Manner) -> Run:
    """Send the same requests with nothing but aiohttp and a semaphore: made in advance, and no answer is kept."""
    chains = [_chain(dialogs, index, manner) for index in range(dialogs)]
    return _run(lambda: asyncio.run(_send(f"{url}/v1/messages", chains, concurrency)))


def chained(dialogs: int, concurrency: int, seconds: float) -> tuple[float, Run]:
    """Build dialogues message by message, with calls that take so many seconds; return the share of slots in use."""
    datasets.disable_progress_bars()
    serving = Slots(seconds)
    form = {"users": "turn_by_turn", "answers": "turn_by_turn", "num_turns_per_dialog": TURNS}
    with tempfile.TemporaryDirectory() as folder:
        given = {**fields_of(dialogs), **form, "responses": f"{folder}/responses", "cache_dir": f"{folder}/cache"}
        called = {"serving": serving, "max_concurrency": concurrency}
        run = _run(lambda: datasets.load_dataset("consistent_chat", **given, **called))
    return serving.busy / (serving.last - serving.first) / concurrency, run


class Slots(Rehearsal):
    """Answers after some seconds. `busy` is the sum of the seconds of calls in flight from the first to the last."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds, self._in_flight = seconds, 0
        self.busy, self.first, self.last = 0.0, 0.0, 0.0

    async def answer(self, request: Request) -> Response:
        """Answer like a rehearsal."""
        self._count(1)
        await asyncio.sleep(self._seconds)
        self._count(-1)
        return await super().answer(request)

    def _count(self, calls: int) -> None:
        now = time.monotonic()
        self.first = self.first or now
        self.busy += self._in_flight * (now - (self.last or now))
        self._in_flight, self.last = self._in_flight + calls, now


def fields_of(dialogs: int) -> dict[str, Any]:
    """Return the recipe, as keywords."""
    return {"model": MODEL, "num_dialogs_per_intent": dialogs // 9, "num_turns_per_dialog": 6}


async def _send(url: str, chains: Sequence[Sequence[bytes]], concurrency: int) -> None:
    places, headers = asyncio.Semaphore(concurrency), {"content-type": "application/json"}

    async def converse(chain: Sequence[bytes]) -> None:
        for body in chain:
            async with places, session.post(url, data=body, headers=headers) as response:
                await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*map(converse, chains))


def _chain(dialogs: int, index: int, manner: Manner) -> list[bytes]:
    """Return what a dialogue sends, one request after the other, again where it gets an error for an answer."""
    attempts: Counter[str] = Counter()
    chain: list[bytes] = []

    def answer(request: Request) -> Response:
        body = _body(request)
        raw = json.dumps(body).encode()
        while True:
            plan = planned(manner, body, attempts[asked(body)])
            attempts[asked(body)] += 1
            chain.append(raw)
            if plan.status == 200:
                return Response(plan.text, "length" if plan.finish == "max_tokens" else "stop")

    for _ in conversed(dialogs, [index], answer):
        pass
    return chain


def _body(request: Request) -> dict[str, Any]:
    return {
        "max_tokens": request.max_tokens,
        "messages": list(map(dict, request.messages)),
        "model": MODEL,
        "system": [{"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}],
        "output_config": {"format": {"type": "json_schema", "schema": request.schema}},
        "temperature": request.temperature,
    }


def _run(act: Callable[[], Any]) -> Run:
    cost = cost_of(act)
    return Run(cost.seconds, cost.cpu, memory("VmHWM"))
