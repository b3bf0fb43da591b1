"""Distinguishes refusals of one prompt from those of the account, the server or the form of all requests.

A refusal concerns one prompt if the same request was refused several times while others of its kind, sent after it,
were answered. If no others are in flight, a harmless prompt of the same length and form is sent.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace

from consistent_chat.errors import RefusedAccess, RefusedRequest, ServingError, TransportError
from consistent_chat.request import Request, Response

TRIES = 3
"""Tries after which a request is given up that is refused each time while others are answered."""
HARMLESS = "Write about the weather of an ordinary day in spring, and of a walk in the park. "
LONGEST = 4_000
"""Characters of the harmless prompt."""

Refusal = RefusedRequest | RefusedAccess
Kind = tuple[str, str]


class Refusals:
    """Records which kinds of requests (by model and stage) are answered.

    `ask` sends a request and keeps nothing. `make_up` returns the harmless request to compare with a refused one.
    """

    def __init__(
        self, ask: Callable[[Request], Awaitable[Response]], make_up: Callable[[Request], Request] | None = None
    ) -> None:
        self._ask, self._make_up = ask, make_up or harmless
        self._clock = itertools.count(1)
        self._latest: dict[Kind, int] = {}
        self._failed: dict[Kind, int] = {}  # the last harmless request that failed too
        self._asking: dict[Kind, asyncio.Lock] = {}
        self._in_vain: dict[Kind, int] = {}
        self._stopped: ServingError | None = None

    def sent(self) -> int:
        """Return the number of a request sent now."""
        return next(self._clock)

    def answered(self, request: Request, sent: int) -> None:
        """Record an answer to the request of this number."""
        kind = _kind(request)
        self._latest[kind] = max(self._latest.get(kind, 0), sent)
        self._in_vain[kind] = 0

    def has_answered(self, request: Request) -> bool:
        """Tell whether a request of this kind was ever answered."""
        return _kind(request) in self._latest

    async def settle(self, request: Request, tries: int, first: int, error: Refusal) -> Response | None:
        """Return the refusal to record for this prompt, or None to retry it; raise the error that stops the run.

        `first` is the number of the request when it was first refused.
        """
        kind = _kind(request)
        if kind not in self._latest:
            if isinstance(error, RefusedAccess) and not error.asks_others:
                raise _stopped(error, tries)
            await self._ask_harmless(request, tries, error, first)
            return None
        self._in_vain[kind] = self._in_vain.get(kind, 0) + 1
        if self._latest[kind] <= first and self._in_vain[kind] >= TRIES:
            await self._ask_harmless(request, tries, error, first)
        if tries < TRIES:
            return None
        return Response(error.words or str(error), "refusal") if self._latest.get(kind, 0) > first else None

    async def give_up(self, request: Request, sent: int, error: TransportError) -> Response | None:
        """Return the refusal to record for a request that has failed on every try, or None if others fail too.

        `sent` is the number of its last try: earlier answers do not exclude an outage. Some filters and templates
        answer with a 500, which would otherwise stop every run at the same prompt.
        """
        if self._latest.get(_kind(request), 0) <= sent:
            await self._ask_harmless(request, 1, error, sent)
        is_alone = self._latest.get(_kind(request), 0) > sent
        return Response(str(error), "refusal") if is_alone else None

    async def _ask_harmless(self, request: Request, tries: int, error: ServingError, first: int) -> None:
        """Send a harmless request, once for all that wait for it; raise the refusal if it is refused too."""
        async with self._asking.setdefault(_kind(request), asyncio.Lock()):
            if self._latest.get(_kind(request), 0) > first:
                return
            if isinstance(error, TransportError) and self._failed.get(_kind(request), 0) > first:
                return
            if self._stopped is not None:
                raise self._stopped
            sent = self.sent()
            try:
                await self._ask(self._make_up(request))
            except TransportError:
                self._failed[_kind(request)] = sent
                return
            except ServingError as other:
                if isinstance(other, (RefusedRequest, RefusedAccess)):
                    self._stopped = _stopped(error, tries)
                    raise self._stopped from None
                raise
            self.answered(request, sent)


def harmless(request: Request) -> Request:
    """Return a request of the same kind, form and similar length that no filter refuses."""
    length = min(LONGEST, sum(len(message["content"]) for message in request.messages))
    text = (HARMLESS * (length // len(HARMLESS) + 1))[: max(length, len(HARMLESS))]
    wanted = "Answer briefly." if request.schema is None else "Answer with the JSON that is asked for."
    system = wanted if request.system else ""
    return replace(request, system=system, messages=({"role": "user", "content": text},))


def _kind(request: Request) -> Kind:
    return request.model, request.stage


def _stopped(error: ServingError, tries: int) -> ServingError:
    """Return the error with which a refusal stops the run."""
    said = str(error) if tries == 1 else f"{str(error).rstrip('.')}. Stopping after {tries} tries."
    return ServingError(f"{said} All answers are kept; rerun to resume.")
