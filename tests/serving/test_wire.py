"""Test the size limits of what batches read through an SDK."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web

from consistent_chat.errors import TransportError
from consistent_chat.serving.http import MOST_BYTES, Fault, Peer
from consistent_chat.serving.wire import MOST_ERROR_BYTES, Wire, open_client

PIECE = b"x" * (1 << 20)


class Endless:
    """An SDK's client that is also its response: the body has no end and no line break."""

    headers: dict[str, str] = {}
    sent = 0

    async def get(self, path: str, **options: Any) -> Endless:
        return self

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += len(PIECE)
            yield PIECE

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("what", ["object", "lines"])
def test_a_body_without_an_end_is_a_fault(what: str) -> None:
    """A body without an end is read up to the limit and closed, and raises a TransportError."""
    client = Endless()
    wire = Wire(anthropic, Peer("A", "B", "key"), lambda: client, 5.0)

    async def read() -> None:
        if what == "object":
            await wire.get("/x")
        async for _ in wire.lines("/x"):
            pass

    with pytest.raises(TransportError, match="the limit of 16 MB"):
        asyncio.run(read())
    assert client.sent <= MOST_BYTES + 2 * len(PIECE)
    assert client.closed


@pytest.mark.parametrize("sdk", [anthropic, openai])
def test_an_error_without_an_end_is_read_in_part(sdk: Any) -> None:
    """An SDK reads only a part of an error without an end; by itself it would read all of it."""
    sent = 0

    async def serve(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=400, headers={"content-type": "text/plain"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"no " * 10_000)
                sent += 30_000

    async def read() -> None:
        app = web.Application()
        app.router.add_get("/x", serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        kind = sdk.AsyncAnthropic if sdk is anthropic else sdk.AsyncOpenAI
        client = kind(api_key="key", base_url=url, max_retries=0, http_client=open_client(sdk, 1))
        try:
            await Wire(sdk, Peer("A", "B", "key"), lambda: client, 60.0).get("/x")
        finally:
            await client.close()
            await runner.cleanup()

    with pytest.raises(Fault) as told:
        asyncio.run(read())
    assert told.value.message.startswith("no no")
    assert sent < 8 * MOST_ERROR_BYTES  # sockets have buffers
