"""What of a folder is new to a repo or bucket, what there is gone, and sending the difference."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from consistent_chat.errors import PublishError
from consistent_chat.hub import PAUSES
from consistent_chat.publishing import layout, live
from consistent_chat.publishing.hub import ConflictError, Destination, RemoteState
from consistent_chat.retry import retry


@dataclass(frozen=True)
class Sent:
    """Counts of files, and the address of the commit, empty where nothing had changed."""

    sent: int
    unchanged: int
    removed: int
    where: str = ""

    def __str__(self) -> str:
        if not self.where:
            return f"nothing has changed ({self.unchanged} files)"
        return f"{self.sent} files sent, {self.unchanged} unchanged, {self.removed} removed: {self.where}"


def check(destination: Destination, overwrite: bool) -> RemoteState:
    """Return what is there, if one may put a dataset there; raises PublishError. It leaves no trace."""
    state = destination.look()
    destination.check(state)
    live.check(state.readme)
    foreign = [] if state.manifest or overwrite else layout.foreign(state.files, begun=destination.target.is_bucket)
    if foreign:
        named = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise PublishError(
            f"{destination.target} holds something else ({named}). Give another name, or --overwrite to put the "
            f"dataset beside it; files in {layout.DATA}/ and {layout.FAILURES}/ are then replaced."
        )
    return state


def send(destination: Destination, folder: Path, state: RemoteState, finish: Callable[[str], None]) -> Sent:
    """Send what differs, at once. `finish` gets the card that is there and completes the folder.

    Where another writer was faster, start again from what it has left. Raises PublishError.
    """
    states = itertools.chain([state], (destination.look() for _ in itertools.count()))
    try:
        return retry(lambda: _send(destination, folder, next(states), finish), ConflictError, PAUSES)
    except ConflictError as error:
        raise PublishError(f"{destination.target} could not be written: {error} Run it again.") from None


def _send(destination: Destination, folder: Path, state: RemoteState, finish: Callable[[str], None]) -> Sent:
    finish(state.readme)
    add = [path for path in layout.paths(folder) if not destination.has(state, path, folder / path)]
    gone = _gone(state, folder)
    unchanged = len(layout.paths(folder)) - len(add)
    if not add and not gone:
        return Sent(0, unchanged, 0)
    where = destination.put(state, folder, add, gone, "Publish dialogues")
    return Sent(len(add), unchanged, len(gone), where)


def _gone(state: RemoteState, folder: Path) -> list[str]:
    """Return what was published before and is no more, and what else would be taken for rows."""
    ours = set(state.manifest.files if state.manifest else ())
    there = (path for path in state.files if path in ours or path.startswith(layout.ROWS))
    return sorted(path for path in there if not (folder / path).is_file())
