"""An in-memory serving for tests. It answers without a provider, counts calls, and can be set to misbehave."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable

from consistent_chat.request import Request, Response

Script = Callable[[Request, int], "Response | Exception | None"]


def good(request: Request) -> Response:
    """Return a usable answer that depends on the request."""
    texts = {
        name: about["enum"][-1] if "enum" in about else f"{name} of {request.key[7:15]}"
        for name, about in request.schema["properties"].items()
    }
    return Response(json.dumps(texts), input_tokens=100, output_tokens=50)


class Answers:
    """Answer each request after `delay` seconds.

    `script(request, attempt)` may return another response or an exception to raise; None means a good answer.
    """

    def __init__(self, script: Script | None = None, delay: float = 0.0) -> None:
        self.script = script or (lambda request, attempt: None)
        self.delay = delay
        self.asked: Counter[str] = Counter()
        self.in_flight = self.peak = 0

    @property
    def calls(self) -> int:
        """Return how many calls the serving received."""
        return sum(self.asked.values())

    async def answer(self, request: Request) -> Response:
        """Return the response to a request, or raise the exception that the script returns."""
        attempt = self.asked[request.key]
        self.asked[request.key] += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.in_flight -= 1
        scripted = self.script(request, attempt)
        if isinstance(scripted, Exception):
            raise scripted
        return scripted or good(request)
