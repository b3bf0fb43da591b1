"""What batches read through an SDK has a bound, as every answer has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from consistent_chat.errors import TransportError
from consistent_chat.serving.http import MOST_BYTES, Peer
from consistent_chat.serving.wire import Wire

PIECE = b"x" * (1 << 20)


class Endless:
    """An SDK's client, and its response: a body without an end, and without a line's end."""

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
    """It is read up to the bound, and closed."""
    client = Endless()
    wire = Wire(anthropic, Peer("A", "B", "key"), lambda: client, 5.0)

    async def read() -> None:
        if what == "object":
            await wire.get("/x")
        async for _ in wire.lines("/x"):
            pass

    with pytest.raises(TransportError, match="more than 16 MB"):
        asyncio.run(read())
    assert client.sent <= MOST_BYTES + 2 * len(PIECE)
    assert client.closed
