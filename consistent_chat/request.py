"""Requests to a model, its responses, and the key that links them.

The key of a request is the SHA-256 of its canonical JSON. It covers everything that can change a complete
answer and nothing else, so a response is found again whichever serving gave it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

try:
    import orjson
except ImportError:  # a Python for which it is not built; `json` gives the same bytes
    orjson = None  # type: ignore[assignment]

KEY_FORMAT = 1
"""Raised only when the meaning of the key's fields changes: every response must then be requested again."""


@dataclass(frozen=True)
class Request:
    """One call to a model.

    `temperature` is the recipe's, in [0, 2]. `repeat` counts how often the plan has drawn the same combination before
    (negative for substitutes), `draw` how often this request was answered unusably. `schema` is the JSON schema of the
    answer. `max_tokens` bounds the answer and is not part of the key: a higher limit does not change a complete answer.
    `stage` says what the request is for ("skeleton", "answers", "judge"); it is neither compared, nor part of the key,
    nor stored.
    """

    model: str
    system: str
    messages: tuple[Mapping[str, str], ...]
    temperature: float
    schema: Mapping[str, Any] | None
    seed: int
    repeat: int
    draw: int
    max_tokens: int = field(default=4096, compare=False)
    stage: str = field(default="", compare=False)

    def identity(self) -> dict[str, Any]:
        """Return the fields that make the key, as plain data."""
        return {
            "format": KEY_FORMAT,
            "model": self.model,
            "system": self.system,
            "messages": [dict(message) for message in self.messages],
            "temperature": float(self.temperature),
            **({} if self.schema is None else {"schema": self.schema}),
            "seed": self.seed,
            "repeat": self.repeat,
            "draw": self.draw,
        }

    @cached_property
    def canonical(self) -> bytes:
        """The identity as canonical JSON: the bytes that are stored and hashed."""
        # Assembled from parts: those that all requests of a recipe share are encoded once, which saves half of the
        # time.
        text = (
            f'{{"draw":{self.draw:d},"format":{KEY_FORMAT},"messages":[{",".join(map(_flat, self.messages))}],'
            f'"model":{_spelt_once(self.model)},"repeat":{self.repeat:d},{_spelt_schema(self.schema)}'
            f'"seed":{self.seed:d},"system":{_spelt_once(self.system)},"temperature":{_number(self.temperature)}}}'
        )
        return _in_bytes(text)

    @cached_property
    def key(self) -> str:
        """The key of this request: `sha256:<64 hex digits>`."""
        return request_key(self.canonical)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that the schema requires; empty without a schema."""
        return () if self.schema is None else tuple(self.schema.get("properties", ()))

    @property
    def digest(self) -> str:
        """The 64 hex digits of the key, for names that cannot have a colon."""
        return self.key.rpartition(":")[2]


class Schema(dict[str, Any]):
    """A JSON schema that many requests share: it is encoded once for all of their keys, and must not be changed.

    A copy is a plain `dict`, which may be changed.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        super().__init__(schema)
        self.canonical = _spelt(schema)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


@dataclass(frozen=True)
class Response:
    """The complete, unchanged response of a model.

    `finish` is "stop", "length" (cut by max_tokens) or "refusal"; any other value of the provider is kept
    unchanged and read like "stop". Tokens are the provider's own count, or None if it gave none.

    The other fields are empty if a server does not report them. `reasoning` is the model's reasoning before its
    answer. `finish_reason`, `model` and `id` are the server's own words. `tool_calls` and `usage` are JSON texts of
    what it sent, `extra` is one of what else its message had (`bounded_json` makes them).

    `checked` says that this machine has checked the response before, and that it passed. It is neither compared nor
    stored, and no server and no store can set it.

    Two halves of a character that follow each other become that character, since JSON does not tell them from it:
    so a response equals what a store gives back. Raises TypeError and ValueError for fields that cannot be stored.
    """

    text: str
    finish: str = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning: str = ""
    tool_calls: str = ""
    finish_reason: str = ""
    model: str = ""
    id: str = ""
    usage: str = ""
    extra: str = ""
    checked: bool = field(default=False, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _complete(vars(self))

    def plain(self) -> dict[str, Any]:
        """Return the response as plain data, in the form that is stored: of the further fields those that say a thing.

        So the digests of records that were made before these fields existed stay as they are.
        """
        stored = {name: getattr(self, name) for name in _ALWAYS}
        return {**stored, **{name: value for name in _FURTHER if (value := getattr(self, name))}}

    @classmethod
    def of(cls, stored: Any, checked: bool = False) -> Response:
        """Return the response of plain data that was stored, without the fields that only later versions know.

        `checked` is not read from the data. Raises TypeError, which names the field, for data that is not a response.
        """
        if not isinstance(stored, dict) or "text" not in stored:
            raise TypeError("it is not an object with the field 'text'")
        fields = {name: stored[name] for name in _FIELDS if name in stored}
        _complete(fields)
        response = object.__new__(cls)  # a frozen dataclass sets its fields one by one, which takes longer
        vars(response).update(_DEFAULTS)
        vars(response).update(fields, checked=checked)
        return response

    def as_stored(self) -> Response:
        """Return this response as a store returns it: itself, unless a subclass or a note of checks makes it more."""
        if type(self) is Response and not self.checked:
            return self
        return Response.of(json.loads(canonical_json(self.plain())))


MOST_TOKENS = 1 << 53
"""A larger count is an error: the sums of a dataset are 64-bit numbers."""
EXTRA_BYTES = 64 << 10
"""Maximum bytes kept of a server's fields besides those of a response."""
LEFT_OUT = "left_out"
"""The name under which `bounded_json` lists the fields that were too large."""
_ALWAYS = ("text", "finish", "input_tokens", "output_tokens")
_FURTHER = ("reasoning", "tool_calls", "finish_reason", "model", "id", "usage", "extra")
_FIELDS = _ALWAYS + _FURTHER
_COUNTS = ("input_tokens", "output_tokens")
_TEXTS = tuple(name for name in _FIELDS if name not in _COUNTS)
_DEFAULTS = {one.name: one.default for one in fields(Response) if one.name != "text"}
_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]").search


def _complete(given: dict[str, Any]) -> None:
    """Join the halves of characters in the fields of a response; raises TypeError for fields that cannot be stored."""
    for name, value in given.items():
        if name in _COUNTS:
            if value is not None and (type(value) is not int or not 0 <= value <= MOST_TOKENS):
                raise TypeError(
                    f"the field {name!r} of a response must be a number of tokens or None, not {value!r:.40}"
                )
        elif name in _TEXTS:
            if type(value) is not str:
                raise TypeError(f"the field {name!r} of a response must be text, not {type(value).__name__}")
            if not value.isascii() and _HALVES(value):
                given[name] = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def bounded_json(fields: Mapping[str, Any], limit: int = EXTRA_BYTES) -> str:
    """Return fields that a server sent as canonical JSON text; empty without fields.

    Those that would make it longer than `limit` bytes, in the order of their names, or that JSON cannot hold are left
    out, and their names listed under "left_out" as far as they fit.
    """
    if not fields:
        return ""
    whole = json_text(fields)
    if whole and all(type(name) is str for name in fields) and len(whole.encode()) + len(fields) <= limit:
        return whole
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for name in sorted(map(str, fields)):
        size = _json_size({name: fields[name]}) if name in fields else None
        if size is not None and size <= limit:
            kept[name], limit = fields[name], limit - size
        else:
            left_out.append(name)
    shown = [name for name in left_out if (limit := limit - len(name) * 4 - 16) > 0]
    kept |= {LEFT_OUT: shown} if shown else {}
    return canonical_json(kept).decode("utf-8") if kept else ""


def json_text(value: Any) -> str:
    """Return a server's value as canonical JSON text, or empty if it has none: NaN, or nested too deeply."""
    try:
        return canonical_json(value).decode("utf-8")
    except (ValueError, TypeError, RecursionError):
        return ""


def _json_size(value: Any) -> int | None:
    """Return the length of a value as canonical JSON, in bytes, or None if it has none."""
    return len(json_text(value).encode("utf-8")) or None


def request_key(canonical_request: bytes) -> str:
    """Return the key of a request's canonical JSON, tagged with its algorithm: `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(canonical_request).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted names, no white space, in UTF-8; lone surrogates stay escaped, as backslash udXXX."""
    return _in_bytes(_spelt(value))


def json_line(value: Any) -> bytes:
    """Return JSON without white space in ASCII, its names in the given order: one line of a file, without its end."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def quoted(text: str) -> str:
    """Return a text as canonical JSON. This is much of the work of a replay, and orjson is ten times as fast."""
    try:
        return orjson.dumps(text).decode("utf-8")
    except (TypeError, AttributeError):  # half a surrogate pair; or there is no orjson
        return _spelt(text)


def parsed_json(text: str) -> Any:
    """Return what `json.loads` returns, faster; a float of a number beyond 64 bits. Raises the same errors."""
    try:
        return orjson.loads(text)
    except (ValueError, AttributeError):  # NaN, half a surrogate pair, deep nesting, no JSON; or there is no orjson
        return json.loads(text)


def _in_bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


# One shared encoder: json.dumps creates a new one each time, which takes 2 microseconds.
_spelt = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_spelt_once = functools.lru_cache(maxsize=64)(_spelt)


def _spelt_schema(schema: Mapping[str, Any] | None) -> str:
    """Return the field with its comma; empty without a schema."""
    if schema is None:
        return ""
    return f'"schema":{schema.canonical if isinstance(schema, Schema) else _spelt(schema)},'


def _flat(message: Mapping[str, str]) -> str:
    if message.keys() == _PLAIN:  # as nearly all are
        return f'{{"content":{quoted(message["content"])},"role":{_spelt_once(message["role"])}}}'
    return "{" + ",".join([f"{_spelt_once(name)}:{quoted(message[name])}" for name in sorted(message)]) + "}"


_PLAIN = frozenset({"role", "content"})


def _number(value: float) -> str:
    number = float(value)
    return repr(number) if math.isfinite(number) else _spelt(number)
