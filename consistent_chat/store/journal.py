"""Journals: append-only files with one writer each. An appended record survives `kill -9` at any time.

A line is written with one system call. A last line without a line end belongs to a writer that was killed or is still
writing, so it is not a record yet. Every other line must match its digest.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from consistent_chat.errors import StoreError
from consistent_chat.files import NO_LINKS, PRIVATE, make_private_folder, open_plain, read_plain
from consistent_chat.store.record import Record, StoredResponse, check_line, from_line, request_end, split_line, to_line

try:
    import fcntl
except ImportError:  # Windows: journals of other writers are read, but not taken over
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

HEADER = b'{"consistent_chat_journal":1}\n'

HELD = 64
"""Maximum number of journals that are packed together, since each is an open file. Others are packed next time."""


FULL_BYTES = 256 << 20
MOST_BYTES = 1 << 30
"""Size in bytes at which a journal is packed, and size above which one is not read, since it is read into memory."""


RESERVE = 4 << 20
"""Bytes on the disk that a writer reserves, so that answers in flight can be stored when the disk is full."""


class JournalWriter:
    """Appends records to its own journal, which it locks while it is open."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.jsonl"
        self._spans: dict[str, tuple[int, int, int]] = {}
        fresh = self.path.with_suffix(".new")  # not visible to packers until it is locked, so that none takes it over
        try:
            make_private_folder(folder)
            self._file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, PRIVATE)
        except OSError as error:
            raise StoreError(_unwritable(folder, error)) from None
        try:
            if not _lock(self._file):  # a new file, so no other process can have locked it
                _warn_of_locks(folder)
            self._size = self._write(HEADER, 0)
            self._reserve = _reserve(self.path.with_suffix(".reserve"))
            fresh.rename(self.path)
        except OSError as error:
            os.close(self._file)
            fresh.unlink()
            raise StoreError(_unwritable(folder, error)) from None

    def __len__(self) -> int:
        return len(self._spans)

    def __iter__(self) -> Iterator[Record]:
        """Yield the last record of each key, for the packer, after checking its digest.

        The lines are this writer's own, so it is known where a request ends, and its key is not derived again.
        """
        for offset, length, end in self._spans.values():
            where = self._where(offset)
            yield split_line(os.pread(self._file, length, offset), end, where, is_checked=False)

    @property
    def is_full(self) -> bool:
        """Whether the journal is large enough to be packed, however few records it has."""
        return self._size >= FULL_BYTES

    def append(self, record: Record) -> None:
        """Append a record, which then survives the end of the process.

        Raises StoreError if the record cannot be written, or fits only into the reserved space.
        """
        line = to_line(record)
        try:
            end = self._write(line, self._size)
        except OSError as error:
            if error.errno not in FULL or self._reserve is None:
                raise StoreError(_unwritable(self.path.parent, error)) from None
            self._release()
            self.append(record)
            raise StoreError(_unwritable(self.path.parent, error)) from None
        self._spans[record.key] = (self._size, len(line) - 1, request_end(line, record))
        self._size = end

    def find(self, key: str) -> StoredResponse | None:
        """Return the response that this writer appended last for a key."""
        if key not in self._spans:
            return None
        offset, length, _ = self._spans[key]
        return from_line(os.pread(self._file, length, offset), self._where(offset)).kept

    def close(self) -> None:
        """Write everything to the disk and unlock the journal. The next packer takes it over."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise StoreError(_unwritable(self.path.parent, error)) from None
        finally:
            self._release()
            os.close(self._file)

    def discard(self) -> None:
        """Remove the journal, which is empty or whose records are all in a pack."""
        try:
            remove([self.path])
        finally:
            self._release()
            os.close(self._file)

    def _where(self, offset: int) -> str:
        return f"{self.path}, byte {offset}"

    def _release(self) -> None:
        reserve, self._reserve = self._reserve, None
        if reserve is not None:
            os.close(reserve)

    def _write(self, data: bytes, size: int) -> int:
        written = os.write(self._file, data)
        if written != len(data):  # the disk is full: remove the torn line
            os.ftruncate(self._file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return size + written


FULL = (errno.ENOSPC, errno.EDQUOT)


def _reserve(path: Path) -> int | None:
    """Reserve space on the disk with an unnamed file, which is freed when the file is closed or the process ends."""
    if fcntl is None:
        return None
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    path.unlink()
    try:
        for _ in range(RESERVE >> 20):
            if os.write(file, bytes(1 << 20)) < 1 << 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.close(file)
        raise
    return file


class Journal:
    """A journal on disk: its complete records, and the torn line at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = read_journal(path)
        self.torn = self._data[self._data.rfind(b"\n") + 1 :]
        self._spans = dict(self._checked(*span) for span in lines(path, self._data))

    def __len__(self) -> int:
        return len(self._spans)

    def __iter__(self) -> Iterator[Record]:
        return (self._record(span) for span in self._spans.values())

    def find(self, key: str) -> StoredResponse | None:
        """Return the last stored response for a key, or None."""
        span = self._spans.get(key)
        return None if span is None else self._record(span).kept

    def _checked(self, start: int, stop: int) -> tuple[str, tuple[int, int, int]]:
        """Return the key of a line, the offsets of its start and end, and the offset in it where its request ends."""
        record, end = check_line(self._data[start:stop], self._where(start))
        return record.key, (start, stop, end)

    def _record(self, span: tuple[int, int, int]) -> Record:
        start, stop, end = span
        return split_line(self._data[start:stop], end, self._where(start))

    def _where(self, start: int) -> str:
        return f"{self.path}, byte {start}"


def lines(path: Path, data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each line of a journal, without a torn line at its end.

    A complete line whose end is damaged is included: its digest does not match. Raises StoreError if the file is not a
    journal.
    """
    end = data.rfind(b"\n") + 1
    if end and not data.startswith(HEADER):
        raise StoreError(
            f"{path} is not a journal that this version can read. Update the package, or move the file away."
        )
    start = len(HEADER)
    while start < end:
        stop = data.index(b"\n", start)
        yield start, stop
        start = stop + 1
    if len(data) > end + 1 and _is_whole(data[end:-1]):
        yield end, len(data)


def read_journal(path: Path) -> bytes:
    """Return the bytes of a journal. Raises OSError, also for a link, a pipe, or a file larger than writers make.

    Writers make regular files. A link could lead to a device or to another user's file.
    """
    return read_plain(path, MOST_BYTES, NO_LINKS)


def read_journals(folder: Path) -> list[Journal]:
    """Return the journals of a folder, in order of their names, without those that have just been packed."""
    found = []
    for path in journal_paths(folder):
        try:
            found.append(Journal(path))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}. Grant access, or move the file away.") from None
    return found


def journal_paths(folder: Path) -> list[Path]:
    """Return the journals' files, in order. Raises StoreError for a folder that cannot be listed."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if name.endswith(".jsonl"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror}. Grant access there.") from None


def report_torn(journals: Iterable[Journal]) -> None:
    """Warn about torn lines in journals whose writer was killed."""
    for journal in journals:
        if journal.torn and is_abandoned(journal.path):
            logger.warning(
                "The last line of %s is incomplete, because its writer was stopped while writing. Its %d bytes, which "
                "never counted as a response, are set aside.",
                journal.path,
                len(journal.torn),
            )


@contextlib.contextmanager
def abandoned(folder: Path) -> Iterator[list[Path]]:
    """Yield journals whose writer has ended, at most HELD, locked so that no other packer takes them."""
    with contextlib.ExitStack() as locks:
        held: list[Path] = []
        for path in journal_paths(folder):
            if len(held) < HELD and (file := _take(path)) is not None:
                locks.callback(os.close, file)
                held.append(path)
        yield held


def remove(paths: Iterable[Path]) -> None:
    """Remove journals whose records are in a pack."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be removed: {error.strerror}. All its records are packed. Grant access there, and "
                f"rerun."
            ) from None


def is_abandoned(path: Path) -> bool:
    """Return whether a journal's writer has ended."""
    file = _take(path)
    if file is not None:
        os.close(file)
    return file is not None


def _take(path: Path) -> int | None:
    """Open and lock a journal. Return None if its writer holds it, if it was removed, or if access is denied."""
    try:
        file = open_plain(path, os.O_RDWR | NO_LINKS)
    except OSError:
        return None
    if _lock(file) and path.exists():
        return file
    os.close(file)
    return None


def _lock(file: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@functools.lru_cache
def _warn_of_locks(folder: Path) -> None:
    """Warn, once for each folder, that journals there cannot be locked."""
    if fcntl is not None:
        logger.warning(
            "The file system of %s cannot lock files. Responses are stored and found, but the journals of stopped "
            "runs are not packed. Set HF_HOME or responses= to a folder on a local disk.",
            folder,
        )


def _is_whole(line: bytes) -> bool:
    try:
        from_line(line, "")
    except StoreError:
        return False
    return True


def _unwritable(folder: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return (
        f"Responses cannot be written to {folder}: {reason}. Free space or grant access there, or pass another "
        "location as responses=."
    )
