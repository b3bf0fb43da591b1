"""Requests to a model, its responses, and the key that links them.

The key of a request is the SHA-256 of its canonical JSON. The key covers everything that can change a complete answer
and nothing else, so a response is found again regardless of the serving that gave it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

try:
    import orjson
except ImportError:  # not available for this Python; `json` gives the same bytes
    orjson = None  # type: ignore[assignment]

KEY_FORMAT = 1
"""Incremented only when the meaning of the key's fields changes, since every response must then be requested again."""


@dataclass(frozen=True, init=False)
class Request:
    """One call to a model.

    `temperature` is the recipe's, in [0, 2]. `repeat` counts how often the plan has drawn the same combination before
    (negative for substitutes), `draw` how many unusable answers this request already had. `schema` is the JSON schema
    of the answer. `max_tokens` bounds the answer; it is not part of the key, because a higher limit does not change a
    complete answer. `stage` is the purpose of the request ("skeleton", "answers", "judge"); it is not compared, not
    part of the key and not stored.
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

    def __init__(
        self,
        model: str,
        system: str,
        messages: tuple[Mapping[str, str], ...],
        temperature: float,
        schema: Mapping[str, Any] | None,
        seed: int,
        repeat: int,
        draw: int,
        max_tokens: int = 4096,
        stage: str = "",
    ) -> None:
        fields = locals()  # all at once, which takes a fifth of the time that a frozen dataclass takes
        del fields["self"]
        object.__setattr__(self, "__dict__", fields)

    @classmethod
    def rendered_later(cls, render: Callable[[], tuple[str, str]], fields: dict[str, Any]) -> Request:
        """Return a request whose system text and only message are rendered when they are first read.

        A replay that knows the key already reads neither. `fields` are all other fields, which the request takes over.
        """
        request = object.__new__(cls)
        fields["_render"] = render
        object.__setattr__(request, "__dict__", fields)
        return request

    def __getattr__(self, name: str) -> Any:
        render = vars(self).get("_render")
        if render is None or name not in ("system", "messages"):
            raise AttributeError(f"a request has no {name!r}")
        system, said = render()
        vars(self).update(system=system, messages=({"role": "user", "content": said},))
        return vars(self)[name]

    def __getstate__(self) -> dict[str, Any]:
        rendered = {"system": self.system, "messages": self.messages}
        return {**{name: value for name, value in vars(self).items() if name != "_render"}, **rendered}

    def known_as(self, key: str) -> None:
        """Take a key that was computed before from the same fields."""
        vars(self)["key"] = key

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

    @property
    def canonical(self) -> bytes:
        """The identity as canonical JSON: the bytes that are stored and hashed. Unlike the key, they are not cached."""
        return b"".join(self._parts())

    @cached_property
    def key(self) -> str:
        """The key of this request: `sha256:<64 hex digits>`."""
        digest = hashlib.sha256()
        for part in self._parts():
            digest.update(part)
        return "sha256:" + digest.hexdigest()

    def _parts(self) -> tuple[bytes, bytes, bytes]:
        """Return the canonical JSON in parts: those that all requests of a recipe share are encoded once."""
        head = f'{{"draw":{self.draw:d},"format":{KEY_FORMAT},"messages":['.encode()
        messages = b",".join([_flat(message) for message in self.messages])
        shared = self.model, self.repeat, _spelt_schema(self.schema), self.seed, self.system
        return head, messages, _tail(*shared, _number(self.temperature))

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that the schema requires; empty without a schema."""
        return () if self.schema is None else tuple(self.schema.get("properties", ()))

    @property
    def digest(self) -> str:
        """The 64 hex digits of the key, for names that cannot have a colon."""
        return self.key.rpartition(":")[2]


class Schema(dict[str, Any]):
    """A JSON schema that many requests share. It is encoded once for all their keys, and must not be changed.

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

    `finish` is "stop", "length" (cut off at max_tokens) or "refusal"; any other value of the provider is kept unchanged
    and treated like "stop". Token counts are the provider's, or None if it gave none. The other fields are empty if a
    server does not report them. `reasoning` is the model's reasoning before its answer. `finish_reason`, `model` and
    `id` are as the server sent them. `tool_calls`, `usage` and `extra` (other fields of the message) are JSON texts of
    what the server sent (`bounded_json` makes them). `checked` means that this machine has checked the response before,
    and that it passed. `record` is the digest of the record that this machine's store found or kept; empty for a
    response from elsewhere. Both are neither compared nor stored, and no server or store can set them. Two surrogates
    that form a pair become one character, because JSON does not distinguish them, so a response equals what a store
    returns. Raises TypeError and ValueError for fields that cannot be stored.
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
    record: str = field(default="", init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _complete(vars(self), list(vars(self).items()))

    def plain(self) -> dict[str, Any]:
        """Return the response as plain data, in the form that is stored, without optional fields that are empty.

        So the digests of records that were made before these fields existed do not change.
        """
        stored = {name: getattr(self, name) for name in _ALWAYS}
        return {**stored, **{name: value for name in _FURTHER if (value := getattr(self, name))}}

    @classmethod
    def of(cls, stored: Any, checked: bool = False, record: str = "") -> Response:
        """Return the response from stored plain data, without fields that only later versions know.

        `checked` and `record` are not read from the data. Raises TypeError, which names the field, if the data is not a
        response.
        """
        if not isinstance(stored, dict) or "text" not in stored:
            raise TypeError("it is not an object with the field 'text'")
        response = object.__new__(cls)  # a frozen dataclass sets its fields one by one, which takes longer
        given = vars(response)
        given.update(_DEFAULTS, checked=checked, record=record)
        given.update(stored if stored.keys() <= _FIELDS else {name: stored[name] for name in _FIELDS & stored.keys()})
        _complete(given, stored.items())
        return response

    def as_stored(self) -> Response:
        """Return this response as a store would return it: itself, or a plain Response without a note of checks."""
        if type(self) is Response and not self.checked:
            return self
        return Response.of(json.loads(canonical_json(self.plain())))

    def kept_as(self, record: str) -> Response:
        """Return what a store returns that has kept this response in a record with this digest."""
        kept = object.__new__(Response)
        vars(kept).update(vars(self.as_stored()), record=record)
        return kept


MOST_TOKENS = 1 << 53
"""A larger count is an error, because the sums of a dataset are 64-bit numbers."""
MOST_COUNTED = 10_000_000
"""A server's count of one call that is larger is wrong: it is the longest context of any model (November 2026)."""
EXTRA_BYTES = 64 << 10
"""Maximum bytes that are kept of a server's additional fields."""
LEFT_OUT = "left_out"
"""The name under which `bounded_json` lists the fields that were too large."""
_ALWAYS = ("text", "finish", "input_tokens", "output_tokens")
_FURTHER = ("reasoning", "tool_calls", "finish_reason", "model", "id", "usage", "extra")
_FIELDS = frozenset(_ALWAYS + _FURTHER)
_COUNTS = frozenset({"input_tokens", "output_tokens"})
_TEXTS = _FIELDS - _COUNTS
_DEFAULTS = {one.name: one.default for one in fields(Response) if one.name != "text"}
_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]").search


def _complete(given: dict[str, Any], fields: Iterable[tuple[str, Any]]) -> None:
    """Join surrogate pairs in these fields of a response. Raises TypeError for fields that cannot be stored."""
    for name, value in fields:
        if name in _TEXTS:
            if type(value) is not str:
                raise TypeError(f"the field {name!r} of a response must be text, not {type(value).__name__}")
            if not value.isascii() and _HALVES(value):
                given[name] = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        elif name in _COUNTS and value is not None and (type(value) is not int or not 0 <= value <= MOST_TOKENS):
            raise TypeError(f"the field {name!r} of a response must be a number of tokens or None, not {value!r:.40}")


def bounded_json(fields: Mapping[str, Any], limit: int = EXTRA_BYTES) -> str:
    """Return the fields that a server sent as canonical JSON text; empty without fields.

    Fields are added in the order of their names. Those that JSON cannot represent, or that would make the text longer
    than `limit` bytes, are left out, and their names are listed under "left_out" if they fit.
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
    """Return a server's value as canonical JSON text, or "" if it has none: NaN, or nested too deeply."""
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
    """Return JSON with sorted names and without white space, in UTF-8.

    Lone surrogates stay escaped, as backslash udXXX.
    """
    if type(value) is dict and _SIMPLE.issuperset(map(type, value.values())):
        return _flat_json(value)
    return _in_bytes(_spelt(value))


def _flat_json(fields: dict[str, Any]) -> bytes:
    """Return canonical JSON of an object without floats, which orjson writes differently, or other objects."""
    try:
        return bytes(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS))
    except (TypeError, AttributeError):  # as in `wire_json`, or a name that is not text
        return _in_bytes(_spelt(fields))


_SIMPLE = frozenset({str, int, bool, type(None)})


def json_line(value: Any) -> bytes:
    """Return JSON in ASCII without white space, with names in the given order: one line of a file, without its end."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def wire_json(value: Any) -> bytes:
    """Return the JSON of a request's body in UTF-8, its names in the given order."""
    try:
        return bytes(orjson.dumps(value))
    except (TypeError, AttributeError):  # a lone surrogate, a number beyond 64 bits, or orjson is missing
        return json.dumps(value).encode("ascii")


def quoted(text: str) -> str:
    """Return a text as canonical JSON. This is much of the work of a replay, and orjson is ten times as fast."""
    try:
        return orjson.dumps(text).decode("utf-8")
    except (TypeError, AttributeError):  # a lone surrogate, or orjson is missing
        return _spelt(text)


def parsed_json(text: str) -> Any:
    """Return what `json.loads` returns, but faster, and a float for a number beyond 64 bits. Raises the same errors."""
    try:
        return orjson.loads(text)
    except (ValueError, AttributeError):  # NaN, a lone surrogate, deep nesting, invalid JSON, or orjson is missing
        return json.loads(text)


def _in_bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


# One shared encoder, because json.dumps creates a new one each time, which takes 2 microseconds.
_spelt = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _spelt_schema(schema: Mapping[str, Any] | None) -> str:
    """Return the field with its comma; empty without a schema."""
    if schema is None:
        return ""
    return f'"schema":{schema.canonical if isinstance(schema, Schema) else _spelt(schema)},'


@functools.lru_cache(maxsize=64)
def _tail(model: str, repeat: int, schema: str, seed: int, system: str, temperature: str) -> bytes:
    """Return what follows the messages."""
    return _in_bytes(
        f'],"model":{_spelt(model)},"repeat":{repeat:d},{schema}'
        f'"seed":{seed:d},"system":{_spelt(system)},"temperature":{temperature}}}'
    )


def _flat(message: Mapping[str, str]) -> bytes:
    if message.keys() == _PLAIN:  # as nearly all are
        return b'{"content":%b,"role":%b}' % (_dumped(message["content"]), _dumped(message["role"]))
    return b"{" + b",".join([b"%b:%b" % (_dumped(name), _dumped(message[name])) for name in sorted(message)]) + b"}"


_PLAIN = frozenset({"role", "content"})


def _dumped(text: str) -> bytes:
    """Return a text as canonical JSON in bytes."""
    try:
        return orjson.dumps(text)
    except (TypeError, AttributeError):  # as in `quoted`
        return _in_bytes(_spelt(text))


def _number(value: float) -> str:
    number = float(value)
    return repr(number) if math.isfinite(number) else _spelt(number)
