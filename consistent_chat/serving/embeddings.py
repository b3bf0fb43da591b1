"""Embeddings from any server with OpenAI's `/v1/embeddings`: the answer to a request is the vector of its text.

Because this is a serving, drivers limit, retry and count these calls like all others, and a response store keeps the
vectors like responses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from consistent_chat.request import Request, Response
from consistent_chat.serving.client import HttpClient
from consistent_chat.serving.http import Fault, Peer, broken, count
from consistent_chat.serving.openai import PLACEHOLDER
from consistent_chat.serving.openai_chat import join
from consistent_chat.serving.settings import checked_url, find_key, warn_of_plain_http

PATH = "/embeddings"
DIGITS = 6
"""Significant digits that are kept of a number: about the precision of the 32-bit floats that servers use."""


class Embeddings:
    """Answers with the vector of a request's only message, as a JSON list of numbers.

    `base_url` is the server's address up to and including `/v1`. `api_key` defaults to OPENAI_API_KEY; the user's own
    server does not need a key. `timeout` is in seconds per call. Raises RecipeError if base_url is not an address.
    """

    def __init__(
        self, base_url: str, api_key: str | None = None, timeout: float = 600.0, max_concurrency: int = 30
    ) -> None:
        url = checked_url(base_url) or base_url
        found = find_key("OpenAI", api_key, ("OPENAI_API_KEY",))
        self._peer = Peer("the embedding server", "OPENAI_API_KEY", found[0] if found else PLACEHOLDER, url)
        warn_of_plain_http(url, found is not None)
        self._url, self._timeout, self._max_concurrency = url, timeout, max_concurrency
        self._client: HttpClient | None = None

    async def answer(self, request: Request) -> Response:
        """Return the vector. Raises TransportError or ServingError."""
        if self._client is None:
            key = {"authorization": f"Bearer {self._peer.key}"}
            self._client = HttpClient(self._peer, self._url, key, self._timeout, self._max_concurrency)
        body = {"model": request.model, "input": request.messages[0]["content"], "encoding_format": "float"}
        try:
            return _read(self._peer, await self._client.post(PATH, body, join))
        except Fault as fault:
            raise self._peer.error(fault, request.model) from None

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def _read(peer: Peer, body: Mapping[str, Any]) -> Response:
    """Return the vector in the body of an answer. Raises TransportError if the body has no vector."""
    data = body.get("data")
    first = data[0] if isinstance(data, list) and data else {}
    vector = first.get("embedding") if isinstance(first, dict) else None
    if not isinstance(vector, list) or not vector or not all(map(_is_finite, vector)):
        raise broken(peer, body, "embedding")
    usage = body.get("usage")
    tokens = count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
    numbers = [float(f"{number:.{DIGITS}g}") for number in vector]
    return Response(json.dumps(numbers, separators=(",", ":")), "stop", tokens, 0 if tokens is not None else None)


def _is_finite(number: Any) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
