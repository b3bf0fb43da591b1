"""Checks a whole store: every file against its name, every record against its digest and its key."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consistent_chat.errors import StoreError
from consistent_chat.store.journal import journal_paths, lines
from consistent_chat.store.pack import Pack, PackGone
from consistent_chat.store.place import Gone, Place
from consistent_chat.store.record import from_line


@dataclass
class Checked:
    """What was looked at, and a line for each fault, which names file and record."""

    responses: int = 0
    packs: int = 0
    journals: int = 0
    torn: int = 0
    faults: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note a fault, and go on."""
        try:
            yield
        except PackGone:
            raise
        except StoreError as error:
            self.faults.append(str(error))

    def __str__(self) -> str:
        found = f"{self.responses:,} responses in {self.packs:,} packs and {self.journals:,} journals"
        torn = f", {self.torn:,} lines that killed writers left half written" if self.torn else ""
        return f"{found}: {f'{len(self.faults):,} faults' if self.faults else 'all whole'}{torn}."


def verify(url: str, storage_options: Mapping[str, Any] | None = None) -> Checked:
    """Check the store at a path or URL, reading all of it; of a remote one, what lies there, not the copies here.

    Raises StoreError when there is none, when it cannot be read, or is of a newer format.
    """
    place, checked = Place(url, storage_options), Checked()
    place.check_exists()
    for path in journal_paths(place.journals):
        _check_journal(path, checked)
    done: set[str] = set()
    while names := set(place.names()) - done:  # others may pack anew meanwhile
        for name in sorted(names):
            with contextlib.suppress(PackGone, Gone):
                _check_pack_of(place, name, checked)
        done |= names
    return checked


def _check_journal(path: Path, checked: Checked) -> None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return  # it has just been packed
    except OSError as error:
        checked.faults.append(f"{path} cannot be read: {error.strerror}. Give rights there, or move it away.")
        return
    checked.journals += 1
    checked.torn += not data.endswith(b"\n")
    with checked.noting():
        for start, stop in lines(path, data):
            with checked.noting():
                checked.responses += 1
                from_line(data[start:stop], f"{path}, byte {start}")


def _check_pack_of(place: Place, name: str, checked: Checked) -> None:
    if place.is_local:
        _check_pack(place.packs / name, checked)
        return
    found = Checked()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        place.download(name, path)
        _check_pack(path, found)
    checked.packs += found.packs
    checked.responses += found.responses
    checked.faults += [fault.replace(str(path), f"{place.url}/packs/{name}") for fault in found.faults]


def _check_pack(path: Path, checked: Checked) -> None:
    with checked.noting():
        pack = Pack(path)
        checked.responses += len(pack)
        checked.faults += pack.faults()
    checked.packs += 1
