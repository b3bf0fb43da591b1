"""Servings, which answer requests: one module per provider, and a registry.

A serving is any object with one coroutine method:

    class Shout:
        def __init__(self, *, base_url=None, api_key=None, timeout=600.0, max_concurrency=30): ...
        async def answer(self, request: Request) -> Response: ...

It raises TransportError for a temporary fault (the driver waits and retries), ServingError for a permanent one, and
returns everything else that the model said, usable or not. If it has a coroutine method `close`, that is
awaited at the end of a run; another run, in another event loop, may follow. Between the two it is used from one
event loop. It must be picklable until its first answer.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from consistent_chat.request import Request, Response


@runtime_checkable
class Serving(Protocol):
    """Answers requests."""

    async def answer(self, request: Request) -> Response:
        """Return the model's response. Raises TransportError or ServingError."""
