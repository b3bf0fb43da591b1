"""Batches that were submitted to a provider, written down in the store so that any run, on any machine, finds them.

    STORE/batches/00000001.json     a batch: written before it is submitted, again when the provider has answered, and
                                    again when all its answers are in the store
    STORE/batches/<name>.jsonl.gz   its requests, as long as their answers are not

The numbers are a log. A run looks at all entries, then at the responses, and submits what is in neither by making the
entry with the next number: if another run makes it first, it looks again. So no request is in two batches at a time,
wherever the filesystem makes a file for one of two writers only.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import sys
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from fsspec.utils import get_protocol

from consistent_chat.errors import StoreError
from consistent_chat.request import Request, json_line
from consistent_chat.store.location import NotFound, StoreLocation
from consistent_chat.store.record import damaged

FOLDER = "batches"
MOST_UNPACKED = 1 << 30
"""Bytes of the requests of one batch. Providers take 256 MB."""


@dataclass(frozen=True)
class Batch:
    """One entry of the log.

    `name` is its own, `id` the provider's, None as long as no answer to the submission was seen. `before` is the
    provider's newest batch when this one was submitted. `submitted` is in seconds since 1970. `writer` tells which
    process submits it. `outcome` says how it ended, None as long as answers may come.
    """

    number: int
    serving: str
    model: str
    requests: int
    before: str | None = None
    id: str | None = None
    outcome: str | None = None
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    submitted: float = field(default_factory=lambda: round(time.time(), 3))
    writer: str = field(default_factory=lambda: _process(os.getpid()))

    @property
    def is_open(self) -> bool:
        """Whether answers may still come."""
        return self.outcome is None

    @property
    def writer_is_gone(self) -> bool:
        """Whether the process that submits it is known to have ended: it was of this machine."""
        machine, _, process = self.writer.partition(" ")
        pid = int(process.partition(".")[0] or 0)
        return machine == _machine() and self.writer != _process(pid)

    @property
    def is_own(self) -> bool:
        """Whether this process submits it."""
        return self.writer == _process(os.getpid())

    @property
    def when(self) -> str:
        """When it was submitted, to the minute."""
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.submitted))

    def __str__(self) -> str:
        return f"batch {self.number} ({self.id or 'not confirmed'}, {self.requests:,} requests, {self.when})"


class BatchLog:
    """The batches of a store. Raises StoreError where it cannot be read or written."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._place = StoreLocation(url, storage_options)
        self._closed: dict[str, Batch] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no batch is under way."""
        return not any(batch.is_open for batch in self.read())

    def prepare(self) -> None:
        """Make sure that batches can be written down where others see them; raises StoreError."""
        if get_protocol(self._place.url) == "memory":
            raise StoreError(
                f"The response store {self._place.url!r} ends with this process, and its batches would "
                "be lost. Pass a folder or a bucket as responses=."
            )
        self._place.prepare()

    def read(self) -> list[Batch]:
        """Return all batches, in order."""
        names = [name for name in self._place.listed(FOLDER) if name.endswith(".json") and not name.startswith(".")]
        return [self._closed.get(name) or self._read(name) for name in names]

    def begin(self, batch: Batch, requests: Path) -> bool:
        """Write a batch down, with a file of its requests as `Requests` reads it; False if its number is taken."""
        packed = requests.with_suffix(".gz")
        with requests.open("rb") as file, gzip.GzipFile(packed, "wb", 6, mtime=0) as to:
            shutil.copyfileobj(file, to)
        begun = self._place.create(_path(batch), _content(batch), {_requests(batch): packed})
        packed.unlink()
        if not begun:
            self._place.put({_requests(batch): None})
        return begun

    def confirm(self, batch: Batch, id: str) -> Batch:
        """Write down what the provider calls a batch."""
        confirmed = replace(batch, id=id)
        self._place.put({_path(batch): _content(confirmed)})
        return confirmed

    def close(self, batch: Batch, outcome: str) -> Batch:
        """Write down that no more answers will come; those that did are in the store."""
        closed = replace(batch, outcome=outcome)
        self._place.put({_path(batch): _content(closed), _requests(batch): None})
        return closed

    def requests(self, batch: Batch, folder: Path) -> Requests:
        """Return the requests of an open batch, kept in a folder of this machine; raises Gone when it is closed."""
        path = folder / f"{batch.name}.jsonl"
        if not path.exists():
            self._unpack(batch, path)
        return Requests(path)

    def _unpack(self, batch: Batch, path: Path) -> None:
        packed = self._place.read(_requests(batch))
        try:
            with gzip.open(io.BytesIO(packed)) as source, path.open("wb") as file:
                _copy(source, file)
        except (OSError, EOFError, zlib.error) as error:
            path.unlink(missing_ok=True)  # a part would be taken for the whole the next time
            raise damaged(f"{self._place.url}/{_requests(batch)}", str(error)) from None

    def _read(self, name: str) -> Batch:
        try:
            batch = _batch(json.loads(self._place.read(f"{FOLDER}/{name}")))
        except (NotFound, ValueError, TypeError, RecursionError):
            raise StoreError(
                f"{self._place.url}/{FOLDER}/{name} is no batch that this version reads. Update the package, or "
                "remove the file."
            ) from None
        if not batch.is_open:
            self._closed[name] = batch
        return batch


class Requests:
    """The requests in a file, by what each is called in its batch. Only where they stand is held in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] = path.open("rb")
        self._at = dict(self._offsets())

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, id: str) -> bool:
        return id in self._at

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def find(self, id: str) -> Request | None:
        """Return a request, or None if it is not of this batch."""
        if id not in self._at:
            return None
        self._file.seek(self._at[id])
        try:
            fields = json.loads(self._file.readline())["request"]
            del fields["format"]
            request = Request(**{**fields, "messages": tuple(fields["messages"])})
            is_asked = request.digest == id
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            is_asked = False
        if not is_asked:
            raise damaged(self._file.name, f"a request is not the one that is called {id}")
        return request

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _offsets(self) -> Iterator[tuple[str, int]]:
        offset = 0
        for line in self._file:
            yield line[7:71].decode("ascii", "replace"), offset
            offset += len(line)


def request_line(request: Request) -> bytes:
    """Return a request as a line of the file that `Requests` reads."""
    fields = {**request.identity(), "max_tokens": request.max_tokens}
    return json_line({"id": request.digest, "request": fields}) + b"\n"


def _copy(source: io.BufferedIOBase, target: IO[bytes]) -> None:
    """Copy a file of requests; raises OSError where it is longer than any: compressed, a bomb is small."""
    length = 0
    while block := source.read(1 << 20):
        length += len(block)
        if length > MOST_UNPACKED:
            raise OSError(f"it has more than {MOST_UNPACKED:,} bytes of requests")
        target.write(block)


def _path(batch: Batch) -> str:
    return f"{FOLDER}/{batch.number:08}.json"


def _requests(batch: Batch) -> str:
    return f"{FOLDER}/{batch.name}.jsonl.gz"


LATEST = 1e11
"""Seconds since 1970 after which no batch was submitted."""


def _batch(fields: Any) -> Batch:
    """Return the entry that plain data makes; raises TypeError for what no version writes."""
    batch = Batch(**fields)
    texts = (batch.serving, batch.model, batch.name, batch.writer)
    perhaps = (batch.before, batch.id, batch.outcome)
    numbers = (batch.number, batch.requests)
    is_whole = all(type(number) is int and 0 <= number < 1 << 53 for number in numbers)
    if not (is_whole and all(type(text) is str for text in texts) and 0 <= batch.submitted < LATEST):
        raise TypeError("it is not a batch")
    if not all(text is None or type(text) is str for text in perhaps) or not batch.name.isalnum():
        raise TypeError("it is not a batch")
    return batch


def _content(batch: Batch) -> bytes:
    return json.dumps(asdict(batch), indent=1).encode("ascii") + b"\n"


def _process(pid: int) -> str:
    """Name a process of this machine, so that it is not taken for another with its number; a dead one has no name."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        begun = "gone" if status[0] == "Z" else status[19]
    except (OSError, IndexError):
        begun = "" if _lives(pid) else "gone"
    return f"{_machine()} {pid}.{begun}"


def _machine() -> str:
    """Name this machine, or the container in it, without telling its name."""
    about = [socket.gethostname()]
    with contextlib.suppress(OSError):
        about += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def _lives(pid: int) -> bool:
    if sys.platform == "win32":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
