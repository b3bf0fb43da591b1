"""Fixtures and helpers for the tests of publishing: a Hub, a user's machine, and commands that run there.

See tests/hub/machines.py. A test module imports the fixtures by
`hub, user, name = published.hub, published.user, published.name`.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from datasets import config, load_dataset
from huggingface_hub import HfApi

import consistent_chat
from consistent_chat.cli import main
from tests.hub import Hub
from tests.hub.machines import Machine, machine

COUNTER = itertools.count()
KNOWS_BUCKETS = hasattr(HfApi, "batch_bucket_files")
needs_buckets = pytest.mark.skipif(not KNOWS_BUCKETS, reason="this huggingface_hub knows no buckets")
SMALL = {"num_dialogs_per_intent": 1, "num_turns_per_dialog": 2, "intents": ["simulation", "educational"]}
"""Two dialogues."""


class Done(NamedTuple):
    """A command's exit code and output."""

    code: int
    said: str


def command(*arguments: str) -> Done:
    """Run `consistent-chat` in this process, and return its exit code and output."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, said.getvalue())


def rehearse(store: str, **given: Any) -> None:
    """Fill a store with the responses of the rehearsal serving."""
    load_dataset("consistent_chat", serving="rehearsal", responses=store, **{**SMALL, **given})
    forget()


def rows(path: str, *args: Any, **given: Any) -> list[dict[str, Any]]:
    """Build a dataset anew, and return its rows."""
    assert consistent_chat
    forget()
    return list(load_dataset(path, *args, **{"split": "train", **given}))


def forget() -> None:
    """Delete every dataset that was built."""
    shutil.rmtree(config.HF_DATASETS_CACHE, ignore_errors=True)


def edited(content: bytes, folder: Path, edit: Callable[[dict[str, Any]], None], row: int) -> bytes:
    """Return the bytes of a Parquet file with one row changed."""
    path = folder / "edited.parquet"
    path.write_bytes(content)
    table = pq.read_table(path)
    values = table.to_pylist()
    edit(values[row])
    pq.write_table(table.from_pylist(values, table.schema), path)
    return path.read_bytes()


def call(*args: Any, **given: Any) -> Any:
    """Publish by the function `consistent_chat.publish`."""
    return consistent_chat.publish(*args, **given)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """Run one Hub for all tests of a module."""
    with Hub() as running:
        yield running


@pytest.fixture(scope="module")
def user(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Provide a machine whose user has write access."""
    made = machine(hub, tmp_path_factory.mktemp("user"))
    yield made
    made.pool.shutdown()


@pytest.fixture
def name(hub: Hub) -> str:
    """Return the name of a repository that does not exist yet, and clear what the Hub has recorded."""
    for seen in (hub.requests, hub.commits, hub.broken, hub.passing, hub.lost):
        seen.clear()
    return f"me/published-{next(COUNTER)}"


def publish(user: Machine, name: str, *options: str, recipe: str = "demo") -> str:
    """Publish a recipe by the command, and return its output."""
    done = user.run(command, "publish", recipe, name, *options)
    assert done.code == 0, done.said
    return str(done.said)


def refused(user: Machine, code: int, *arguments: str) -> str:
    """Return the output of `publish` when it ends with this exit code."""
    done = user.run(command, "publish", *arguments)
    assert done.code == code, done.said
    return str(done.said)
