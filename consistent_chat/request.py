"""What is asked of a model, what it said, and the key that joins the two.

The key of a request is the SHA-256 of its canonical JSON. It covers everything that can change a complete
answer and nothing else, so a response is found again whatever served it, and wherever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

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

    @cached_property
    def canonical(self) -> bytes:
        """The identity as canonical JSON: the bytes that are stored and hashed."""
        return canonical_json(self.identity())

    @cached_property
    def key(self) -> str:
        """The key of this request: `sha256:<64 hex digits>`."""
        return request_key(self.canonical)


@dataclass(frozen=True)
class Response:
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
        return {
            "text": self.text,
            "finish": self.finish,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
        }


def request_key(canonical_request: bytes) -> str:
    """Return the key of a request's canonical JSON, tagged with its algorithm: `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(canonical_request).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted names, no white space, in UTF-8; lone surrogates stay escaped, as backslash udXXX."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace")
