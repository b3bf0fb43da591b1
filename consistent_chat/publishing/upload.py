"""Sends the files of a folder that a repo or bucket lacks, and deletes those that the folder no longer has."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from consistent_chat.errors import PublishError
from consistent_chat.hub import PAUSES
from consistent_chat.publishing import layout, live
from consistent_chat.publishing.hub import PUBLISHED, ConflictError, Destination, RemoteState
from consistent_chat.retry import retry


@dataclass(frozen=True)
class Sent:
    """Numbers of files, and the address of the commit, "" if nothing had changed."""

    sent: int
    unchanged: int
    removed: int
    where: str = ""

    def __str__(self) -> str:
        if not self.where:
            return f"nothing has changed ({self.unchanged} files)"
        return f"{self.sent} files sent, {self.unchanged} unchanged, {self.removed} removed: {self.where}"


def check(destination: Destination, overwrite: bool) -> RemoteState:
    """Return the state of a destination; raises PublishError if nothing can be published there. Changes nothing."""
    state = destination.look()
    destination.check(state)
    live.check(state.readme)
    if not overwrite and state.manifest is None:
        _refuse_foreign(destination, state)
    return state


def _refuse_foreign(destination: Destination, state: RemoteState) -> None:
    _refuse(destination, layout.foreign(state.files, begun=destination.target.is_bucket))


def _refuse(destination: Destination, foreign: list[str]) -> None:
    """Raise PublishError where there are files that were not published from here."""
    if foreign:
        named = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise PublishError(
            f"{destination.target} already contains other files ({named}). Choose another repo, or pass --overwrite to "
            f"publish beside them; files in {layout.DATA}/ and {layout.FAILURES}/ are then replaced."
        )


def send(
    destination: Destination, folder: Path, state: RemoteState, finish: Callable[[str], None], overwrite: bool = False
) -> Sent:
    """Send what differs, at once. `finish` gets the card that is there and completes the folder.

    Only what was published before is removed, and rows that were not are replaced or removed only to `overwrite` them.
    Where another writer was faster, start again from what it has left. Raises PublishError.
    """
    states = itertools.chain([state], (destination.look() for _ in itertools.count()))
    try:
        return retry(lambda: _send(destination, folder, next(states), finish, overwrite), ConflictError, PAUSES)
    except ConflictError as error:
        raise PublishError(f"{destination.target} could not be written: {error} Run it again.") from None


def _send(
    destination: Destination, folder: Path, state: RemoteState, finish: Callable[[str], None], overwrite: bool
) -> Sent:
    finish(state.readme)
    add = [path for path in layout.paths(folder) if not destination.has(state, path, folder / path)]
    gone = _gone(destination, state, folder)
    unchanged = len(layout.paths(folder)) - len(add)
    if not add and not gone:
        return Sent(0, unchanged, 0)
    if not overwrite:
        _check_ours(destination, state, [*add, *gone])
    where = destination.put(state, folder, add, gone, PUBLISHED)
    return Sent(len(add), unchanged, len(gone), where)


def _check_ours(destination: Destination, state: RemoteState, paths: list[str]) -> None:
    """Raise PublishError where files of others would be replaced or removed, whatever a manifest says of them."""
    if state.manifest is not None and not destination.has_published(state):
        _refuse_foreign(destination, state)
    rows = [path for path in paths if path in state.files and path.startswith(layout.ROWS)]
    _refuse(destination, [path for path in rows if not destination.is_ours(state, path)])


def _gone(destination: Destination, state: RemoteState, folder: Path) -> list[str]:
    """Return what was published before and is no more, and what else would be taken for rows.

    What the manifest names is only asked about: it may be a stranger's, in a pull request that was merged.
    """
    named = set(state.manifest.files if state.manifest else ())
    old = [path for path in state.files if not (folder / path).is_file()]
    return sorted(
        path for path in old if path.startswith(layout.ROWS) or (path in named and destination.is_ours(state, path))
    )
