"""One stored record: a request, its response, and their digests.

The key is the request's digest; the record's own digest covers the rest. So a reader that knows the key can check a
response without reading the request.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from consistent_chat.errors import DamagedRecord
from consistent_chat.request import Request, Response, canonical_json, parsed_json, request_key

MOST_REFRESHES = 2**31 - 1
"""The highest generation: packs store it in 32 bits."""


class StoredResponse(NamedTuple):
    """The stored response of a key, as JSON text. `generation` counts how often the request was refreshed.

    If one location has several responses to a key, the one with the highest generation wins; if generations are equal,
    the one with the smallest digest, whichever file it is in.
    """

    generation: int
    digest: str
    response: str

    @property
    def is_checked(self) -> bool:
        """Whether this machine noted that the response passed the checks."""
        return False

    def answer(self, key: str = "") -> Response:
        """Return the response. Raises DamagedRecord, which names the key, for data that no version writes."""
        try:
            return Response.of(parsed_json(self.response), self.is_checked, self.digest)
        except FAULTS as error:
            raise damaged(f"The response to {key or self.digest}", _reason(error), "its record") from None


class CheckedResponse(StoredResponse):
    """A response that passed the checks on this machine. It is equal to the same response without that note."""

    __slots__ = ()

    @property
    def is_checked(self) -> bool:
        """Whether this machine noted that the response passed the checks."""
        return True


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
        """The SHA-256 of key, generation and response: 64 hex digits."""
        return digest_of(self.key, self.generation, self.response)

    @property
    def kept(self) -> StoredResponse:
        """The stored response of the key."""
        return StoredResponse(self.generation, self.digest, self.response)

    def asked(self) -> dict[str, Any]:
        """Return the request's identity as plain data. Raises DamagedRecord for data that no version writes."""
        try:
            return _request(self.request)
        except FAULTS as error:
            raise damaged(f"The request {self.key}", _reason(error), "its record") from None

    def check(self, digest: str, where: str, part: str = "the file") -> Record:
        """Return the record. Raises DamagedRecord if it differs from what was written."""
        self.check_digest(digest, where, part)
        if not 0 <= self.generation <= MOST_REFRESHES:
            raise damaged(where, f"the generation of {self.key} is {self.generation}", part)
        if request_key(self.request.encode("utf-8")) != self.key:
            raise damaged(where, f"{self.key} is not its request's key", part)
        return self

    def check_digest(self, digest: str, where: str, part: str = "the file") -> Record:
        """Return the record. Raises DamagedRecord if its key, generation or response differs."""
        if self.digest != digest:
            raise damaged(where, f"the digest of {self.key} does not match its content", part)
        return self

    def check_fields(self, where: str, part: str = "the file") -> Record:
        """Return the record. Raises DamagedRecord, which names the field, if no version writes such data."""
        for what, read, text in (("request", _request, self.request), ("response", _response, self.response)):
            try:
                read(text)
            except FAULTS as error:
                raise damaged(where, f"the {what} of {self.key} is not one: {_reason(error)}", part) from None
        return self


def digest_of(key: str, generation: int, response: str) -> str:
    """Return the digest that verifies a record."""
    return hashlib.sha256(f'{{"generation":{generation},"key":"{key}","response":{response}}}'.encode()).hexdigest()


def damaged(where: str, why: str, part: str = "the file") -> DamagedRecord:
    """Return the error for damaged data. The rest can be read after `part` is deleted."""
    return DamagedRecord(
        f"{where} is damaged: {why}. Restore the file from a copy, or delete {part} to request its responses again."
    )


FAULTS = (ValueError, TypeError, RecursionError)
"""The errors that reading untrusted text can raise."""


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "it is not text"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return f"it is not JSON ({error})" if isinstance(error, json.JSONDecodeError) else str(error)


def _response(text: str) -> Response:
    return Response.of(parsed_json(text))


def _request(text: str) -> dict[str, Any]:
    """Return the identity of a request. Raises one of FAULTS. Fields of later versions are allowed."""
    fields = _STRICT.decode(text)
    if not isinstance(fields, dict):
        raise TypeError("it is not an object")
    for name, kinds in _ASKED.items():
        if type(fields.get(name)) not in kinds and not (name == "schema" and name not in fields):
            raise TypeError(f"its field {name!r} is {type(fields.get(name)).__name__}")
    if not fields["messages"] or not all(map(_is_message, fields["messages"])):
        raise TypeError("its field 'messages' is not a list of messages")
    names = fields.get("schema", {}).get("required", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("its field 'schema' requires a value that is not a name")
    return fields


def _number(text: str) -> float:
    """Return a JSON number with a fraction or exponent. Raises ValueError for NaN and for numbers beyond a float."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has the number {text:.20}")
    return number


_STRICT = json.JSONDecoder(parse_float=_number, parse_constant=_number)


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(name), str) for name in ("role", "content"))


_ASKED: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "system": (str,),
    "messages": (list,),
    "temperature": (float, int),
    "schema": (dict,),
    "seed": (int,),
    "repeat": (int,),
    "draw": (int,),
}


def to_line(record: Record) -> bytes:
    """Return a record as one line of a journal."""
    return (
        f'{{"sha256":"{record.digest}","record":{{"generation":{record.generation},"key":"{record.key}",'
        f'"request":{record.request},"response":{record.response}}}}}\n'
    ).encode()


def from_line(line: bytes, where: str) -> Record:
    """Return the record of a journal's line. Raises DamagedRecord if it differs from what was written."""
    return check_line(line, where)[0]


def check_line(line: bytes, where: str) -> tuple[Record, int]:
    """Return the record of a journal's line and where its request ends; raise DamagedRecord as `from_line` does.

    Requests and responses can contain any text, so the end of the request is found with the help of the key. It is
    parsed only if the schema of the request has a field named "response".
    """
    head = _head(line, where)
    end = line.find(BETWEEN, head.end())
    if end < 0 or request_key(line[head.end() : end]).encode() != head["key"]:
        end = _parsed_end(line, head.end(), where)
    return split_line(line, end, where).check(head["digest"].decode("ascii"), where, "the line"), end


def request_end(line: bytes, record: Record) -> int:
    """Return where the request ends in the line of a record."""
    return len(line) - len(BETWEEN) - len(record.response.encode()) - len(CLOSING) - 1


def split_line(line: bytes, end: int, where: str, is_checked: bool = True) -> Record:
    """Return the record of a journal's line whose request ends at `end`.

    Unless the line was checked before, raise DamagedRecord if its digest differs; the request's key is not derived.
    """
    head = _head(line, where)
    try:
        parts = (head["key"], line[head.end() : end], line[end + len(BETWEEN) : -len(CLOSING)])
        key, request, response = (part.decode("utf-8") for part in parts)
        record = Record(key, int(head["generation"]), request, response)
    except FAULTS as error:
        raise damaged(where, _reason(error), "the line") from None
    return record if is_checked else record.check_digest(head["digest"].decode("ascii"), where, "the line")


def _head(line: bytes, where: str) -> re.Match[bytes]:
    """Return what precedes the request in a line."""
    head = _HEAD(line)
    if head is None or not line.endswith(CLOSING):
        raise damaged(where, "it is not a record", "the line")
    return head


def _parsed_end(line: bytes, start: int, where: str) -> int:
    """Return where the request in a line ends, by its JSON."""
    try:
        rest = line[start:].decode("utf-8")
        end = start + len(rest[: _scan(rest, 0)[1]].encode("utf-8"))
        if not line.startswith(BETWEEN, end):
            raise ValueError("it has no response")
    except FAULTS as error:
        raise damaged(where, _reason(error), "the line") from None
    return end


BETWEEN, CLOSING = b',"response":', b"}}"
_scan = json.JSONDecoder().raw_decode
_HEAD = re.compile(
    rb'\{"sha256":"(?P<digest>[0-9a-f]{64})","record":\{"generation":(?P<generation>0|[1-9]\d{0,9}),'
    rb'"key":"(?P<key>sha256:[0-9a-f]{64})","request":'
).match
