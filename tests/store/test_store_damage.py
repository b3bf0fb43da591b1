"""Tests of the errors for a store whose location is unusable or damaged; the store never executes what it reads."""

from __future__ import annotations

import ast
import contextlib
import errno
import hashlib
import os
import pickle
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import consistent_chat.store
from consistent_chat.errors import StoreError
from consistent_chat.request import Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.journal import RESERVE
from consistent_chat.store.pack import write_pack
from consistent_chat.store.record import Record
from tests.stored import asked, files, fill, processes, said

NOBODY = 65534


@pytest.fixture
def unwritable() -> Iterator[str]:
    """Yield the path of a store that has response 1 and can be read but not written."""
    with tempfile.TemporaryDirectory() as folder:
        fill(folder, 1)
        for path in (folder, *Path(folder).rglob("*")):
            os.chmod(path, 0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)  # root may write anywhere
        yield folder
        os.seteuid(user)
        for path in (folder, *Path(folder).iterdir()):
            os.chmod(path, 0o755)


def test_an_unwritable_store_is_read(unwritable: str) -> None:
    """A store without write permission can be read, because a replay needs no write access."""
    store = ResponseStore(unwritable)
    assert store.find(asked(1)) == said(1)
    store.close()


def test_an_unwritable_store_stops_before_anything_is_paid(unwritable: str) -> None:
    """A store without write permission raises an error with the location, the reason and the remedy."""
    with pytest.raises(StoreError) as caught:
        ResponseStore(unwritable).prepare()
    assert str(caught.value) == (
        f"Responses cannot be written to {unwritable}/journals: {os.strerror(errno.EACCES)}. "
        "Free space or grant access there, or pass another location as responses=."
    )


def test_a_new_store_in_an_unwritable_folder_stops_too(unwritable: str) -> None:
    """A store whose folder cannot be created raises an error before any paid call."""
    place = f"{unwritable}/new"
    with pytest.raises(StoreError) as caught:
        ResponseStore(place).prepare()
    assert str(caught.value) == (
        f"The response store {place!r} cannot be written to: {os.strerror(errno.EACCES)}. "
        "Check that it exists and that you have access, or pass another location as responses=."
    )


@pytest.fixture
def nobody() -> Iterator[None]:
    """Restore the effective user after a test that has changed it to one that does not own the files."""
    user = os.geteuid()
    yield
    os.seteuid(user)


@pytest.mark.parametrize("part", ["journals", "packs"])
def test_what_may_not_be_read_is_no_empty_store(nobody: None, part: str) -> None:
    """An unreadable folder or pack is an error whose message does not advise deletion.

    If the store counted as empty, all its responses would be requested and paid for again.
    """
    if os.geteuid():
        pytest.skip("only root becomes another user")
    with tempfile.TemporaryDirectory() as folder:
        fill(folder, 1)
        for path in (folder, *Path(folder).rglob("*")):
            os.chmod(path, 0o755)
        hidden = Path(folder, "journals") if part == "journals" else files(folder, "packs")[0]
        hidden.chmod(0)
        os.seteuid(NOBODY)
        with pytest.raises(StoreError, match=f"{hidden} cannot be read: {os.strerror(errno.EACCES)}") as caught:
            ResponseStore(folder)
        assert "delete" not in str(caught.value)
        os.seteuid(0)


def test_a_layer_that_is_not_there_is_named(place: str, tmp_path: Path) -> None:
    """A missing second location is an error, because only the location that is written may be new.

    With a mistyped name, all its responses would be requested again.
    """
    with pytest.raises(StoreError) as caught:
        ResponseStore([place, f"{tmp_path}/mistyped"])
    assert str(caught.value) == (f"There is no response store at '{tmp_path}/mistyped'. Check the path for typos.")


def test_a_pack_with_another_ones_bytes_stops_before_anything_is_paid(place: str) -> None:
    """A pack that has the bytes of another pack is an error; otherwise its own responses would be requested again."""
    fill(place, 1)
    fill(place, 2)
    one, two = files(place, "packs")
    one.write_bytes(two.read_bytes())
    store = ResponseStore(place)
    with pytest.raises(StoreError, match=f"{one} is damaged: its bytes do not match its name"):
        store.prepare()


def test_a_file_in_the_folders_place_is_named(place: str) -> None:
    """A file in the place of the store's folder is an error before any paid call, and the file is not changed."""
    Path(place).write_text("mine")
    with pytest.raises(StoreError) as caught:
        ResponseStore(place)
    assert str(caught.value) == (
        f"The response store {place!r} cannot be read from: {os.strerror(errno.ENOTDIR)}. "
        "Check that it exists and that you have access, or pass another location as responses=."
    )
    assert Path(place).read_text() == "mine"


def test_a_file_in_the_journals_place_is_named(place: str) -> None:
    """A file in the place of the journals folder is an error that names the path."""
    Path(place).mkdir()
    Path(place, "journals").write_text("mine")
    with pytest.raises(StoreError) as caught:
        ResponseStore(place).keep(asked(), said())
    assert str(caught.value) == (
        f"Responses cannot be written to {place}/journals: File exists. "
        "Free space or grant access there, or pass another location as responses=."
    )


def test_a_store_of_a_newer_format_asks_for_an_update(place: str) -> None:
    """A store of a newer format is refused with an error that asks for an update."""
    fill(place, 1)
    Path(place, "store.json").write_text('{"consistent_chat_store":2}\n')
    with pytest.raises(StoreError) as caught:
        ResponseStore(place)
    assert str(caught.value) == (
        f"The response store {place!r} has format 2; this version reads 1. Update consistent_chat."
    )


@pytest.mark.parametrize("content", ["[]", "{}", "null", "{", "\udcff"])
def test_another_programs_store_is_left_alone(place: str, content: str) -> None:
    """A store.json of another program is an error and is not overwritten."""
    Path(place).mkdir()
    Path(place, "store.json").write_text(content, errors="surrogateescape")
    with pytest.raises(StoreError) as caught:
        ResponseStore(place)
    assert str(caught.value) == (f"{place}/store.json is not a response store. Pass another location as responses=.")


def test_an_unknown_kind_of_place_is_named() -> None:
    """A URL with an unknown protocol raises an error that quotes fsspec's message.

    The same happens if the protocol's package is not installed.
    """
    with pytest.raises(
        StoreError, match="The response store 'nowhere://x' cannot be opened: Protocol not known: nowhere"
    ):
        ResponseStore("nowhere://x")


def test_the_format_is_written_once(place: str) -> None:
    """The marker file is written only once, and atomically, so a reader sees all of it or nothing."""
    fill(place, 1)
    marker = Path(place, "store.json")
    written = marker.stat().st_mtime_ns
    fill(place, 2)
    assert marker.read_text() == '{"consistent_chat_store": 1}\n'
    assert marker.stat().st_mtime_ns == written


def test_other_files_in_a_store_are_passed_over(place: str) -> None:
    """Temporary files of killed packers and files of file managers are ignored."""
    fill(place, 1)
    for name in (
        "packs/.half.tmp",
        "packs/.hidden.parquet",
        "packs/README.md",
        "journals/half.new",
        "journals/.DS_Store",
    ):
        Path(place, name).write_bytes(b"not ours")
    fill(place, 2)
    store = ResponseStore(place)
    assert [store.find(asked(number)) for number in (1, 2)] == [said(1), said(2)]


@pytest.mark.slow
def test_a_full_disk_stops_with_a_clear_error_and_the_store_stays_readable(place: str) -> None:
    """A full disk is a clear error, and no response is lost.

    No incomplete line is left, and work continues once there is space.
    """
    reports, sender = processes.Pipe(duplex=False)
    writer = processes.Process(target=_fill_the_disk, args=(place, sender), daemon=True)
    writer.start()
    sender.close()
    kept, while_keeping, while_packing = reports.recv()
    writer.join()
    (journal,) = files(place, "journals")
    assert while_keeping == (
        f"Responses cannot be written to {place}/journals: {os.strerror(errno.ENOSPC)}. "
        "Free space or grant access there, or pass another location as responses=."
    )
    assert while_packing.startswith(f"A pack cannot be written to {place}/packs: ")
    assert while_packing.endswith(". Free space or grant access there.")
    assert journal.read_bytes().endswith(b"\n")
    assert files(place, "packs") == []
    assert kept > 0
    fill(place, kept)
    store = ResponseStore(place)
    assert [store.find(asked(number)) for number in range(kept)] == [_incompressible(number) for number in range(kept)]
    assert store.find(asked(kept)) == said(kept)
    assert files(place, "journals") == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[str]:
    """Yield a location on a separate disk with space for few responses besides the reserve."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={RESERVE + 200_000}", "tmpfs", tmp_path], check=False)
    if made.returncode:
        pytest.skip("only root mounts disks")
    yield str(tmp_path / "responses")
    subprocess.run(["umount", tmp_path], check=True)


def test_answers_in_flight_are_kept_when_the_disk_is_full(small_disk: str) -> None:
    """Responses in flight, which are paid for, are stored in the reserve when the disk is full.

    Each raises an error that says that the disk is full, and a reader finds all of them.
    """
    store, errors = ResponseStore(small_disk), []
    for number in range(100):
        try:
            store.keep(asked(number), _incompressible(number))
        except StoreError as error:
            errors.append(str(error))
    assert 0 < len(errors) < 100
    assert set(errors) == {
        f"Responses cannot be written to {small_disk}/journals: {os.strerror(errno.ENOSPC)}. "
        "Free space or grant access there, or pass another location as responses=."
    }
    reader = ResponseStore(small_disk)
    assert [reader.find(asked(number)) for number in range(100)] == [_incompressible(number) for number in range(100)]
    store.close()


def test_a_disk_without_room_stops_before_anything_is_paid(small_disk: str) -> None:
    """A disk without space for the reserve is an error before any paid call.

    Without that space, responses could not be stored either.
    """
    Path(small_disk).parent.joinpath("other").write_bytes(bytes(300_000))
    with pytest.raises(StoreError, match=os.strerror(errno.ENOSPC)):
        ResponseStore(small_disk).prepare()


def _fill_the_disk(place: str, reports: Connection) -> None:
    """Keep responses until the file size limit stops the writes; Python ignores the signal that the limit sends."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (RESERVE + 100_000, resource.RLIM_INFINITY))
    store, kept, errors = ResponseStore(place), 0, []
    try:
        while True:
            store.keep(asked(kept), _incompressible(kept))
            kept += 1
    except StoreError as error:
        errors.append(str(error))
    assert all(store.find(asked(number)) == _incompressible(number) for number in range(kept))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    try:
        store.close()
    except StoreError as error:
        errors.append(str(error))
    reports.send((kept, *errors))


def _incompressible(number: int) -> Response:
    return Response("".join(hashlib.sha256(f"{number} {part}".encode()).hexdigest() for part in range(100)))


class Bomb:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("name", ["store.json", "journals/bomb.jsonl", "packs/bomb.parquet"])
def test_no_file_is_unpickled(place: str, tmp_path: Path, name: str) -> None:
    """A pickle in the place of a store's file is reported as damage and is not unpickled."""
    path = Path(place, name)
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "trace")) + b"\n")
    with pytest.raises(StoreError, match=str(path)):
        ResponseStore(place)
    assert not (tmp_path / "trace").exists()


def test_no_parquet_metadata_is_unpickled(place: str, tmp_path: Path) -> None:
    """A pickle in a pack's metadata is not unpickled, unlike in an old extension type of Arrow (CVE-2023-47248)."""
    packed = pq.read_table(write_pack([Record.of(asked(), said())], tmp_path))
    bomb = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Bomb(tmp_path / "trace")),
    }
    fields = [field.with_metadata(bomb) for field in packed.schema]
    Path(place, "packs").mkdir(parents=True)
    pq.write_table(packed.cast(pa.schema(fields, packed.schema.metadata)), Path(place, "packs", "bomb.parquet"))
    with contextlib.suppress(StoreError):  # pyarrow before 21 knows the type, so its columns are not those of a pack
        assert ResponseStore(place).find(asked()) == said()
    assert not (tmp_path / "trace").exists()


def test_nothing_in_the_store_knows_how_to_unpickle() -> None:
    """No module of the store imports pickle or another module that unpickles."""
    unpicklers = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torch"}
    for path in Path(consistent_chat.store.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not unpicklers & {name.partition(".")[0] for name in names}, path
