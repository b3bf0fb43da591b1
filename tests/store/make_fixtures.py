"""Write the stores in tests/store/fixtures: `python -m tests.store.make_fixtures`.

Until 0.1.0 is released, the stores may be written again. After that they must not change, because every later version
has to read them.

present/   a store as this version writes it: a pack, and a journal whose writer was killed in the middle of its last
           line
later/     a store made by hand in the format of a possible later version: responses, their usage, a request, the
           marker and the pack have fields that this version does not know, and there are additional files and folders
rows.json  the rows that a replay of either store makes

The rows depend on the prompts. After a change of the prompts, the records can still be read but not replayed: see
test_fixtures.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import Limits, run
from consistent_chat.drivers.stats import RunStats
from consistent_chat.files import file_digest
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response, bounded_json, canonical_json, request_key
from consistent_chat.row import row
from consistent_chat.store import ResponseStore
from consistent_chat.store.journal import HEADER
from consistent_chat.store.record import Record, to_line
from tests.answers import Answers, good

FIXTURES = Path(__file__).parent / "fixtures"
RECIPE = Recipe(
    model="fixture",
    intents=("educational",),
    num_dialogs_per_intent=2,
    num_turns_per_dialog=2,
    checks=False,
    reasoning=True,
)
IN_A_PACK = 1
"""Dialogues whose responses lie in the pack; those of the others lie in the journal."""
UNKNOWN = {"annotations": [{"kind": "citation", "at": None}], "confidence": 0.5, "Überraschung": {"a": {"b": []}}}
"""What a later version may keep of a response."""

COMPACT: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}


def said(request: Request) -> Response:
    """Return a response that has all fields of this version, with half a surrogate pair and an odd line separator."""
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 9}}
    return Response(
        good(request).text,
        "stop",
        100,
        50,
        reasoning="I think \ud83d of it.\u2028Well.",
        tool_calls='[{"id":"1","function":{"name":"f","arguments":"{}"}}]',
        finish_reason="end_turn",
        model="fixture-2026-11",
        id="response-1",
        usage=bounded_json(usage),
        extra=bounded_json({"service_tier": "flex"}),
    )


def dialogues(place: str, count: int, serving: Any = None) -> list[Dialogue]:
    """Return the first `count` dialogues, replayed from the store or, if a serving is given, made with it."""
    store = ResponseStore(place)
    try:
        return list(run(RECIPE, range(count), store, serving and (lambda: serving), Limits(), RunStats()))
    finally:
        store.close()


def rows(place: str) -> list[dict[str, Any]]:
    """Return the rows that a replay of a store makes."""
    return [row(dialogue, RECIPE) for dialogue in dialogues(place, RECIPE.num_dialogs_per_intent)]


def write_present(place: Path) -> list[Record]:
    """Write a store in this version's format, and return its records: first the pack's, then the journal's."""
    serving = Answers(lambda request, attempt: said(request))
    dialogues(str(place), IN_A_PACK, serving)
    packed = list(ResponseStore(str(place)).records())
    rest = place.with_name("rest")
    shutil.copytree(place, rest)
    dialogues(str(rest), RECIPE.num_dialogs_per_intent, serving)
    keys = {record.key for record in packed}
    journaled = sorted((one for one in ResponseStore(str(rest)).records() if one.key not in keys), key=_key)
    shutil.rmtree(rest)
    (place / "journals").mkdir(exist_ok=True)
    lines = b"".join(map(to_line, journaled))
    (place / "journals" / "killed.jsonl").write_bytes(HEADER + lines + to_line(packed[0])[:100])
    return [*packed, *journaled]


def write_later(place: Path, records: list[Record]) -> None:
    """Write a store that has the same responses in the format of a possible later version."""
    grown = [_grown(record) for record in records]
    strange = _strange(records[0])
    (place / "packs").mkdir(parents=True)
    (place / "journals").mkdir()
    (place / "store.json").write_text('{"consistent_chat_store": 1, "written_by": "0.9.0"}\n')
    (place / "notes").mkdir()
    (place / "notes" / "README.md").write_text("A folder that this version does not know.\n")
    half = len(grown) // 2
    (place / "journals" / "later.jsonl").write_bytes(HEADER + b"".join(map(to_line, grown[half:])))
    _write_pack([*grown[:half], strange], place / "packs")


def _key(record: Record) -> str:
    return record.key


def _grown(record: Record) -> Record:
    """Return a copy of a record whose response and usage have additional fields."""
    response = json.loads(record.response)
    usage = canonical_json({**json.loads(response["usage"]), "carbon_grams": 1.5, "tiers": [{"name": "flex"}]})
    more = canonical_json({**response, **UNKNOWN, "usage": usage.decode()}).decode()
    return Record(record.key, record.generation, record.request, more)


def _strange(record: Record) -> Record:
    """Return the record of a request with tools, which only a later version can make."""
    request = canonical_json({**json.loads(record.request), "tools": [{"name": "weather"}]})
    return Record(request_key(request), 0, request.decode(), _grown(record).response)


def _write_pack(records: list[Record], folder: Path) -> None:
    """Write a pack with two additional columns and a different order of columns."""
    columns = {
        "written_at": pa.array([None] * len(records), pa.timestamp("us")),
        "sha256": [record.digest for record in records],
        "response": [record.response for record in records],
        "tokens": pa.array([{"input": 100}] * len(records), pa.struct([("input", pa.int64())])),
        "key": [record.key for record in records],
        "generation": pa.array([record.generation for record in records], pa.int32()),
        "request": [record.request for record in records],
    }
    metadata = {"consistent_chat_pack": "1", "written_by": "0.9.0"}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), folder / "new", **COMPACT)
    (folder / "new").rename(folder / f"{file_digest(folder / 'new')}.parquet")


def main(folder: Path = FIXTURES) -> None:
    """Write both stores and the file of their rows."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    records = write_present(folder / "present")
    write_later(folder / "later", records)
    copy = folder / "copy"
    shutil.copytree(folder / "present", copy)
    (folder / "rows.json").write_text(json.dumps(rows(str(copy)), indent=1, ensure_ascii=False) + "\n", "utf-8")
    shutil.rmtree(copy)


if __name__ == "__main__":
    main()
