"""Finds answers in many packs: all their keys' first 64 bits, sorted, are all that is kept of them in memory."""

from __future__ import annotations

import functools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from consistent_chat.store.pack import Group, Pack
from consistent_chat.store.record import Kept, damaged, digest_of

GROUPS_KEPT = 16
"""Groups that are kept decoded, at most 4 MB each: a plan asks in about the order in which responses came."""


class Index:
    """What some packs hold, by key."""

    def __init__(self, packs: Sequence[Pack] = ()) -> None:
        self.packs = tuple(packs)
        self._starts = list(accumulate(map(len, packs), initial=0))[:-1]
        joined = np.concatenate([*(pack.prefixes for pack in packs), np.empty(0, np.uint64)])
        order = np.argsort(joined, kind="stable")
        # Views give plain numbers, several times faster than numpy's scalars.
        self._rows, self._sorted = order.data, joined[order].data
        self._group = functools.lru_cache(maxsize=GROUPS_KEPT)(self._read_group)

    def plus(self, pack: Pack) -> Index:
        """Return the index of these packs and one more."""
        return Index([*self.packs, pack])

    def find(self, key: str) -> list[Kept]:
        """Return all that is kept for a key. Raises DamagedRecord, and PackGone for a pack that was packed anew."""
        prefix, found = int(key[7:23], 16), []
        at = bisect_left(self._sorted, prefix)
        while at < len(self._sorted) and self._sorted[at] == prefix:
            if (kept := self._kept(key, self._rows[at])) is not None:
                found.append(kept)
            at += 1
        return found

    def _kept(self, key: str, row: int) -> Kept | None:
        """Return what a row holds, or None if it is of another key. The digest tells the two from damage."""
        number = bisect_right(self._starts, row) - 1
        pack, row = self.packs[number], row - self._starts[number]
        group = bisect_right(pack.ends, row)
        at = row - pack.start(group)
        generations, responses, digests = self._group(number, group)
        generation, response, digest = generations[at], responses[at], digests[at]
        if digest_of(key, generation, response) == digest:
            return Kept(generation, digest, response)
        if pack.key(row) != key:
            return None
        raise damaged(pack.where(row), f"the digest of {key} does not match its content")

    def _read_group(self, pack: int, group: int) -> Group:
        return self.packs[pack].group(group)
