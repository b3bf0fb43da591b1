"""Those who call: this project, and a bare client that knows in advance what to send."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import anthropic  # noqa: F401  so that its import is not measured, nor those that follow
import datasets
import genai_prices  # noqa: F401
import pyarrow.parquet  # noqa: F401
from made import conversed
from process import cost_of, memory
from provider import Manner, planned

import consistent_chat
import consistent_chat.serving.anthropic  # noqa: F401
from consistent_chat.request import Request, Response

MODEL = "claude-sonnet-4-6"


@dataclass(frozen=True)
class Run:
    """Wall seconds, CPU seconds, and the peak of memory in MB of the whole process."""

    seconds: float
    cpu: float
    peak: float


def ours(
    url: str, dialogs: int, concurrency: int, store: str | None = None, form: Mapping[str, Any] | None = None
) -> Run:
    """Build the dataset, as anybody would; `form` has more fields of the recipe."""
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        given = {
            **fields_of(dialogs),
            **(form or {}),
            "responses": store or f"{folder}/responses",
            "cache_dir": f"{folder}/cache",
        }
        called = {"serving": "anthropic", "base_url": url, "api_key": "a-key", "max_concurrency": concurrency}
        return _run(lambda: datasets.load_dataset("consistent_chat", **given, **called))


def bare(url: str, dialogs: int, concurrency: int, manner: Manner) -> Run:
    """Send the same requests with nothing but aiohttp and a semaphore: made in advance, and no answer is kept."""
    chains = [_chain(dialogs, index, manner) for index in range(dialogs)]
    return _run(lambda: asyncio.run(_send(f"{url}/v1/messages", chains, concurrency)))


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
    attempts: Counter[bytes] = Counter()
    chain: list[bytes] = []

    def answer(request: Request) -> Response:
        body = _body(request)
        raw = json.dumps(body).encode()
        while True:
            plan = planned(manner, body, attempts[raw])
            attempts[raw] += 1
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
