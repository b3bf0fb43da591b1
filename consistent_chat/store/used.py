"""Notes on this machine about the responses that the dialogues of a plan used: the next replay knows their keys.

A replay renders the prompts of each request only to compute its key, which is a quarter of its work. A note has, for
each dialogue of a plan, the keys of its requests in order, each with the first bytes of the digest of the response that
was used. A key follows from the recipe and from the responses before it, so it holds only while the store still has
those responses. The notes of a plan are in files of `SPAN` dialogues. At most two are in memory, because a build that
makes calls reads the notes of dialogues far ahead of those that it finishes.

The identity of the notes covers the recipe, the plan and the code. `is_due` names dialogues to replay without notes, so
that notes that are wrong nevertheless are found and dropped.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from consistent_chat.store.notes import note_folder, read_note, remove_oldest, write_note

NOTES = "used"
"""The folder of the notes within this package's folder, which depends on HF_HOME."""
SPAN = 4_096
"""Dialogues of a file, whose notes are half a megabyte if a dialogue has two requests."""
MOST_USED = 64
"""Most requests of a dialogue that is noted."""
PROBED, AHEAD = 256, 64
"""One dialogue of this many, and the first of each run, is replayed without notes; so many are looked up at once."""
MOST_PLANS = 16
"""Plans whose notes are kept: those that were written last."""
KEY_BYTES, DIGEST_BYTES = 32, 16
_EACH = KEY_BYTES + DIGEST_BYTES
_TAG = "sha256:"

Used = tuple[str, str]
"""The key of a request, and the start of the digest of its response, in hex."""

logger = logging.getLogger(__name__)


class _Span(NamedTuple):
    """The notes of one file, by dialogue."""

    number: int = -1
    entries: list[bytes] = []


class UsedResponses:
    """The responses that the dialogues of a plan used. Without an identity, nothing is noted."""

    def __init__(self, identity: str = "") -> None:
        self._folder = note_folder(NOTES, identity)
        self._read_last, self._changed_last = _Span(), _Span()
        self._is_changed, self._is_probed, self._are_read = False, False, True

    def is_due(self, index: int) -> bool:
        """Return whether the dialogue at an index must be replayed without notes, to compare them."""
        is_due = index % PROBED == 0 or not self._is_probed
        self._is_probed = True
        return is_due

    def of(self, index: int) -> list[Used]:
        """Return what the dialogue at an index of the plan used, in order; empty if that is not known."""
        return self.following(index)[index]

    def following(self, index: int) -> dict[int, list[Used]]:
        """Return what the dialogues from an index used, up to the next that is due, or `AHEAD` of them."""
        ends = (index - index % PROBED + PROBED, index - index % SPAN + SPAN, index + AHEAD)
        indices = range(index, min(ends))
        if self._folder is None:
            return {index: [] for index in indices}
        self._read_last = self._span(index)
        return {index: _used(self._read_last.entries[index % SPAN]) for index in indices}

    def add(self, index: int, used: Sequence[Used]) -> None:
        """Note what the dialogue at an index used: keys, each with the digest of its response.

        The first key follows from the plan alone. If another was noted, all notes of the plan are wrong.
        """
        if self._folder is None or not 0 < len(used) <= MOST_USED:
            return
        texts = (key.removeprefix(_TAG) + digest[: 2 * DIGEST_BYTES] for key, digest in used)
        entry = bytes.fromhex("".join(texts))
        before = self._to_change(index).entries[index % SPAN]
        if before and before[:KEY_BYTES] != entry[:KEY_BYTES]:
            self._read_last, self._changed_last = _Span(), _Span()
            self._is_changed, self._are_read = False, False
        if before != entry:
            self._to_change(index).entries[index % SPAN] = entry
            self._is_changed = True

    def save(self) -> None:
        """Write new notes, with those that other processes have written. Errors only cause a message in the log."""
        try:
            if self._is_changed and self._folder is not None:
                self._write(self._folder)
        except OSError as error:
            logger.debug("The notes about used responses cannot be written: %s", error)
        self._is_changed = False

    def _write(self, folder: Path) -> None:
        if not folder.exists():
            remove_oldest(folder.parent, MOST_PLANS - 1)
        number, entries = self._changed_last
        entries[:] = [own or other for own, other in zip(entries, self._read(number))]
        sizes = bytes(len(entry) // _EACH for entry in entries)
        write_note(folder / str(number), sizes + b"".join(entries))

    def _to_change(self, index: int) -> _Span:
        """Return the notes of the file that has an index, after those of the file that was changed last are saved."""
        if index // SPAN != self._changed_last.number:
            self.save()
            self._changed_last = self._span(index)
        return self._changed_last

    def _span(self, index: int) -> _Span:
        number = index // SPAN
        for span in (self._read_last, self._changed_last):
            if span.number == number:
                return span
        return _Span(number, self._read(number))

    def _read(self, number: int) -> list[bytes]:
        if self._folder is None or not self._are_read:
            return _entries(b"")
        return _entries(read_note(self._folder / str(number), SPAN * (1 + MOST_USED * _EACH)))


def _used(entry: bytes) -> list[Used]:
    told = entry.hex()
    ends = range(2 * KEY_BYTES, len(told), 2 * _EACH)
    return [(_TAG + told[end - 2 * KEY_BYTES : end], told[end : end + 2 * DIGEST_BYTES]) for end in ends]


def _entries(content: bytes) -> list[bytes]:
    """Return the entry of each dialogue; all are empty if the content has another size than its first bytes tell."""
    ends = list(itertools.accumulate((size * _EACH for size in content[:SPAN]), initial=SPAN))
    if len(content) < SPAN or ends[-1] != len(content):
        return [b""] * SPAN
    return [content[start:end] for start, end in itertools.pairwise(ends)]
