"""What the processes of one build have spent: in an SQLite file, so that all of them together keep to the limits.

It is for processes of one machine; the workers of a Ray cluster have a ledger.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from consistent_chat.drivers.budget import Usage
from consistent_chat.drivers.limits import Limits
from consistent_chat.errors import BudgetSpent

WAIT = 60.0
"""Seconds to wait for the other processes, each of which needs the file for less than a millisecond."""


class SharedUsage(Usage):
    """A Usage in a file of this folder, which all processes with the same folder share.

    It begins with what was spent `before`. Once a process has no more room, the others make no more calls either: what
    that process tells is then what all have spent. The rate limiter and the costs of recent calls are each process's
    own; the costs of the dearest calls are those of all.
    """

    def __init__(self, folder: str, before: Usage) -> None:
        super().__init__(before.calls, before.cost, costs=before.costs, outputs=before.outputs)
        self.dearest = before.dearest
        self._path = Path(folder, "usage.sqlite")
        self._over: str | None = None
        with self._open() as file:
            file.execute("CREATE TABLE usage (calls, cost, in_flight, reserved, dearest, spent)")
            file.execute(
                "INSERT INTO usage VALUES (?, ?, 0, 0.0, ?, NULL)", (self.calls, self.cost, json.dumps(self.dearest))
            )

    def reserve(self, limits: Limits, most: float, likely: float, guessed: str = "") -> bool:
        """Reserve a call among those of all processes; return False if it must wait. Raises BudgetSpent."""
        with self._locked():
            if self._over is not None:
                raise BudgetSpent(self._over)
            return super().reserve(limits, most, likely, guessed)

    def settle(self, reserved: float, calls: int, cost: float, in_flight: int = 1, model: str = "") -> None:
        """Replace the reservation of calls in flight, of one model, by the answered calls and their cost."""
        with self._locked():
            super().settle(reserved, calls, cost, in_flight, model)

    def alone(self) -> Usage:
        """Return what all processes have spent, after they have ended."""
        with self._locked():
            return Usage(self.calls, self.cost, costs=self.costs, outputs=self.outputs, dearest=self.dearest)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file anew, because a connection must not pass to a forked process."""
        with contextlib.closing(sqlite3.connect(self._path, WAIT, isolation_level=None)) as file:
            file.execute("PRAGMA synchronous = OFF")  # the file is not needed after the build
            yield file

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Read what all processes have spent, and write it back after a change."""
        with self._open() as file:
            file.execute("BEGIN IMMEDIATE")
            row = file.execute("SELECT calls, cost, in_flight, reserved, dearest, spent FROM usage").fetchone()
            self.calls, self.cost, self.in_flight, self.reserved, dearest, self._over = row
            self.dearest = json.loads(dearest)
            try:
                yield
            except BudgetSpent as error:
                self._over = str(error)
                raise
            finally:
                dearest = json.dumps(self.dearest)
                values = (self.calls, self.cost, self.in_flight, self.reserved, dearest, self._over)
                file.execute("DELETE FROM usage")
                file.execute("INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?)", values)
                file.execute("COMMIT")
