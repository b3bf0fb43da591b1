"""The online driver: runs dialogues that need calls concurrently, in an event loop in its own thread.

The thread makes it usable everywhere, including a notebook's running loop. It is independent of providers, prompts and
rows.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any

from consistent_chat.dialogue.work import Dialogue, FailedDraw, Steps
from consistent_chat.drivers.budget import Budget
from consistent_chat.drivers.call_queue import Order
from consistent_chat.drivers.calls import Caller, Calls
from consistent_chat.drivers.limits import Limits
from consistent_chat.drivers.replay import replay_until_missing
from consistent_chat.drivers.retry import CircuitBreaker
from consistent_chat.drivers.stats import RunStats
from consistent_chat.errors import ConsistentChatError
from consistent_chat.request import Request
from consistent_chat.serving import Serving
from consistent_chat.store import ResponseStore

WINDOW = 8
"""Dialogues started ahead per call in flight: few enough to fit into memory."""
SMALLEST_WINDOW = 1024
"""Minimum number of dialogues started ahead, so that slots stay in use while one slow call delays the rows. With 30
calls in flight, 256 left a ninth of the slots idle when some calls took thirty times the median (`online.py b`).
"""
UNDISTURBED = 0.02
"""Maximum seconds in which the first calls are sent while the calling thread rests."""
DELIVER_EVERY = 0.02
"""Minimum seconds between two deliveries of finished dialogues while responses are waiting to be checked: waking the
thread that makes the rows costs more than making a row."""


class Stopped(ConsistentChatError):
    """The run was stopped before this dialogue was finished."""


class Online:
    """Runs dialogues with up to `max_concurrency` calls in flight. The first permanent error stops the run.

    At most `window` dialogues are started ahead.
    """

    def __init__(self, serving: Serving, store: ResponseStore, budget: Budget, limits: Limits, stats: RunStats) -> None:
        self.window = max(SMALLEST_WINDOW, WINDOW * limits.max_concurrency)
        self._serving, self._store, self._max_draws = serving, store, limits.max_draws
        self._loop = asyncio.new_event_loop()
        caller = Caller(serving, store.keep, budget, stats, limits.wait_for_server)
        self._calls = Calls(caller, self._loop.time)
        self._breaker = CircuitBreaker()
        self._submitted: deque[tuple[Future[Dialogue], Coroutine[Any, Any, Dialogue]]] = deque()
        self._tasks: set[asyncio.Task[Dialogue]] = set()
        self._ended: list[tuple[Future[Dialogue], asyncio.Task[Dialogue]]] = []
        self._next_delivery = 0.0
        self._has_answers = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="consistent_chat", daemon=True)
        self._thread.start()

    def submit(self, order: Order, steps: Steps, request: Request, failed: list[FailedDraw]) -> Future[Dialogue]:
        """Continue a dialogue that needs an answer to this request.

        The dialogue appends its unusable answers to `failed`.
        """
        future: Future[Dialogue] = Future()
        self._submitted.append((future, self._finish(order, steps, request, failed)))
        if len(self._submitted) == 1:  # otherwise the loop is awake, and will start this one, too
            self._loop.call_soon_threadsafe(self._start)
        return future

    def let_send(self) -> None:
        """Wait until the first calls are sent, or one is answered: on one core, other work would delay all of them."""
        self._has_answers.wait(UNDISTURBED)

    def stop(self) -> None:
        """Start no more calls, wait for those in flight so that their answers are kept, and close the serving.

        A KeyboardInterrupt while waiting abandons calls in flight, and is raised again.
        """
        try:
            self._run(self._drain()).result()
        finally:
            self._run(self._abandon()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _start(self) -> None:
        while self._submitted:
            future, finishing = self._submitted.popleft()
            task = self._loop.create_task(finishing)
            self._tasks.add(task)
            task.add_done_callback(partial(self._end, future))

    def _end(self, future: Future[Dialogue], task: asyncio.Task[Dialogue]) -> None:
        self._tasks.discard(task)
        self._ended.append((future, task))
        if self._loop.time() >= self._next_delivery or not self._calls.turns.is_busy:
            self._deliver()
        elif len(self._ended) == 1:
            self._loop.call_at(self._next_delivery, self._deliver)

    def _deliver(self) -> None:
        """Hand over the dialogues that have ended since the last delivery."""
        ended, self._ended = self._ended, []
        self._next_delivery = self._loop.time() + DELIVER_EVERY
        for future, task in ended:
            if task.cancelled():
                future.cancel()
            elif (error := task.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(task.result())

    async def _finish(self, order: Order, steps: Steps, request: Request, failed: list[FailedDraw]) -> Dialogue:
        try:
            while True:
                response = await self._calls.ask(order, request)
                self._has_answers.set()
                await self._calls.turns.take()
                unusable = len(failed)
                step = replay_until_missing(steps, response, self._store.find, self._max_draws)
                self._breaker.test(request, response, failed, step)
                self._calls.turns.in_doubt = self._breaker.in_doubt
                if isinstance(step, Dialogue):
                    return step
                request = step
                order = order.following(is_usable=len(failed) == unusable)
        except Exception as error:
            self._calls.close(error)
            raise

    async def _drain(self) -> None:
        self._calls.close(Stopped("The run was stopped. All answers are kept; rerun to resume."))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _abandon(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._deliver()
        close = getattr(self._serving, "close", None)
        if close is not None:
            await close()
