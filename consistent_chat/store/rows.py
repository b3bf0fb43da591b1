"""Reads rows of packs: single rows from their pages, neighbouring rows by their whole row group."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any

from consistent_chat.store.pack import Pack, RowGroup

GROUPS_KEPT = 16
"""Number of decoded groups held, at most 4 MB each. A plan reads in about the order in which responses arrived."""
RECENT, NEIGHBOURS = 8, 3
"""A group is decoded if it has this many of the last single rows, because a plan usually needs all of its rows."""


class RowReader:
    """Reads rows of packs, in any order."""

    def __init__(self, packs: Sequence[Pack]) -> None:
        self._packs = packs
        self._groups: OrderedDict[tuple[int, int], RowGroup] = OrderedDict()
        self._recent: deque[tuple[int, int]] = deque(maxlen=RECENT)
        self._last = _NO_ROWS

    def read(self, number: int, row: int) -> tuple[Any, ...]:
        """Return generation, response and digest of a row of a pack, in the fastest way. Callers verify the digest."""
        of, start, end, decoded = self._last
        if of == number and start <= row < end:
            return decoded.generation[row - start], decoded.response[row - start], decoded.sha256[row - start]
        pack = self._packs[number]
        group = bisect_right(pack.ends, row)
        place = number, group
        follows = of == number and end == pack.start(group) and row < end + RECENT  # as in a replay of the whole plan
        if not follows and place not in self._groups and self._recent.count(place) < NEIGHBOURS:
            self._recent.append(place)
            if (alone := pack.row(group, row)) is not None:
                return alone
        return self.read_group(number, row)

    def read_group(self, number: int, row: int) -> tuple[Any, ...]:
        """Return the same, but let Arrow read all rows of the group.

        Raises DamagedRecord if the group cannot be read.
        """
        pack = self._packs[number]
        place = number, group = number, bisect_right(pack.ends, row)
        decoded = self._groups.pop(place, None) or pack.group(group)
        self._groups[place] = decoded
        if len(self._groups) > GROUPS_KEPT:
            self._groups.popitem(last=False)
        start = pack.start(group)
        self._last = number, start, start + len(decoded.sha256), decoded
        return decoded.generation[row - start], decoded.response[row - start], decoded.sha256[row - start]


_NO_ROWS = (-1, 0, 0, RowGroup([], [], []))
