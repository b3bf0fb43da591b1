"""The connections of a serving: its HTTP client and, for batches, its SDK's client. Each opens at its first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from consistent_chat.serving.client import HttpClient
from consistent_chat.serving.http import Peer


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
