"""An SDK's client, used for endpoints whose answers are read here: the SDKs validate none of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from consistent_chat.serving.http import Peer, exchange, http_library, raised

PAGE = 100
"""Objects of a list that are asked for at a time."""


@dataclass(frozen=True)
class Wire:
    """Asks through an SDK's client, which `opened` gives. `timeout` is in seconds a question.

    All methods raise Fault for a status of 400 or more, and TransportError where there is no answer.
    """

    sdk: Any
    peer: Peer
    opened: Callable[[], Any]
    timeout: float

    async def get(self, path: str, **query: Any) -> Mapping[str, Any]:
        """Return the JSON object at a path."""
        options = {"params": {name: value for name, value in query.items() if value is not None}}
        return await self._exchange(self.opened().get(path, cast_to=self._response, options=options))

    async def post(self, path: str, timeout: float | None = None, headers: Any = (), **body: Any) -> Mapping[str, Any]:
        """Post `body=`, a JSON object, or `content=`, bytes of JSON; return the JSON object that comes back."""
        options = {"headers": dict(headers), "timeout": timeout or self.timeout}
        calling = self.opened().post(path, cast_to=self._response, options=options, **body)
        return await self._exchange(calling, timeout)

    async def listed(self, path: str, cursor: str, most: int) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the objects of a list that comes in pages, about `most` of them; `cursor` is what follows goes by."""
        after = None
        for _ in range(most // PAGE):
            page = await self.get(path, limit=PAGE, **{cursor: after})
            told = [each for each in page.get("data") or () if isinstance(each, dict)]
            for each in told:
                yield each
            after = page.get("last_id") or (told[-1].get("id") if told else None)
            if not page.get("has_more") or after is None:
                return

    async def lines(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield the lines of what is at a path, without their ends, as they come."""
        response = await self._attempt(self.opened().get(path, cast_to=self._response, stream=True))
        try:
            chunks, rest = response.aiter_bytes().__aiter__(), b""
            while (chunk := await self._attempt(anext(chunks, None))) is not None:
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line
            yield rest
        finally:
            await response.aclose()

    @property
    def _response(self) -> Any:
        return http_library(self.sdk).Response

    async def _exchange(self, calling: Awaitable[Any], timeout: float | None = None) -> Mapping[str, Any]:
        return await exchange(self.sdk, self.peer, calling, timeout or self.timeout)

    async def _attempt(self, calling: Awaitable[Any]) -> Any:
        with raised(self.sdk, self.peer, self.timeout):
            return await asyncio.wait_for(calling, self.timeout)
