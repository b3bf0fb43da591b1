"""Measures what one call costs with each HTTP client that the servings could use, all in one run.

    python benchmarks/wire.py

The same bodies go to a provider in a process of its own, 100 in flight. `sdk` is Anthropic's SDK, `raw` its untyped
`post` through aiohttp, `httpx` and `aiohttp` are the bare clients, `ours` is the HTTP layer of the servings. CPU is
that of the client's process, in ms a call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from process import Cost, cost_of, fresh
from provider import Manner, provider

CALLS, IN_FLIGHT = 3_600, 100
HEADERS = {"content-type": "application/json", "x-api-key": "a-key", "anthropic-version": "2023-06-01"}
SCHEMA = {
    "type": "object",
    "properties": {f"assistant_{turn}": {"type": "string"} for turn in range(1, 7)},
    "additionalProperties": False,
}


def bodies() -> list[dict[str, Any]]:
    """Return the bodies of all calls."""
    return [
        {
            "model": "claude-sonnet-4-6",
            "max_tokens": 7168,
            "messages": [{"role": "user", "content": f"{number} " + "A prompt of usual length. " * 100}],
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
            "temperature": 0.9,
        }
        for number in range(CALLS)
    ]


async def sdk(url: str) -> Callable[[Any], Awaitable[Any]]:
    """Anthropic's SDK as its documentation shows it."""
    import anthropic

    client = anthropic.AsyncAnthropic(api_key="a-key", base_url=url, max_retries=0)

    async def call(body: Any) -> Any:
        body = dict(body)
        extra = {"temperature": body.pop("temperature")}
        return await client.messages.create(**body, extra_body=extra)

    return call


async def raw(url: str) -> Callable[[Any], Awaitable[Any]]:
    """The SDK's untyped request through aiohttp."""
    import anthropic

    client = anthropic.AsyncAnthropic(
        api_key="a-key", base_url=url, max_retries=0, http_client=anthropic.DefaultAioHttpClient()
    )
    library = __import__(type(anthropic.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0])

    async def call(body: Any) -> Any:
        response = await client.post("/v1/messages", cast_to=library.Response, body=body)
        return json.loads(response.content)

    return call


async def httpx(url: str) -> Callable[[Any], Awaitable[Any]]:
    """Bare httpx."""
    library = __import__("httpx2")  # the one that Anthropic's SDK uses

    client = library.AsyncClient(limits=library.Limits(max_connections=IN_FLIGHT), timeout=600)

    async def call(body: Any) -> Any:
        response = await client.post(f"{url}/v1/messages", content=json.dumps(body).encode(), headers=HEADERS)
        return json.loads(response.content)

    return call


async def aiohttp(url: str) -> Callable[[Any], Awaitable[Any]]:
    """Bare aiohttp."""
    import aiohttp as library

    session = library.ClientSession(connector=library.TCPConnector(limit=0))

    async def call(body: Any) -> Any:
        async with session.post(f"{url}/v1/messages", data=json.dumps(body).encode(), headers=HEADERS) as response:
            return json.loads(await response.read())

    return call


async def ours(url: str) -> Callable[[Any], Awaitable[Any]]:
    """The HTTP layer that all servings share."""
    from consistent_chat.serving.client import HttpClient
    from consistent_chat.serving.http import Peer

    client = HttpClient(Peer("Anthropic", "ANTHROPIC_API_KEY", "a-key", url), url, HEADERS, 600.0, IN_FLIGHT)

    async def call(body: Any) -> Any:
        return await client.post("/v1/messages", body, dict)

    return call


def measure(kind: str, url: str) -> Cost:
    """Make all calls with one client."""
    made, opened = bodies(), globals()[kind]

    async def run(calls: Any) -> None:
        call, places = await opened(url), asyncio.Semaphore(IN_FLIGHT)

        async def one(body: Any) -> None:
            async with places:
                await call(body)

        await asyncio.gather(*map(one, calls))

    asyncio.run(run(made[:1]))  # imports
    return cost_of(lambda: asyncio.run(run(made)))


def main() -> None:
    """Measure and print."""
    for kind in ("sdk", "raw", "httpx", "aiohttp", "ours"):
        with provider(Manner()) as url:
            try:
                cost: Cost = fresh(measure, kind, url)
            except ImportError as error:
                print(f"{kind:<8} not measured: {error}")
                continue
            print(f"{kind:<8} {cost.seconds:6.2f} s  {cost.cpu / CALLS * 1000:5.2f} ms CPU a call", flush=True)


if __name__ == "__main__":
    main()
