"""One stored record: a request, its response, and what both are held to.

The key vouches for the request, being its digest; the record's own digest vouches for all the rest. So whoever knows
the key that he asks for can check an answer without reading the request again.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from consistent_chat.errors import DamagedRecord
from consistent_chat.request import Request, Response, canonical_json, request_key


class StoredResponse(NamedTuple):
    """What is kept for a key: a response, as JSON text.

    `generation` counts how often the request was refreshed. Of several responses to one key the one with the
    highest generation holds, and among those the one with the smallest digest, wherever they came from.
    """

    generation: int
    digest: str
    response: str

    def answer(self) -> Response:
        """Return the response."""
        return Response(**json.loads(self.response))


@dataclass(frozen=True)
class Record:
    """A request and its response, as the JSON texts that were hashed."""

    key: str
    generation: int
    request: str
    response: str

    @classmethod
    def of(cls, request: Request, response: Response, generation: int = 0) -> Record:
        """Return the record that stores a response."""
        plain = canonical_json(response.plain()).decode("utf-8")
        return cls(request.key, generation, request.canonical.decode("utf-8"), plain)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of key, generation and response, 64 hex digits."""
        return digest_of(self.key, self.generation, self.response)

    @property
    def kept(self) -> StoredResponse:
        """What is kept for the key."""
        return StoredResponse(self.generation, self.digest, self.response)

    def asked(self) -> dict[str, Any]:
        """Return the request's identity as plain data."""
        fields: dict[str, Any] = json.loads(self.request)
        return fields

    def check(self, digest: str, where: str, part: str = "the file") -> Record:
        """Return the record itself, or raise DamagedRecord when it is not what was written."""
        if self.digest != digest:
            raise damaged(where, f"the digest of {self.key} does not match its content", part)
        if request_key(self.request.encode("utf-8")) != self.key:
            raise damaged(where, f"{self.key} is not the key of its request", part)
        return self


def digest_of(key: str, generation: int, response: str) -> str:
    """Return the digest that a record is held to."""
    return hashlib.sha256(f'{{"generation":{generation},"key":"{key}","response":{response}}}'.encode()).hexdigest()


def damaged(where: str, why: str, part: str = "the file") -> DamagedRecord:
    """Return the error for what is not as it was written; without that part the rest can be read."""
    return DamagedRecord(
        f"{where} is damaged: {why}. Restore the file from a copy, or delete {part} to ask for its responses again."
    )


def to_line(record: Record) -> bytes:
    """Return a record as one line of a journal."""
    return (
        f'{{"sha256":"{record.digest}","record":{{"generation":{record.generation},"key":"{record.key}",'
        f'"request":{record.request},"response":{record.response}}}}}\n'
    ).encode()


def from_line(line: bytes, where: str) -> Record:
    """Return the record of a journal's line; raise DamagedRecord when it is not what was written."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise damaged(where, "it is no record", "the line")
    # Within the texts every quote is escaped, and a response has no such field: the last one is the record's own.
    try:
        request, _, response = match["rest"].decode("utf-8").rpartition(',"response":{')
    except UnicodeDecodeError:
        raise damaged(where, "it is not text", "the line") from None
    record = Record(match["key"].decode("ascii"), int(match["generation"]), request, f"{{{response}")
    return record.check(match["digest"].decode("ascii"), where, "the line")


_LINE = re.compile(
    rb'\{"sha256":"(?P<digest>[0-9a-f]{64})","record":\{"generation":(?P<generation>0|[1-9]\d*),'
    rb'"key":"(?P<key>sha256:[0-9a-f]{64})","request":(?P<rest>.*)\}\}',
    re.DOTALL,
)
