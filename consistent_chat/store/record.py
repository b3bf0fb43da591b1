"""One stored record: a request, its response, and the digest that both are held to."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from consistent_chat.errors import DamagedRecord
from consistent_chat.request import Request, Response, canonical_json, request_key


@dataclass(frozen=True)
class Record:
    """A request and its response, as the JSON texts that were hashed.

    `generation` counts how often the request was refreshed. Of several records of one key the one with the
    highest generation holds, and among those the one with the smallest digest, wherever they came from.
    """

    key: str
    generation: int
    request: str
    response: str

    @classmethod
    def of(cls, request: Request, response: Response, generation: int = 0) -> Record:
        """Return the record that stores a response."""
        plain = canonical_json(response.plain()).decode("utf-8")
        return cls(request.key, generation, request.canonical.decode("utf-8"), plain)

    @property
    def payload(self) -> bytes:
        """The bytes that the digest covers."""
        head = f'{{"generation":{self.generation},"key":"{self.key}"'
        return f'{head},"request":{self.request},"response":{self.response}}}'.encode()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the payload, 64 hex digits."""
        return hashlib.sha256(self.payload).hexdigest()

    def answer(self) -> Response:
        """Return the response."""
        return Response(**json.loads(self.response))

    def asked(self) -> dict[str, Any]:
        """Return the request's identity as plain data."""
        fields: dict[str, Any] = json.loads(self.request)
        return fields

    def precedes(self, other: Record) -> bool:
        """Tell whether this record holds rather than another of the same key."""
        return (-self.generation, self.digest) < (-other.generation, other.digest)

    def check(self, digest: str, where: str) -> Record:
        """Return the record itself, or raise DamagedRecord when it is not what was written."""
        if self.digest != digest:
            raise DamagedRecord(
                f"{where} is damaged: the digest of {self.key} does not match its content. "
                "Restore the file from a copy, or delete it to ask for its responses again."
            )
        return self

    def check_key(self, where: str) -> None:
        """Raise DamagedRecord when the key is not that of the request."""
        if request_key(self.request.encode("utf-8")) != self.key:
            raise DamagedRecord(f"{where} is damaged: {self.key} is not the key of its request.")


def to_line(record: Record) -> bytes:
    """Return a record as one line of a journal."""
    payload = record.payload
    return b'{"sha256":"%s","record":%s}\n' % (hashlib.sha256(payload).hexdigest().encode(), payload)


def key_of_line(line: bytes, where: str) -> str:
    """Check a journal's line against its digest and return its record's key."""
    return _checked(line, where)["key"].decode("ascii")


def from_line(line: bytes, where: str) -> Record:
    """Return the record of a journal's line; raise DamagedRecord when it is not what was written."""
    match = _checked(line, where)
    # Within the texts every quote is escaped, and a response has no such field: the last one is the record's own.
    request, _, response = match["rest"].rpartition(b',"response":{')
    record = Record(
        match["key"].decode("ascii"), int(match["generation"]), request.decode("utf-8"), f"{{{response.decode('utf-8')}"
    )
    vars(record)["digest"] = match["digest"].decode("ascii")  # it has just been checked
    return record


def _checked(line: bytes, where: str) -> re.Match[bytes]:
    match = _LINE.fullmatch(line)
    if match is None or hashlib.sha256(match["payload"]).hexdigest().encode() != match["digest"]:
        raise DamagedRecord(
            f"{where} is damaged: it does not match its digest. Restore the file from a copy, or delete the line to "
            "ask for its response again."
        )
    return match


_LINE = re.compile(
    rb'\{"sha256":"(?P<digest>[0-9a-f]{64})","record":'
    rb'(?P<payload>\{"generation":(?P<generation>\d+),"key":"(?P<key>sha256:[0-9a-f]{64})","request":(?P<rest>.*)\})\}',
    re.DOTALL,
)
