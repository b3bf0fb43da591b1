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
    state = destination.state()
    destination.check(state)
    live.check(state.readme)
    if not overwrite and state.manifest is None:
        _refuse_foreign(destination, state)
    return state


def _refuse_foreign(destination: Destination, state: RemoteState) -> None:
    _refuse(destination, layout.foreign(state.files, interrupted=destination.target.is_bucket))


def _refuse(destination: Destination, foreign: list[str]) -> None:
    """Raise PublishError if there are files that this package did not publish."""
    if foreign:
        named = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise PublishError(
            f"{destination.target} already contains other files ({named}). Choose another repo, or pass --overwrite to "
            f"publish beside them; files in {layout.DATA}/ and {layout.FAILURES}/ are then replaced."
        )


def send(
    destination: Destination, folder: Path, state: RemoteState, finish: Callable[[str], None], overwrite: bool = False
) -> Sent:
    """Send files that differ, in one step. `finish` gets the present card and completes the folder.

    Only files published before are removed; other rows are replaced or removed only with `overwrite`.
    If another writer was faster, start again from its state. Raises PublishError.
    """
    states = itertools.chain([state], (destination.state() for _ in itertools.count()))
    try:
        return retry(lambda: _send(destination, folder, next(states), finish, overwrite), ConflictError, PAUSES)
    except ConflictError as error:
        raise PublishError(f"{destination.target} could not be written: {error} Rerun the command.") from None


def _send(
    destination: Destination, folder: Path, state: RemoteState, finish: Callable[[str], None], overwrite: bool
) -> Sent:
    finish(state.readme)
    add = [path for path in layout.paths(folder) if not destination.has(state, path, folder / path)]
    gone = _obsolete(destination, state, folder)
    unchanged = len(layout.paths(folder)) - len(add)
    if not add and not gone:
        return Sent(0, unchanged, 0)
    if not overwrite:
        _check_ours(destination, state, [*add, *gone])
    where = destination.put(state, folder, add, gone, PUBLISHED)
    return Sent(len(add), unchanged, len(gone), where)


def _check_ours(destination: Destination, state: RemoteState, paths: list[str]) -> None:
    """Raise PublishError if files of others would be replaced or removed, even if a manifest lists them."""
    if state.manifest is not None and not destination.has_published(state):
        _refuse_foreign(destination, state)
    rows = [path for path in paths if path in state.files and path.startswith(layout.ROWS)]
    _refuse(destination, [path for path in rows if not destination.is_ours(state, path)])


def _obsolete(destination: Destination, state: RemoteState, folder: Path) -> list[str]:
    """Return published files that are now obsolete, and other files that would be loaded as rows.

    The manifest may be a stranger's, from a merged pull request, so each file that it names is checked.
    """
    named = set(state.manifest.files if state.manifest else ())
    old = [path for path in state.files if not (folder / path).is_file()]
    return sorted(
        path for path in old if path.startswith(layout.ROWS) or (path in named and destination.is_ours(state, path))
    )
