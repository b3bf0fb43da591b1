"""Finds records in many packs: all their keys' first 64 bits, sorted, are all that is kept of them in memory."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from consistent_chat.store.pack import Group, Pack
from consistent_chat.store.record import Record

GROUPS_KEPT = 16
"""Groups that are kept decoded, at most 4 MB each: a plan asks in about the order in which responses came."""


class Index:
    """The records of some packs, by key."""

    def __init__(self, packs: Sequence[Pack] = ()) -> None:
        self.packs = tuple(packs)
        self._starts = np.cumsum([0, *map(len, packs)])[:-1]
        joined = np.concatenate([*(pack.prefixes for pack in packs), np.empty(0, np.uint64)])
        self._order = np.argsort(joined, kind="stable")
        self._sorted = joined[self._order]
        self._group = functools.lru_cache(maxsize=GROUPS_KEPT)(self._read_group)

    def __len__(self) -> int:
        return len(self._sorted)

    def plus(self, pack: Pack) -> Index:
        """Return the index of these packs and one more."""
        return Index([*self.packs, pack])

    def find(self, key: str) -> Iterator[Record]:
        """Yield the records of a key. Raises DamagedRecord, and PackGone for a pack that was packed anew."""
        prefix = np.uint64(int(key[7:23], 16))
        first = int(np.searchsorted(self._sorted, prefix))
        for at in range(first, len(self)):
            if self._sorted[at] != prefix:
                return
            record = self._record(int(self._order[at]))
            if record.key == key:
                yield record

    def _record(self, row: int) -> Record:
        pack = int(np.searchsorted(self._starts, row, side="right")) - 1
        row -= int(self._starts[pack])
        group = bisect_right(self.packs[pack].ends, row)
        return self._group(pack, group).record(row - self.packs[pack].start(group))

    def _read_group(self, pack: int, group: int) -> Group:
        return self.packs[pack].group(group)
