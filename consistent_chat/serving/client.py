"""The HTTP layer of all servings: one pool of connections, bounded bodies, no redirects, streams read in full.

It uses aiohttp. In one measurement (benchmarks/wire.py: 100 calls in flight, a server in another process), a call takes
0.24 ms of CPU with aiohttp alone, 0.73 ms with an SDK's raw responses over aiohttp, and 1.79 ms with the SDK's own
parsing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import urllib.request
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from consistent_chat.errors import TransportError
from consistent_chat.request import wire_json
from consistent_chat.serving.http import (
    CONNECT_SECONDS,
    MOST_BYTES,
    Peer,
    fault_of,
    late,
    read_object,
    redirect_error,
    too_long,
    unreachable,
)
from consistent_chat.serving.tls import trusted

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

EVENT_STREAM = "text/event-stream"

Join = Callable[[list[Any], bool], Mapping[str, Any]]
"""Joins the events of a stream into the object that the server would send without streaming.

The second argument tells whether the stream announced its end.
"""


class HttpClient:
    """Posts JSON to one server. It is bound to the event loop of its first call.

    `base_url` precedes all paths; `headers` go with each call. `timeout` is in seconds per call.
    """

    def __init__(
        self, peer: Peer, base_url: str, headers: Mapping[str, str], timeout: float, max_concurrency: int
    ) -> None:
        import aiohttp

        self._peer, self._base_url = peer, base_url.rstrip("/")
        self._timeout = timeout
        self._proxy = _proxy(base_url)
        room = connection_limit(max_concurrency)
        tls: Any = trusted() if base_url.lower().startswith("https:") else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=room, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, CONNECT_SECONDS)),
            headers={
                "content-type": "application/json",
                "accept": f"application/json, {EVENT_STREAM}",
                "accept-encoding": "gzip, deflate",
                "user-agent": "consistent_chat",
                **headers,
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def post(
        self, path: str, body: Mapping[str, Any], join: Join, headers: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """Post a JSON object and return the object in the answer; `join` makes that object from the events of a stream.

        Raises Fault for a status of 400 or more, RefusedAccess for a redirect, TransportError if the answer is not
        complete. Errors do not have a cause, because its text may contain a key.
        """
        return await self._caught(self._post(path, wire_json(body), join, headers), self._timeout)

    async def get(self, path: str, timeout: float) -> Mapping[str, Any]:
        """Return the JSON object at a path, within `timeout` seconds; raises as `post` does."""
        return await self._caught(asyncio.wait_for(self._get(path), timeout), timeout)

    async def _caught(self, calling: Awaitable[Mapping[str, Any]], timeout: float) -> Mapping[str, Any]:
        import aiohttp

        try:
            return await calling
        except aiohttp.ConnectionTimeoutError as error:
            raise unreachable(self._peer, error) from None
        except (asyncio.TimeoutError, TimeoutError):
            raise late(self._peer, timeout) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise unreachable(self._peer, error) from None

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _post(self, path: str, body: bytes, join: Join, headers: Mapping[str, str] | None) -> Mapping[str, Any]:
        url = self._base_url + path
        async with self._session.post(
            url, data=body, headers=headers, proxy=self._proxy, allow_redirects=False
        ) as response:
            status, kind = response.status, response.headers.get("content-type", "")
            if 300 <= status < 400:
                raise redirect_error(self._peer, status, url, path, response.headers.get("location", ""))
            if status < 400 and kind.lower().startswith(EVENT_STREAM):
                return join(*await self._events(self._decoded(response)))
            content = await self._content(response)
            if status >= 400:
                raise fault_of(status, response.headers, content)
            if _LIKE_EVENTS.match(content):  # a stream whose content type was changed by a proxy
                return join(*await self._events(_once(content)))
            return read_object(self._peer, content, kind)

    async def _get(self, path: str) -> Mapping[str, Any]:
        url = self._base_url + path
        async with self._session.get(url, proxy=self._proxy, allow_redirects=False) as response:
            content = await self._content(response)
            if response.status != 200:
                raise fault_of(response.status, response.headers, content)
            return read_object(self._peer, content, response.headers.get("content-type", ""))

    async def _content(self, response: Any) -> bytes:
        """Return a decoded body; raise TransportError as `_decoded` does."""
        if "content-encoding" not in response.headers and (response.content_length or MOST_BYTES + 1) <= MOST_BYTES:
            return bytes(await response.read())
        return b"".join([piece async for piece in self._decoded(response)])

    async def _decoded(self, response: Any) -> AsyncIterator[bytes]:
        """Yield a decoded body piece by piece; raise TransportError if it is too long or breaks off."""
        encoding, length = response.headers.get("content-encoding", "identity").lower().strip(), 0
        unzip = zlib.decompressobj(wbits=47) if encoding in ("gzip", "x-gzip", "deflate") else None
        if unzip is None and encoding not in ("identity", ""):
            raise TransportError(f"{self._peer.place} sent an answer in a content encoding that was not requested.")
        async for chunk in response.content.iter_any():
            piece = chunk if unzip is None else self._unzipped(unzip, chunk, MOST_BYTES - length + 1)
            length += len(piece)
            if length > MOST_BYTES:
                raise too_long(self._peer)
            yield piece
        if unzip is not None and length and not unzip.eof:
            raise TransportError(f"{self._peer.place} sent an incomplete compressed answer.")

    def _unzipped(self, unzip: Any, chunk: bytes, room: int) -> bytes:
        try:
            return bytes(unzip.decompress(chunk, room))
        except zlib.error:
            raise TransportError(f"{self._peer.place} sent a damaged compressed answer.") from None

    async def _events(self, pieces: AsyncIterator[bytes]) -> tuple[list[Any], bool]:
        """Return the JSON values of a stream's events, and whether the stream ended with `[DONE]`."""
        values: list[Any] = []
        async for name, data in events(pieces):
            if data == b"[DONE]":
                return values, True
            value = read_object(self._peer, data, EVENT_STREAM)
            values.append({"error": value} if name == b"error" and not value.get("error") else value)
        return values, False


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[bytes, bytes]]:
    """Yield the name and the data of each event of a stream, according to the standard of server-sent events."""
    name, data = b"", list[bytes]()
    async for line in _lines(pieces):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.strip())
        elif field == b"event":
            name = value.strip()
        elif not line:
            if data:
                yield name, b"\n".join(data)
            name, data = b"", []
    if data:
        yield name, b"\n".join(data)


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield lines without their ends, which may be CR, LF or both, in linear time."""
    rest: list[bytes] = []
    after_cr = False
    async for piece in pieces:
        whole = piece[1:] if after_cr and piece.startswith(b"\n") else piece
        after_cr = piece.endswith(b"\r") if piece else after_cr
        *lines, last = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            yield b"".join([*rest, line])
            rest = []
        rest.append(last)
    yield b"".join(rest)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


_LIKE_EVENTS = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:(?:data|event|id|retry):|:)")


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment names for an address.

    With `trust_env`, aiohttp itself would replace the key by the credentials in a .netrc file.
    """
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if proxy and proxy.startswith("http") else None


class Connection:
    """Opens a serving's clients. `url` is the API's address, `timeout` is in seconds per call.

    `open_sdk` returns the SDK's client for a timeout and a number of connections. It must be picklable.
    """

    def __init__(
        self,
        peer: Peer,
        url: str,
        timeout: float,
        max_concurrency: int,
        open_sdk: Callable[[float, int], Any] | None = None,
    ) -> None:
        # Takes 0.3 s. In the event loop's thread it would compete with what the other thread does meanwhile.
        import aiohttp  # noqa: F401

        self.timeout = timeout
        self._peer, self._url, self._max_concurrency, self._open_sdk = peer, url, max_concurrency, open_sdk
        self._client: HttpClient | None = None
        self._sdk: Any = None

    def client(self) -> HttpClient:
        """Return the HTTP client, which sends the peer's key as a bearer token."""
        if self._client is None:
            key = {"authorization": f"Bearer {self._peer.key}"}
            self._client = HttpClient(self._peer, self._url, key, self.timeout, self._max_concurrency)
        return self._client

    def sdk(self) -> Any:
        """Return the SDK's client."""
        if self._sdk is None and self._open_sdk is not None:
            self._sdk = self._open_sdk(self.timeout, self._max_concurrency)
        return self._sdk

    async def close(self) -> None:
        """Close all clients. The next call opens new ones, in its own event loop."""
        opened, self._client, self._sdk = (self._client, self._sdk), None, None
        for client in opened:
            if client is not None:
                await client.close()


logger = logging.getLogger(__name__)

RESERVE = 32
"""Number of open files reserved for other uses: journals, packs, the dataset, modules imported later."""


def connection_limit(wanted: int) -> int:
    """Return how many connections the limit of open files allows, and warn if that is fewer than requested.

    The limit is raised first, if the system allows it.
    """
    if resource is None:
        return wanted
    limit = _raised(wanted + RESERVE + _open())
    room = wanted if limit == resource.RLIM_INFINITY else max(1, min(wanted, limit - RESERVE - _open()))
    if room < wanted:
        logger.warning(
            "At most %d of %d connections will be open at once, since this process may open %d files. Raise the limit "
            "(ulimit -n), or lower max_concurrency=.",
            room,
            wanted,
            limit,
        )
    return room


def _raised(needed: int) -> int:
    """Return the limit of open files, after raising it to `needed` if it is lower and the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return soft
    better = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (better, hard))
    except (OSError, ValueError):  # a system with a second limit
        return soft
    return better


def _open() -> int:
    """Return how many files are open; an estimate if the system has no list of them."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return RESERVE
