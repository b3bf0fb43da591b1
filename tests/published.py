"""What the processes of the tests of publishing do: publish, verify, load. See tests/hub/machines.py."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from datasets import config, load_dataset

import consistent_chat
from consistent_chat.cli import main
from consistent_chat.publishing import live, sending

SMALL = {"num_dialogs_per_intent": 1, "num_turns_per_dialog": 2, "intents": ["simulation", "educational"]}
"""Two dialogues."""


class Done(NamedTuple):
    """A command's exit code, and what it said."""

    code: int
    said: str


def command(*arguments: str) -> Done:
    """Run `consistent-chat`."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, said.getvalue())


def rehearse(store: str, **given: Any) -> None:
    """Fill a store with what a rehearsal answers."""
    load_dataset("consistent_chat", serving="rehearsal", responses=store, **{**SMALL, **given})
    forget()


def rows(path: str, *args: Any, **given: Any) -> list[dict[str, Any]]:
    """Return the rows of a dataset, made anew."""
    assert consistent_chat
    forget()
    return list(load_dataset(path, *args, **{"split": "train", **given}))


def forget() -> None:
    """Forget every dataset that was built."""
    shutil.rmtree(config.HF_DATASETS_CACHE, ignore_errors=True)


def settle(seconds: float) -> None:
    """Let progress be shown every so many seconds."""
    live.SECONDS = seconds


def impatient() -> None:
    """Try nothing twice."""
    sending.PAUSES = ()


def edited(content: bytes, folder: Path, edit: Callable[[dict[str, Any]], None], row: int) -> bytes:
    """Return a Parquet file with one row changed."""
    path = folder / "edited.parquet"
    path.write_bytes(content)
    table = pq.read_table(path)
    values = table.to_pylist()
    edit(values[row])
    pq.write_table(table.from_pylist(values, table.schema), path)
    return path.read_bytes()


def only(files: Mapping[str, bytes], ending: str) -> str:
    """Return the one path that ends so."""
    (path,) = (path for path in files if path.endswith(ending))
    return path


def call(*args: Any, **given: Any) -> Any:
    """Publish by the function."""
    return consistent_chat.publish(*args, **given)
