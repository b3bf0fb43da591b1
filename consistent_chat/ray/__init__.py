"""Fills a response store with the processes of a Ray cluster, for `consistent-chat warm --ray`.

    __init__.py   `warm`
    cluster.py    the caller's side: schedules shards, shows progress, stops workers
    worker.py     the worker side: one online driver for each shard
    ledger.py     the counts and the shared budget of all workers; it works without Ray

Ray is imported only where it is used: the rest of the package does not need it.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from fsspec.utils import get_protocol

from consistent_chat.builder.execution import ExecutionOptions
from consistent_chat.commands.open import open_builder
from consistent_chat.drivers import RunStats
from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.plan.splits import independent
from consistent_chat.store import Mode

__all__ = ["warm"]


def warm(recipe: str | None = None, address: str | None = None, **options: Any) -> dict[str, RunStats]:
    """Fill the response store with the processes of a Ray cluster; return the counts by split.

    Limits apply to the whole cluster. If a worker dies, another restarts its shard and finds the answers so far in the
    store.

    Args: recipe: path or URL of a recipe file, or the name of a config; None for the options alone. address: of the
    cluster, as `ray.init` takes it. None means the cluster of this process if it has one, else the one that
    `RAY_ADDRESS` names or this machine is part of, else processes of this machine only. options: those of
    `load_dataset("consistent_chat", ...)`. `responses` is a location that all machines of the cluster reach; `api_key`
    is sent to the workers within the task and is never shown.

    Raises:
        RecipeError: an option is invalid, or a limit is too low to be shared; no call was made.
        BudgetSpent: `max_calls` or `max_cost` is reached; all answers are kept.
        ConsistentChatError: Ray is not installed or not reachable; the store or the serving cannot be used.
    """
    builder = open_builder(recipe, **options)
    plans, execution = builder.plans(), _for_all_machines(builder.execution)
    try:
        from consistent_chat.ray.cluster import connected, fill
        from consistent_chat.ray.worker import Work
    except ImportError as error:
        raise ConsistentChatError(f'Ray cannot be imported: {error}. pip install "ray>=2.40"') from None
    builder.recipes = independent(builder.recipes)
    before = RunStats()
    builder.fill_from_batches({split: range(len(plan)) for split, plan in plans.items()}, before)
    with connected(address):
        all_stats = fill(Work(execution, builder.recipes), plans, builder.spent)
    next(iter(all_stats.values())).add(before.counts())
    return all_stats


def _for_all_machines(execution: ExecutionOptions) -> ExecutionOptions:
    """Return the options with absolute locations; raises RecipeError if they cannot be shared."""
    if execution.mode is Mode.REFRESH:
        raise RecipeError(
            "mode='refresh' cannot be used with Ray: if a worker dies, its shard would be paid for again. Refresh in "
            "one process, or record into another store."
        )
    if execution.by_batch:
        raise RecipeError(
            "driver='batch' cannot be used with Ray: a provider's batches need one process. Leave out --ray."
        )
    if get_protocol(execution.places[0]) == "memory":
        raise RecipeError(
            f"{execution.places[0]} is in the memory of one process. Pass a folder or a URL as responses=."
        )
    return dataclasses.replace(execution, places=tuple(map(_absolute, execution.places)))


def _absolute(place: str) -> str:
    return place if "://" in place else os.path.abspath(os.path.expanduser(place))
