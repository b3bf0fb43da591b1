"""Request keys, which join a request with its stored response."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consistent_chat import request as requests
from consistent_chat.request import Request, Response, Schema, canonical_json, parsed_json, quoted, request_key

LAW = settings(derandomize=True)

PLAIN = Request(
    model="m",
    system="s",
    messages=({"role": "user", "content": "c"},),
    temperature=1,
    schema={"type": "object"},
    seed=0,
    repeat=0,
    draw=0,
)
ODD = Request(
    model="claude-haiku-5-5",
    system="Sätze ☃",
    messages=({"role": "user", "content": 'line\n\ud800 "q"'},),
    temperature=0.9,
    schema={"required": ["user_1"], "a": [1]},
    seed=-5,
    repeat=-1,
    draw=3,
)
OTHER: dict[str, Any] = {
    "model": "n",
    "system": "s ",
    "messages": ({"role": "user", "content": "C"},),
    "temperature": 1.1,
    "schema": {"type": "array"},
    "seed": 1,
    "repeat": -1,
    "draw": 1,
}


def test_a_stage_changes_neither_the_key_nor_equality() -> None:
    """A stage says what a request is for, and changes neither the key nor the bytes of the request."""
    staged = replace(PLAIN, stage="answers")
    assert (staged, hash(staged.key), staged.canonical) == (PLAIN, hash(PLAIN.key), PLAIN.canonical)


def test_the_bytes_of_a_plain_request_are_pinned() -> None:
    """The bytes and the key of a plain request never change, because stored responses are found by them."""
    assert PLAIN.canonical == (
        b'{"draw":0,"format":1,"messages":[{"content":"c","role":"user"}],"model":"m","repeat":0,'
        b'"schema":{"type":"object"},"seed":0,"system":"s","temperature":1.0}'
    )
    assert PLAIN.key == "sha256:c75193c83ecebbc92f88f14b7d2b16a841d64abe82160de981d57d7222b400d9"


def test_the_bytes_of_an_odd_request_are_pinned() -> None:
    """The bytes of accents, a snowman, quotes, a line break and half a surrogate pair never change."""
    assert (
        ODD.canonical
        == (
            '{"draw":3,"format":1,"messages":[{"content":"line\\n\\ud800 \\"q\\"","role":"user"}],'
            '"model":"claude-haiku-5-5","repeat":-1,"schema":{"a":[1],"required":["user_1"]},"seed":-5,'
            '"system":"Sätze ☃","temperature":0.9}'
        ).encode()
    )
    assert ODD.key == "sha256:1ecc964819cd3b17343bc2f8a1e9c8d65c172b1386e77c127bec1ad6db877b86"


@pytest.mark.parametrize("name", OTHER)
def test_whatever_can_change_an_answer_changes_the_key(name: str) -> None:
    """Another model, prompt, temperature, schema, seed, repeat or draw gives another key."""
    assert replace(PLAIN, **{name: OTHER[name]}).key != PLAIN.key


def test_no_field_is_forgotten() -> None:
    """Only two fields are not part of the key. A new field must enter the key or this list."""
    assert {field.name for field in fields(Request)} - set(OTHER) == {"max_tokens", "stage"}


def test_a_higher_limit_of_tokens_is_the_same_request() -> None:
    """A higher limit of tokens keeps the key, because it does not change an answer that was complete."""
    wider = replace(PLAIN, max_tokens=8 * PLAIN.max_tokens)
    assert wider.key == PLAIN.key
    assert wider == PLAIN


def test_a_whole_temperature_is_a_temperature() -> None:
    """The temperatures 1 and 1.0 give the same key."""
    assert replace(PLAIN, temperature=1.0).key == replace(PLAIN, temperature=1).key


@pytest.mark.parametrize("temperature", [float("nan"), float("inf")])
def test_what_is_no_json_has_no_key(temperature: float) -> None:
    """A temperature that JSON cannot express raises an error, so other languages can compute every key."""
    with pytest.raises(ValueError):  # noqa: PT011 - the words are those of json
        _ = replace(PLAIN, temperature=temperature).key


def test_a_key_is_the_hash_of_the_stored_bytes() -> None:
    """A key is the SHA-256 of the stored bytes, so a store can be verified without this package."""
    assert PLAIN.key == request_key(PLAIN.canonical) == "sha256:" + hashlib.sha256(PLAIN.canonical).hexdigest()


ANY_TEXT = st.text(st.characters() | st.sampled_from('"\\\n\t\0\x1f\x7f\ud800\udfff'), max_size=20).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # a pair is one character
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=10,
)


NUMBERS = st.integers(-(2**63), 2**63 - 1)
SCHEMAS = st.dictionaries(ANY_TEXT, ANY_JSON, max_size=3)
MESSAGE = st.fixed_dictionaries({"role": ANY_TEXT, "content": ANY_TEXT})
REQUESTS = st.builds(
    Request,
    model=ANY_TEXT,
    system=ANY_TEXT,
    messages=st.lists(MESSAGE | st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3), max_size=3).map(tuple),
    temperature=st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 2),
    schema=SCHEMAS | SCHEMAS.map(Schema),
    seed=NUMBERS,
    repeat=NUMBERS,
    draw=NUMBERS,
)


def plainly(value: Any) -> bytes:
    """Return canonical JSON, made by the standard library alone."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


@LAW
@given(REQUESTS)
def test_a_request_in_bytes_is_its_identity_as_json(request: Request) -> None:
    """The bytes of a request equal the JSON of its identity, for any content."""
    assert request.canonical == plainly(request.identity())


@LAW
@given(ANY_TEXT)
def test_a_text_is_quoted_as_an_encoder_does(text: str) -> None:
    """`quoted` gives the same text as the JSON encoder of the standard library."""
    assert quoted(text) == json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize("code", [*range(0x80), 0x85, 0xD800, 0xDFFF, 0x2028, 0xFFFF, 0x10FFFF])
def test_every_character_that_might_be_special_is_quoted_as_an_encoder_does(code: int) -> None:
    """Each special character is quoted as by the standard library, both alone and within a text."""
    for text in (chr(code), f'a {chr(code)}"\n{chr(code)}\\ é'):
        assert quoted(text) == json.dumps(text, ensure_ascii=False)


@LAW
@given(ANY_JSON)
def test_json_is_parsed_as_a_decoder_does(value: Any) -> None:
    """`parsed_json` gives the same values as the standard library for canonical and for indented JSON.

    Integers beyond 64 bits become floats; they occur in no response.
    """
    for text in (canonical_json(value).decode(), json.dumps(value, indent=1)):
        assert repr(parsed_json(text)) == repr(json.loads(text, parse_int=_bounded))


def _bounded(text: str) -> float:
    return int(text) if -(2**63) <= int(text) < 2**64 else float(text)


@pytest.mark.parametrize("text", ["", "{", '{"a":1,}', "[1] 2", '"\n"', "\ufeff1", "[" * 100_000])
def test_what_is_no_json_is_refused_by_the_same_errors(text: str) -> None:
    """Invalid JSON raises the same error as in the standard library, with the same message."""
    with pytest.raises((ValueError, RecursionError)) as known:
        json.loads(text)
    with pytest.raises(known.type) as error:
        parsed_json(text)
    assert str(error.value) == str(known.value)


def test_a_python_without_the_fast_library_makes_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, quoted texts and parsed values are the same without orjson, which is not built for every Python."""
    before = [(replace(PLAIN, draw=1).key, replace(ODD, draw=1).key), quoted("a\n"), parsed_json('{"a":[1.5]}')]
    monkeypatch.setattr(requests, "orjson", None)
    assert before == [(replace(PLAIN, draw=1).key, replace(ODD, draw=1).key), quoted("a\n"), parsed_json('{"a":[1.5]}')]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda schema: pickle.loads(pickle.dumps(schema))])
def test_a_copy_of_a_schema_may_be_changed(copied: Any) -> None:
    """A copy of a schema can be changed: its request gets another key, and that of the original stays the same."""
    schema = Schema({"type": "object", "required": []})
    request = replace(PLAIN, schema=schema)
    other = copied(schema)
    assert other == schema
    assert replace(PLAIN, schema=other).key == request.key
    other["type"] = "array"
    assert replace(PLAIN, schema=other).canonical == plainly(replace(PLAIN, schema=other).identity())
    assert replace(PLAIN, schema=other).key != request.key == replace(PLAIN, schema=schema).key


@LAW
@given(
    st.dictionaries(
        ANY_TEXT,
        ANY_TEXT | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_canonical_json_of_a_flat_object_is_what_an_encoder_writes(fields: dict[str, Any]) -> None:
    """The fast path for objects without nested values gives the bytes of the standard library, for any values."""
    assert canonical_json(fields) == plainly(fields)


@LAW
@given(ANY_JSON)
def test_canonical_json_loses_nothing(value: Any) -> None:
    """Parsing canonical JSON and writing it again gives the same bytes."""
    once = canonical_json(value)
    assert canonical_json(json.loads(once)) == once


@LAW
@given(st.dictionaries(ANY_TEXT, st.integers(), max_size=6))
def test_the_order_of_names_is_of_no_meaning(mapping: dict[str, int]) -> None:
    """The order of the keys of an object does not change its bytes."""
    assert canonical_json(dict(reversed(mapping.items()))) == canonical_json(mapping)


@LAW
@given(ANY_TEXT, ANY_TEXT)
def test_different_texts_have_different_bytes(one: str, other: str) -> None:
    """Different texts have different bytes. Only two halves of a surrogate pair equal the character that they form."""
    whole = [text.encode("utf-16", "surrogatepass") for text in (one, other)]
    assert (canonical_json(one) == canonical_json(other)) == (whole[0] == whole[1])


def test_a_backslash_is_no_half_character() -> None:
    """A lone surrogate and a text that looks like its escape sequence have different bytes."""
    assert canonical_json("\\ud800") == b'"\\\\ud800"'
    assert canonical_json("\ud800") == b'"\\ud800"'


def test_a_response_as_plain_data_makes_the_response_again() -> None:
    """The plain data of a response has all of its fields, and makes an equal response."""
    response = Response("text", "length", 3, None)
    assert response.plain() == {"text": "text", "finish": "length", "input_tokens": 3, "output_tokens": None}
    assert Response(**response.plain()) == response
