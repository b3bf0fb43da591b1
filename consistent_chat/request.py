"""What is asked of a model, what it said, and the key that joins the two.

The key of a request is the SHA-256 of its canonical JSON. It covers everything that can change a complete
answer and nothing else, so a response is found again whatever served it, and wherever.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

KEY_FORMAT = 1
"""Raised only when the meaning of the key's fields changes: every stored response is then asked again."""


@dataclass(frozen=True)
class Request:
    """One call to a model.

    `temperature` is the recipe's, in [0, 2]. `repeat` counts how often the plan has drawn the same combination
    before (negative for substitutes), `draw` how often this request was answered unusably. `schema` is the JSON
    schema the answer is to have. `max_tokens` bounds the answer and is no part of the key: a higher limit does
    not change an answer that was complete.
    """

    model: str
    system: str
    messages: tuple[Mapping[str, str], ...]
    temperature: float
    schema: Mapping[str, Any]
    seed: int
    repeat: int
    draw: int
    max_tokens: int = field(default=4096, compare=False)

    def identity(self) -> dict[str, Any]:
        """Return the fields that make the key, as plain data."""
        return {
            "format": KEY_FORMAT,
            "model": self.model,
            "system": self.system,
            "messages": [dict(message) for message in self.messages],
            "temperature": float(self.temperature),
            "schema": self.schema,
            "seed": self.seed,
            "repeat": self.repeat,
            "draw": self.draw,
        }

    @property
    def canonical(self) -> bytes:
        """The identity as canonical JSON: the bytes that are stored and hashed. They are not kept, as the key is."""
        # Put together from parts: what all requests of a recipe share is spelt once, which saves half of the time.
        text = (
            f'{{"draw":{self.draw:d},"format":{KEY_FORMAT},"messages":[{",".join(map(_flat, self.messages))}],'
            f'"model":{_spelt_once(self.model)},"repeat":{self.repeat:d},"schema":{_spelt_schema(self.schema)},'
            f'"seed":{self.seed:d},"system":{_spelt_once(self.system)},"temperature":{_number(self.temperature)}}}'
        )
        return _in_bytes(text)

    @cached_property
    def key(self) -> str:
        """The key of this request: `sha256:<64 hex digits>`."""
        return request_key(self.canonical)

    @property
    def digest(self) -> str:
        """The 64 hex digits of the key: what a request is called where a name has no colon."""
        return self.key.rpartition(":")[2]


class Schema(dict[str, Any]):
    """A JSON schema that many requests share: it is spelt once for all of their keys, and not to be changed.

    A copy is a plain `dict`, which may be.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        super().__init__(schema)
        self.canonical = _spelt(schema)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class Response(NamedTuple):
    """What a model said, word for word.

    `finish` is "stop", "length" (cut by max_tokens) or "refusal"; anything else the provider reports is kept as
    it came and read like "stop". Tokens are the provider's own count; None where it gave none.
    """

    text: str
    finish: str = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None

    def plain(self) -> dict[str, Any]:
        """Return the response as plain data, in the form that is stored."""
        return self._asdict()


def request_key(canonical_request: bytes) -> str:
    """Return the key of a request's canonical JSON, tagged with its algorithm: `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(canonical_request).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted names, no white space, in UTF-8; lone surrogates stay escaped, as backslash udXXX."""
    return _in_bytes(_spelt(value))


def quoted(text: str) -> str:
    """Return a text as canonical JSON.

    This is most of the work of a replay, and an encoder goes from character to character: where nothing is rare,
    which a regex tells, `replace` is faster by a third.
    """
    if _NOTHING_RARE(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return _spelt(text)


def _in_bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


# One encoder for all: json.dumps makes a new one each time, which takes 2 microseconds.
_spelt = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_spelt_once = functools.lru_cache(maxsize=64)(_spelt)
_NOTHING_RARE = re.compile("[ -\U0010ffff\n]*").fullmatch


def _spelt_schema(schema: Mapping[str, Any]) -> str:
    return schema.canonical if isinstance(schema, Schema) else _spelt(schema)


def _flat(message: Mapping[str, str]) -> str:
    return "{" + ",".join([f"{_spelt_once(name)}:{quoted(message[name])}" for name in sorted(message)]) + "}"


def _number(value: float) -> str:
    number = float(value)
    return repr(number) if math.isfinite(number) else _spelt(number)
