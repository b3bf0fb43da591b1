"""The caller's side: schedules shards, shows the progress of all workers, and stops them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import heapq
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from consistent_chat.builder.execution import ExecutionOptions
from consistent_chat.builder.progress import CallsBar, dialogues_bar, told_if_stopped
from consistent_chat.drivers import Limits, RunStats, Usage
from consistent_chat.drivers.limits import PER_SERVER
from consistent_chat.drivers.online import Stopped
from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.plan.plan import Plan
from consistent_chat.plan.splits import Shard
from consistent_chat.ray.ledger import Ledger
from consistent_chat.ray.worker import Outcome, Work, run_shard, seconds_a_call
from consistent_chat.store.location import StoreLocation

logger = logging.getLogger(__name__)

Totals = dict[str, RunStats]

LARGEST, SHARDS_A_SEAT = 1_000, 4
"""Maximum number of dialogues in a shard, and minimum number of shards per seat.

A seat's part of the limits stays unused after its last shard, so shards should be short compared to the whole run.
"""
RETRIES = 3
"""Maximum number of restarts of a shard whose worker died."""
KNOCK = 10.0
"""Seconds to wait for an answer at a cluster's address."""
POLL = 0.5
"""Seconds between two polls of the workers."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or use the one that this process is already connected to."""
    if ray.is_initialized():
        if address is not None:
            raise RecipeError(f"This process is already connected to a Ray cluster. Leave out the address {address}.")
        yield
        return
    # Ray would otherwise report usage statistics of a cluster that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        check_reachable(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address=address, include_dashboard=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError) as error:
        where = "here" if address is None else f"at {address}"
        raise ConsistentChatError(f"Cannot connect to Ray {where}: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()


def check_reachable(address: str) -> None:
    """Raise OSError if HOST:PORT does not answer, because Ray would wait for a long time without a message."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK).close()


def fill(work: Work, plans: Mapping[str, Plan], spent: Usage) -> dict[str, RunStats]:
    """Fill the store with all responses of the plans, and return the counts by split; `spent` was spent before."""
    length = sum(map(len, plans.values()))
    workers = _seats(work.execution.limits, length)
    _prepare(work.execution)
    keeper = ray.remote(Ledger).options(num_cpus=0, scheduling_strategy=_here())
    ledger = keeper.remote(work.execution.limits, spent.calls, spent.cost)
    split_rate = dataclasses.replace(work.execution, limits=work.execution.limits.split_rate(workers))
    crew = Scheduler(_sent(dataclasses.replace(work, execution=split_rate)), ledger, workers, split_rate.limits)
    count = max(-(-length // LARGEST), min(length, SHARDS_A_SEAT * workers))
    shards = [Shard(number, count).of(plans) for number in range(1, count + 1)]
    with (
        told_if_stopped(lambda: crew.totals.values()),
        dialogues_bar("Filling", length) as bar,
        CallsBar(next(iter(work.recipes.values())), RunStats()) as calls,
    ):
        totals = crew.run_shard(shards, functools.partial(_show, bar, calls))
    return {split: totals.get(split, RunStats()) for split in plans}


class Scheduler:
    """Runs shards on a fixed number of seats, each with its part of the limits; a seat runs one shard after another."""

    def __init__(self, work: Any, ledger: Any, workers: int, limits: Limits) -> None:
        self._work, self._ledger = work, ledger
        apart = seconds_a_call(limits) / workers
        self._free = [time.monotonic() + apart * seat for seat in range(workers)]  # a heap of start times
        self._queue: deque[tuple[int, dict[str, range]]] = deque()
        self._busy: list[Any] = []
        self._error: ConsistentChatError | None = None
        self.totals: Totals = {}

    def run_shard(self, shards: list[dict[str, range]], show: Callable[[Totals], None]) -> Totals:
        """Run all shards, and return the counts; raise the first error after all workers have ended."""
        self._queue.extend(enumerate(shards))
        try:
            totals = self._finished(show)
        except KeyboardInterrupt:
            logger.warning("Stopping after the calls in flight, to keep their answers. Press Ctrl-C to abandon them.")
            self._stop()
            self._finished(show)
            raise
        if self._error is not None:
            raise self._error
        return totals

    def _finished(self, show: Callable[[Totals], None]) -> Totals:
        while self._queue or self._busy:
            self._schedule()
            for ended in self._ended():
                self._collect(ended)
            self.totals = ray.get(self._ledger.totals.remote())
            show(self.totals)
        return self.totals

    def _schedule(self) -> None:
        while self._queue and self._free and self._free[0] <= time.monotonic():
            heapq.heappop(self._free)
            self._busy.append(_task.remote(self._work, self._ledger, *self._queue.popleft()))

    def _ended(self) -> list[Any]:
        """Wait for a while, and return the tasks that have ended."""
        wait = min([POLL, *(free - time.monotonic() for free in self._free if self._queue)])
        if not self._busy:
            time.sleep(max(wait, 0.0))
            return []
        ended: list[Any]
        ended, self._busy = ray.wait(self._busy, num_returns=1, timeout=max(wait, 0.0))
        return ended

    def _collect(self, ended: Any) -> None:
        try:
            outcome: Outcome = ray.get(ended)
        except ray.exceptions.RayError as error:
            outcome = Outcome(_lost(error))
        heapq.heappush(self._free, time.monotonic() + outcome.rest)
        if outcome.error is not None and not isinstance(outcome.error, Stopped):
            self._error = self._error or outcome.error
            self._stop()

    def _stop(self) -> None:
        self._queue.clear()
        self._ledger.stop.remote()


# Ray retries a shard whose worker died. Expected errors come back as an outcome and are not retried.
_task = ray.remote(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")(run_shard)


def _seats(limits: Limits, length: int) -> int:
    """Return how many shards run at the same time: one per CPU, if the limits can be divided between so many."""
    cpus = int(ray.cluster_resources().get("CPU", 1))
    return max(1, min(cpus, length, *(value for name in PER_SERVER for value in limits.stated(name))))


def _here() -> NodeAffinitySchedulingStrategy:
    """Keep the ledger on the caller's machine, because it is not needed if that machine dies."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _prepare(execution: ExecutionOptions) -> None:
    """Create a folder, which workers check for; each worker prepares a remote location itself."""
    place = StoreLocation(execution.places[0], execution.storage_options)
    if execution.may_call and place.is_local:
        place.prepare()


def _sent(work: Work) -> Any:
    """Put the work into Ray's object store for all workers. Ray shows no arguments, in logs or in its dashboard."""
    serving = work.execution.serving
    try:
        ray.cloudpickle.dumps(serving)
    except Exception as error:  # any error of the user's object
        raise RecipeError(
            f"The serving {type(serving).__name__} cannot be sent to Ray's workers: {type(error).__name__}: {error}. "
            "Open its client in `answer`, or pass a serving by its name."
        ) from None
    return ray.put(work)


def _lost(error: Exception) -> ConsistentChatError:
    if isinstance(error, ray.exceptions.RayTaskError):
        cause = error.cause
        said = f"A worker failed with {type(cause).__name__}: {cause}"
    else:
        said = f"A worker died, and so did {RETRIES} restarts: {str(error).partition(chr(10))[0]}"
    return ConsistentChatError(f"{said.rstrip('.')}. All answers are kept; rerun to resume.")


def _show(bar: Any, calls: CallsBar, totals: Totals) -> None:
    whole = RunStats()
    for stats in totals.values():
        whole.add(stats.counts())
    bar.update(whole.dialogues - bar.n)
    if whole.calls or whole.retries:
        calls.show(whole)
