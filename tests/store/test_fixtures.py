"""Tests of compatibility: every version reads the stores in fixtures/.

One store has this version's format, the other the format of a possible later version. make_fixtures.py writes both.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consistent_chat.builder.config import DEMO
from consistent_chat.errors import StoreError
from consistent_chat.files import file_digest
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.maintenance import compact, verify
from consistent_chat.store.record import Record
from tests.store.make_fixtures import FIXTURES, RECIPE, UNKNOWN, rows, said
from tests.stored import asked

ROWS = json.loads((FIXTURES / "rows.json").read_text("utf-8"))
DIGEST = "45f9e0b28defaff29c2e6209f6b19e1a95c0e5284d444c1868c2d03f717425cc"


@pytest.fixture(params=["present", "later"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the path of a copy of one of the two stores."""
    return str(shutil.copytree(FIXTURES / request.param, tmp_path / request.param))


def records(place: str) -> dict[str, Record]:
    """Return the records of a store by their keys."""
    return {record.key: record for record in ResponseStore(place).records()}


def request_of(record: Record) -> Request:
    """Return the request of a record; it must be a request that this version can make."""
    fields = {name: value for name, value in record.asked().items() if name != "format"}
    return Request(**{**fields, "messages": tuple(fields["messages"])})


def test_every_response_is_read(place: str) -> None:
    """Every response is read with all fields that this version knows.

    Its usage also has the unknown fields that the server sent.
    """
    found = {key: record for key, record in records(place).items() if "tools" not in record.asked()}
    assert len(found) == 4
    for key, record in found.items():
        request = request_of(record)
        assert request.key == key
        response, expected = ResponseStore(place).find(request), said(request)
        assert response is not None
        assert {**json.loads(expected.usage), **json.loads(response.usage)} == json.loads(response.usage)
        assert Response(**{**response.plain(), "usage": expected.usage}) == expected
    assert verify(place).faults == []


def test_rows_replay(place: str) -> None:
    """Both stores replay to the rows in rows.json.

    After a change of the prompts, write rows.json and both stores again.
    """
    assert RECIPE.num_dialogs_per_intent == len(ROWS)
    assert rows(place) == ROWS


def test_what_this_version_does_not_know_is_kept_when_it_packs(place: str, tmp_path: Path) -> None:
    """Compaction preserves unknown fields byte for byte, in one store alone and after a merge with another store."""
    before = records(place)
    compact(place)
    assert records(place) == before
    other = shutil.copytree(FIXTURES / "present", tmp_path / "other")
    shutil.copytree(Path(place) / "packs", other / "packs", dirs_exist_ok=True)
    compact(str(other))
    together = list(ResponseStore(str(other)).records())
    assert all(record in together for record in before.values())
    if Path(place).name == "later":
        assert all(json.loads(record.response).items() >= UNKNOWN.items() for record in before.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns("sha256"), "its column 'sha256' is missing"),
        (lambda table: table.append_column("key", table["key"]), "its column 'key' is string and string"),
        (
            lambda table: table.set_column(0, "key", table["key"].cast(pa.large_string())),
            "its column 'key' is large_string",
        ),
        (lambda table: table.replace_schema_metadata({"consistent_chat_pack": "2"}), "pack format 2; this version"),
    ],
)
def test_a_pack_that_cannot_be_read_says_why(change: Any, message: str, tmp_path: Path) -> None:
    """The error for an unreadable pack names the missing or wrong column, or the unsupported format."""
    place = shutil.copytree(FIXTURES / "present", tmp_path / "store")
    (pack,) = (place / "packs").iterdir()
    table = pq.ParquetFile(pack).read()
    changed = change(table)
    pq.write_table(changed, place / "new")
    pack.unlink()
    (place / "new").rename(place / "packs" / f"{file_digest(place / 'new')}.parquet")
    with pytest.raises(StoreError, match=message):
        list(ResponseStore(str(place)).records())


def test_a_record_without_later_fields_has_the_digest_of_ever() -> None:
    """Empty fields are left out of a record, so its digest is the same as before these fields were introduced."""
    record = Record.of(asked(), Response("answer", "stop", 100, None))
    assert record.response == '{"finish":"stop","input_tokens":100,"output_tokens":null,"text":"answer"}'
    assert record.digest == DIGEST


def test_the_demos_records_are_written_as_they_were() -> None:
    """The demo's records, whose responses lack all later fields, are encoded to the same records again."""
    for record in ResponseStore(str(DEMO / "responses")).records():
        assert Record.of(request_of(record), record.kept.answer()) == record
