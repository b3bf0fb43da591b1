"""An SDK's client, used for batches because it knows addresses, lists and files.

Answers are parsed here, not by the SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from consistent_chat.serving.http import (
    CONNECT_SECONDS,
    MOST_BYTES,
    Peer,
    fault_of,
    late,
    read_object,
    too_long,
    unreachable,
)
from consistent_chat.serving.tls import shared

MOST_ERROR_BYTES = 1 << 20
"""Maximum bytes of an error that are read."""
PAGE = 100
"""Number of objects of a list that are requested at a time."""


@dataclass(frozen=True)
class Wire:
    """Sends requests through an SDK's client, which `opened` returns. `timeout` is in seconds per request.

    All methods raise Fault for a status of 400 or more, and TransportError if there is no answer.
    """

    sdk: Any
    peer: Peer
    opened: Callable[[], Any]
    timeout: float

    async def get(self, path: str, **query: Any) -> Mapping[str, Any]:
        """Return the JSON object at a path."""
        options = {"params": {name: value for name, value in query.items() if value is not None}}
        return await self._object(self.opened().get(path, cast_to=self._response, options=options, stream=True))

    async def post(self, path: str, timeout: float | None = None, headers: Any = (), **body: Any) -> Mapping[str, Any]:
        """Post `body=`, a JSON object, or `content=`, bytes of JSON; return the JSON object that comes back."""
        options = {"headers": dict(headers), "timeout": timeout or self.timeout}
        calling = self.opened().post(path, cast_to=self._response, options=options, stream=True, **body)
        return await self._object(calling, timeout)

    async def listed(self, path: str, cursor: str, most: int) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the objects of a list in pages,  about `most`; `cursor` names the field of the next page."""
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
        """Yield the lines of the file at a path, without line ends, as they arrive.

        A line is bounded like an answer.
        """
        response = await self._attempt(self.opened().get(path, cast_to=self._response, stream=True))
        rest: list[bytes] = []
        try:
            async for chunk in self._chunks(response):
                *whole, last = chunk.split(b"\n")
                for line in whole:
                    yield b"".join([*rest, line])
                    rest = []
                rest.append(last)
                self._check_length(sum(map(len, rest)))
            yield b"".join(rest)
        finally:
            await response.aclose()

    async def _chunks(self, response: Any) -> AsyncGenerator[bytes, None]:
        chunks = response.aiter_bytes().__aiter__()
        while (chunk := await self._attempt(anext(chunks, None))) is not None:
            yield chunk

    async def _object(self, calling: Awaitable[Any], timeout: float | None = None) -> Mapping[str, Any]:
        """Return the JSON object in a response, whose size is bounded like an answer's."""
        response, content = await self._attempt(calling, timeout), bytearray()
        try:
            async for chunk in self._chunks(response):
                content += chunk
                self._check_length(len(content))
        finally:
            await response.aclose()
        return read_object(self.peer, bytes(content), response.headers.get("content-type", ""))

    def _check_length(self, length: int) -> None:
        if length > MOST_BYTES:
            raise too_long(self.peer)

    @property
    def _response(self) -> Any:
        return http_library(self.sdk).Response

    async def _attempt(self, calling: Awaitable[Any], timeout: float | None = None) -> Any:
        seconds = timeout or self.timeout
        with raised(self.sdk, self.peer, seconds):
            return await asyncio.wait_for(calling, seconds)


def open_client(sdk: Any, max_concurrency: int) -> Any:
    """Return an HTTP client for an SDK with `max_concurrency` connections, based on aiohttp if it is installed.

    aiohttp halves the time of a call. The type of the limits is taken from the SDK, because its HTTP library has
    changed before.
    """
    room = max(max_concurrency, 100)
    limits = type(sdk.DEFAULT_CONNECTION_LIMITS)(max_connections=room, max_keepalive_connections=room)
    options = {
        "limits": limits,
        "follow_redirects": False,
        "verify": shared(http_library(sdk).create_ssl_context),
        "event_hooks": {"response": [_read_bounded]},
    }
    try:
        return sdk.DefaultAioHttpClient(**options)
    except RuntimeError:
        return sdk.DefaultAsyncHttpxClient(**options)


async def _read_bounded(response: Any) -> None:
    """Read what an SDK would read in full (errors, and the answer to an upload), up to the bound."""
    if response.status_code < 400 and not response.request.url.path.endswith("/files"):
        return
    content = bytearray()
    async with contextlib.aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            content += chunk
            if len(content) > MOST_ERROR_BYTES:
                break
    await response.aclose()
    response._content = bytes(content[:MOST_ERROR_BYTES])  # returned when the SDK reads it again


def http_library(sdk: Any) -> Any:
    """Return the HTTP library of an SDK: httpx, or its replacement."""
    return sys.modules[type(sdk.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0]]


def client_timeout(sdk: Any, timeout: float) -> Any:
    """Return an SDK's timeout for calls of `timeout` seconds."""
    return sdk.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))


async def exchange(sdk: Any, peer: Peer, calling: Awaitable[Any], timeout: float) -> Mapping[str, Any]:
    """Await the raw response of an SDK or its HTTP library, and return its JSON body.

    Raises Fault for a status of 400 or more, TransportError if there is no answer within `timeout` seconds or the
    answer is not JSON. Errors do not have a cause, because its text may contain a key.
    """
    with raised(sdk, peer, timeout):
        answered = await asyncio.wait_for(calling, timeout)
    response = getattr(answered, "http_response", answered)
    return read_object(peer, response.content, response.headers.get("content-type", ""))


@contextlib.contextmanager
def raised(sdk: Any, peer: Peer, timeout: float) -> Iterator[None]:
    """Raise the errors of an SDK and its HTTP library as Fault or TransportError."""
    try:
        yield
    except sdk.APIStatusError as error:
        raise fault_of(error.response.status_code, error.response.headers, error.response.content) from None
    except (asyncio.TimeoutError, sdk.APIConnectionError, OSError, *_broken_off(sdk)) as error:
        raise (late(peer, timeout) if _is_late(sdk, error) else unreachable(peer, error)) from None


def _is_late(sdk: Any, error: BaseException) -> bool:
    """Return whether an answer is late. OpenAI's SDK also reports a timeout for a failed connection."""
    timeout = isinstance(error, (asyncio.TimeoutError, TimeoutError, sdk.APITimeoutError))
    return timeout and type(error.__cause__).__name__ != "ConnectTimeout"


def _broken_off(sdk: Any) -> tuple[type[BaseException], ...]:
    """Return the errors of the HTTP libraries; the SDKs let some of them through."""
    library = (http_library(sdk).TransportError,)
    try:
        from aiohttp import ClientError
    except ImportError:
        return library
    return (*library, ClientError)
