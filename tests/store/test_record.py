"""Tests of records: they are read exactly as they were written, by this version, an older one or a later one."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.errors import DamagedRecord
from consistent_chat.request import EXTRA_BYTES, MOST_TOKENS, Request, Response, bounded_json
from consistent_chat.store import ResponseStore, compact, verify
from consistent_chat.store.record import Record, digest_of, from_line, to_line
from tests.stored import asked, files

AWKWARD = ['"', "\\", "\n", "\r", "\0", "\x1b[2J", "\ud83d", "\ude00", "\udc80", "\\ud800", "\u2028", "😀", "\ufeff"]
AWKWARD += ['","response":', ',"response":{', '"request":{}', "}}", '{"response":{"text":']
TEXTS = st.lists(st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=())), max_size=6).map("".join)
COUNTS = st.none() | st.integers(0, MOST_TOKENS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["response", "a", "z"]) | TEXTS, inner),
    max_leaves=6,
)
RESPONSES = st.builds(
    Response,
    text=TEXTS,
    finish=TEXTS,
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    reasoning=TEXTS,
    tool_calls=JSON.map(json.dumps),
    finish_reason=TEXTS,
    model=TEXTS,
    id=TEXTS,
    usage=TEXTS,
    extra=st.dictionaries(TEXTS, JSON, max_size=3).map(bounded_json),
)
REQUESTS = st.builds(
    asked,
    system=TEXTS,
    model=TEXTS,
    schema=st.dictionaries(st.sampled_from(["response", "request", "z"]) | TEXTS, JSON, max_size=3),
)


@given(response=RESPONSES)
def test_a_response_is_read_as_it_was_written(response: Response) -> None:
    """Any response is unchanged after encoding and decoding."""
    assert Record.of(asked(), response).kept.answer() == response == response.as_stored()
    assert Response.of(response.plain()) == response


@pytest.mark.slow
@given(request=REQUESTS, response=RESPONSES, generation=st.integers(0, 2**31 - 1))
def test_a_journals_line_is_cut_where_the_response_begins(
    request: Request, response: Response, generation: int
) -> None:
    """A journal line is split where the response begins; no text and no nested field moves the split."""
    record = Record.of(request, response, generation)
    assert from_line(to_line(record)[:-1], "a line") == record
    assert record.check_fields("a line").kept.answer(record.key) == response


@pytest.mark.slow
@given(request=REQUESTS, later=st.dictionaries(TEXTS.filter(bool), JSON, max_size=3))
def test_fields_of_a_later_version_are_kept_and_not_read(request: Request, later: dict[str, object]) -> None:
    """A record with unknown fields is found, packed and compacted with all of them, and `verify` finds no fault."""
    plain = {"finish": "stop", "input_tokens": 1, "output_tokens": None, "text": "hi", "response": {"text": 1}}
    stored = json.dumps({**later, **plain})
    record = Record(request.key, 0, request.canonical.decode(), stored)
    with tempfile.TemporaryDirectory() as folder:
        write_journal(Path(folder), record)
        for _ in range(2):
            assert ResponseStore(folder).find(request) == Response("hi", "stop", 1)
            assert [one.response for one in ResponseStore(folder).records()] == [stored]
            assert verify(folder).faults == []
            compact(folder)


def write_journal(folder: Path, *records: Record) -> Path:
    """Write a journal of these records, as a killed writer would leave it."""
    path = folder / "journals" / "left.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'{"consistent_chat_journal":1}\n' + b"".join(map(to_line, records)))
    return path


def test_what_is_empty_is_absent() -> None:
    """A response without the newer fields has the same bytes and digest as before these fields were introduced."""
    record = Record.of(asked(), Response("hi", "stop", 3))
    assert record.response == '{"finish":"stop","input_tokens":3,"output_tokens":null,"text":"hi"}'
    assert record.digest == digest_of(record.key, 0, record.response)


def test_halves_of_a_character_that_meet_are_the_character() -> None:
    """Two adjacent halves of a surrogate pair become one character.

    JSON does not distinguish the two forms, so no driver may see a difference that a replay does not see.
    """
    assert Response("hi \ud83d\ude00").text == "hi 😀"
    assert Response("hi \ud83d\udc80", reasoning="\ud83d\ude00").reasoning == "😀"
    assert Response("\ude00\ud83d").text == "\ude00\ud83d"


@pytest.mark.parametrize("name", ["text", "finish", "reasoning", "tool_calls", "model", "id", "usage", "extra"])
@pytest.mark.parametrize("value", [None, 1, b"bytes", ["list"], {}])
def test_a_field_of_another_type_is_refused_when_it_is_made(name: str, value: object) -> None:
    """A response with a field of the wrong type raises TypeError, so no serving can store what readers would refuse."""
    with pytest.raises(TypeError, match=name):
        Response(**{"text": "", name: value})


@pytest.mark.parametrize("tokens", [-1, True, 1.5, "1", MOST_TOKENS + 1])
def test_only_a_count_is_a_number_of_tokens(tokens: object) -> None:
    """A number of tokens must be a whole number within the limit, so that sums stay 64-bit integers."""
    with pytest.raises(TypeError, match="input_tokens"):
        Response("", input_tokens=tokens)  # type: ignore[arg-type]


HOSTILE = [
    ("null", "text"),
    ("[]", "text"),
    ('"text"', "text"),
    ("{}", "text"),
    ('{"text":null}', "text"),
    ('{"text":["a"]}', "text"),
    ('{"text":"","finish":7}', "finish"),
    ('{"text":"","input_tokens":-1}', "input_tokens"),
    ('{"text":"","output_tokens":1e400}', "output_tokens"),
    ('{"text":"","output_tokens":%s}' % ("9" * 5000), "digits"),
    ('{"text":"","reasoning":{}}', "reasoning"),
    ('{"text":"","usage":{"a":1}}', "usage"),
    ("[" * 100_000, "nested"),
    ("{", "JSON"),
    ("", "JSON"),
]


@pytest.mark.parametrize(("response", "named"), HOSTILE)
@pytest.mark.parametrize("packed", [False, True])
def test_a_response_that_no_version_writes_is_one_clear_error(
    tmp_path: Path, response: str, named: str, packed: bool
) -> None:
    """A lookup of an invalid response raises DamagedRecord with its key, and `verify` names file, record and field."""
    record = Record(asked().key, 0, asked().canonical.decode(), response)
    write_journal(tmp_path, record)
    if packed:
        compact(str(tmp_path))
        assert files(str(tmp_path), "journals") == []
    with pytest.raises(DamagedRecord, match=record.key):
        ResponseStore(str(tmp_path)).find(asked())
    (fault,) = verify(str(tmp_path)).faults
    assert record.key in fault
    assert named in fault


@pytest.mark.parametrize(
    "request_text",
    [
        '{"response":{"text":"a"}}',
        '{"messages":"none"}',
        "{}",
        '{"draw":0,"messages":[[]],"model":"m","repeat":0,"schema":{},"seed":0,"system":"","temperature":0.0}',
        '{"draw":0,"messages":[],"model":1,"repeat":0,"schema":{},"seed":0,"system":"","temperature":0.0}',
    ],
)
def test_a_request_that_no_version_writes_is_a_fault(tmp_path: Path, request_text: str) -> None:
    """`verify` reports an invalid request even if its key and its digest match."""
    import hashlib

    key = "sha256:" + hashlib.sha256(request_text.encode()).hexdigest()
    write_journal(tmp_path, Record(key, 0, request_text, Record.of(asked(), Response("")).response))
    (fault,) = verify(str(tmp_path)).faults
    assert key in fault


def test_what_a_server_sends_besides_is_bounded() -> None:
    """Additional fields of a server are kept in the order of their names up to a limit; the other names are listed."""
    fields = {"annotations": [1], "audio": "x" * EXTRA_BYTES, "nan": float("nan"), "zeta": True}
    text = bounded_json(fields)
    assert json.loads(text) == {"annotations": [1], "left_out": ["audio", "nan"], "zeta": True}
    assert len(bounded_json({f"name {number}": "x" * 1000 for number in range(1000)})) <= EXTRA_BYTES + 64
    assert bounded_json({}) == ""
