"""The log of batches submitted to a provider, in the store, so that any run on any machine finds them.

    STORE/batches/00000001.json     a batch: written before its submission, when the provider has confirmed it, and
                                    when all its answers are in the store
    STORE/batches/<name>.jsonl.gz   its requests, until their answers are

The numbered entries are a log. A run reads all entries, then the responses, and submits the requests that are in
neither under the next number. If another run takes that number first, it reads again. So no request is in two batches
at the same time, if the filesystem can create a file exclusively.
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
"""Maximum bytes of the requests of one batch. Providers accept 256 MB."""


@dataclass(frozen=True)
class Batch:
    """One entry of the log. `name` is our name of the batch.

    `id` is the provider's, or None until the provider confirms the submission. `before` is the provider's newest batch
    when this one was submitted. `submitted` is in seconds since 1970. `writer` is the process that submits the batch.
    `outcome` says how the batch ended, or is None while answers may still arrive. `role` is the role whose serving the
    batch was submitted to; empty if all roles have one serving.
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
    role: str = ""

    @property
    def is_open(self) -> bool:
        """Whether answers may still arrive."""
        return self.outcome is None

    @property
    def writer_is_gone(self) -> bool:
        """Whether the process that submits the batch ran on this machine and has ended."""
        machine, _, process = self.writer.partition(" ")
        pid = int(process.partition(".")[0] or 0)
        return machine == _machine() and self.writer != _process(pid)

    @property
    def is_own(self) -> bool:
        """Whether this process submits the batch."""
        return self.writer == _process(os.getpid())

    @property
    def when(self) -> str:
        """When the batch was submitted, to the minute."""
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.submitted))

    def __str__(self) -> str:
        return f"batch {self.number} ({self.id or 'not confirmed'}, {self.requests:,} requests, {self.when})"


class BatchLog:
    """The batches of a store. Raises StoreError if they cannot be read or written."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._place = StoreLocation(url, storage_options)
        self._closed: dict[str, Batch] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no batch is open."""
        return not any(batch.is_open for batch in self.read())

    def prepare(self) -> None:
        """Raise StoreError unless batches can be logged where other runs see them."""
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
        """Log a batch, with a file of its requests that `Requests` can read; return False if its number is taken."""
        packed = requests.with_suffix(".gz")
        with requests.open("rb") as file, gzip.GzipFile(packed, "wb", 6, mtime=0) as to:
            shutil.copyfileobj(file, to)
        created = self._place.create(_path(batch), _content(batch), {_requests(batch): packed})
        packed.unlink()
        if not created:
            self._place.put({_requests(batch): None})
        return created

    def confirm(self, batch: Batch, id: str) -> Batch:
        """Log the provider's id of a batch."""
        confirmed = replace(batch, id=id)
        self._place.put({_path(batch): _content(confirmed)})
        return confirmed

    def close(self, batch: Batch, outcome: str) -> Batch:
        """Log that no more answers will arrive; those that did are in the store."""
        closed = replace(batch, outcome=outcome)
        self._place.put({_path(batch): _content(closed), _requests(batch): None})
        return closed

    def requests(self, batch: Batch, folder: Path) -> Requests:
        """Return the requests of an open batch, which are kept in a local folder.

        Raises Gone if the batch is closed.
        """
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
            path.unlink(missing_ok=True)  # an incomplete file would be read as complete the next time
            raise damaged(f"{self._place.url}/{_requests(batch)}", str(error)) from None

    def _read(self, name: str) -> Batch:
        try:
            batch = _batch(json.loads(self._place.read(f"{FOLDER}/{name}")))
        except (NotFound, ValueError, TypeError, RecursionError):
            raise StoreError(
                f"{self._place.url}/{FOLDER}/{name} is not a batch that this version can read. Update the package, or "
                "remove the file."
            ) from None
        if not batch.is_open:
            self._closed[name] = batch
        return batch


class Requests:
    """The requests in a file, by their names in the batch. Only offsets are held in memory."""

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
        """Return a request, or None if it is not in this batch."""
        if id not in self._at:
            return None
        self._file.seek(self._at[id])
        try:
            fields = json.loads(self._file.readline())["request"]
            del fields["format"]
            request = Request(**{"schema": None, **fields, "messages": tuple(fields["messages"])})
            is_asked = request.digest == id
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            is_asked = False
        if not is_asked:
            raise damaged(self._file.name, f"the request at {id} has another digest")
        return request

    def close(self) -> None:
        """Close the file."""
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
    """Copy a file of requests; raises OSError if it is too long: a small compressed file can be a bomb."""
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
"""The latest possible submission, in seconds since 1970."""


def _batch(fields: Any) -> Batch:
    """Return an entry from plain data. Raises TypeError for data that no version writes."""
    batch = Batch(**fields)
    texts = (batch.serving, batch.model, batch.name, batch.writer, batch.role)
    perhaps = (batch.before, batch.id, batch.outcome)
    numbers = (batch.number, batch.requests)
    is_whole = all(type(number) is int and 0 <= number < 1 << 53 for number in numbers)
    if not (is_whole and all(type(text) is str for text in texts) and 0 <= batch.submitted < LATEST):
        raise TypeError("it is not a batch")
    if not all(text is None or type(text) is str for text in perhaps) or not batch.name.isalnum():
        raise TypeError("it is not a batch")
    return batch


def _content(batch: Batch) -> bytes:
    fields = {name: value for name, value in asdict(batch).items() if name != "role" or value}
    return json.dumps(fields, indent=1).encode("ascii") + b"\n"


def _process(pid: int) -> str:
    """Return a name for a process of this machine that no later process has; empty if the process has ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        started = "gone" if status[0] == "Z" else status[19]
    except (OSError, IndexError):
        started = "" if _is_running(pid) else "gone"
    return f"{_machine()} {pid}.{started}"


def _machine() -> str:
    """Return an anonymous identifier of this machine or container."""
    about = [socket.gethostname()]
    with contextlib.suppress(OSError):
        about += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":  # on Windows, where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
