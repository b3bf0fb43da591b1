"""Shared by the HTTP servings: keys and addresses, the server's errors, pauses and bodies.

It knows no provider's protocol and imports no provider's SDK.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit
from urllib.request import getproxies_environment

from consistent_chat.errors import OversizedAnswer, RefusedAccess, RefusedRequest, ServingError, TransportError
from consistent_chat.request import MOST_COUNTED
from consistent_chat.text.sanitize import redact_all, sanitize, secrets_of

PASSING = frozenset({408, 409, 429})
"""Statuses below 500 that are retried."""
CROWDED = frozenset({429, 529})
"""Statuses that mean that a server gets too many calls."""
LOOKED_AT = 4_000
"""Maximum characters of a server's message that are read."""
STATE_LIMITS = "If the model accepts fewer tokens, set max_output_tokens= or context_tokens=."
MOST_BYTES = 16 << 20
"""Maximum bytes of an answer after decoding. The longest dialogues are smaller than 1 MB."""
SHOWN = 300
"""Maximum characters of a server's message that an error shows."""
FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
"""Error codes with which OpenAI and Azure report that their filter stopped a prompt or its answer."""
UNPAID_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error"})
"""Error codes with which OpenAI (with 429) and Anthropic report an account without credit."""
CONNECT_SECONDS = 20.0
"""Seconds to connect. An unreachable server is detected after this time, however long an answer may take."""


class Fault(Exception):
    """A server's refusal of one request, before it is known whether another form of the request would be accepted.

    `message` is the server's full message, `retry_after` a pause in seconds, `param` the field that caused the error,
    `code` the kind of error, `inner_code` Azure's more precise code. All but the message may be None. `billed` is a
    Response with the tokens of a 200 that reports the fault, if the server told them.
    """

    billed: object = None

    def __init__(
        self,
        status: int,
        message: str,
        retry_after: float | None,
        *,
        param: str | None = None,
        code: str | None = None,
        inner_code: str | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status, self.message, self.retry_after = status, message, retry_after
        self.param, self.code, self.inner_code = param, code, inner_code

    @property
    def unpaid(self) -> bool:
        """Whether the account has no credit left, so that neither another request nor a pause would help."""
        if self.status == 402 or self.code in UNPAID_CODES:
            return True
        said = f"{self.code or ''} {self.message[:LOOKED_AT]}"
        told = self.status in (400, 401, 403, 429) and _UNPAID.search(said) is not None
        return told and not (self.retry_after is not None or _PER_TIME.search(said))

    @property
    def rate_limited(self) -> bool:
        """Whether the server limits tokens per minute; some report it with a status other than 429."""
        return self.status in (400, 403, 413) and "rate_limit" in f"{self.code} {self.inner_code}"

    @property
    def unexplained(self) -> bool:
        """Whether a 429 gives no pause and does not mention rates; the account may have no credit."""
        said = f"{self.code or ''} {self.message[:LOOKED_AT]}"
        return self.status == 429 and self.retry_after is None and _RATES.search(said) is None

    @property
    def filtered(self) -> bool:
        """Whether the provider's content filter stopped this prompt or its answer; other prompts may pass."""
        coded = self.code in FILTER_CODES or self.inner_code in FILTER_CODES
        return self.status == 400 and (coded or _FILTERED.search(self.message[:LOOKED_AT]) is not None)


@dataclass(frozen=True)
class Peer:
    """The server that a serving calls: its name in messages, and the key that no message may show."""

    name: str
    variable: str
    key: str = field(repr=False)
    base_url: str | None = None

    @property
    def place(self) -> str:
        """The provider's name, or the address of another server."""
        return self.name if self.base_url is None else f"The server at {self.base_url}"

    def quote(self, text: str) -> str:
        """Return a server's message on one line, shortened, without control characters, secrets of URLs, and keys.

        A proxy may quote its own address with the password in it. Only the beginning is read, so that a long text takes
        no extra time.
        """
        cut, text = len(text) > LOOKED_AT, text[:LOOKED_AT]
        if len(self.key) > 4:
            text = text.replace(self.key, "[key]")
            if cut:  # the key may have been cut off
                text = text[: -len(self.key)]
        text = _KEY.sub(_masked, " ".join(sanitize(redact_all(text, _proxy_secrets())).split()))
        return text if len(text) <= SHOWN and not cut else text[: SHOWN - 1] + "…"

    def error(self, fault: Fault, model: str) -> ServingError:
        """Return the error for a refusal: what happened, to what, and what to do."""
        quoted = self.quote(fault.message)
        said = f"{self.place} answered {fault.status}: {quoted.rstrip('.') or 'no message'}"
        if fault.unpaid:
            return ServingError(
                f"The account has no credit left. {said}. Add credit to the account, then rerun to resume."
            )
        if fault.status in PASSING or fault.status >= 500 or fault.rate_limited:
            crowded = fault.status in CROWDED or fault.rate_limited
            loading, unexplained = fault.status == 503, fault.unexplained
            return TransportError(
                said, fault.retry_after, rate_limited=crowded, loading=loading, unexplained=unexplained
            )
        if fault.status in (401, 403):
            what = f"The key was refused. {said}. Check {self.variable} or api_key, and the permissions of the key."
            return RefusedAccess(what, quoted, asks_others=fault.status == 403)
        if fault.status == 404:
            what = f"{said}. Check the model name, {model!r}, and base_url."
            return RefusedAccess(what, quoted, asks_others=True)
        advice = f" {STATE_LIMITS}" if fault.status in (400, 413, 422) and "token" in fault.message.lower() else ""
        refused = f"{said}. The server does not accept the request for the model {model!r}.{advice}"
        return RefusedRequest(refused, quoted)


def redirect_error(peer: Peer, status: int, url: str, path: str, location: str) -> RefusedAccess:
    """Return the error for a redirect, with its target (without a query) and the address to use.

    Redirects are not followed, because the key is for one server only, and a redirect turns a POST into a GET.
    """
    try:
        parts = urlsplit(urljoin(url, location))
        host = parts.netloc.rpartition("@")[2]
        target = peer.quote(urlunsplit((parts.scheme, host, parts.path, "", "")))
    except ValueError:
        host = target = ""
    said = f"{peer.place} answered {status} and redirects to {target or 'no address'}; redirects are not followed"
    if host and target.endswith(path):
        return RefusedAccess(f"{said}. Pass base_url={target.removesuffix(path)!r}.", said)
    return RefusedAccess(f"{said}. Check base_url: it must be the address of the API itself.", said)


def too_long(peer: Peer) -> OversizedAnswer:
    """Return the error for an answer that is longer than MOST_BYTES."""
    return OversizedAnswer(
        f"{peer.place} sent an answer that exceeds the limit of {MOST_BYTES >> 20} MB. "
        "If this continues, check base_url."
    )


def late(peer: Peer, timeout: float) -> TransportError:
    """Return the error for an answer that did not arrive in time."""
    return TransportError(
        f"{peer.place} did not answer within {timeout:g} seconds. Pass a higher timeout= to wait longer.", late=True
    )


def unreachable(peer: Peer, error: BaseException) -> TransportError:
    """Return the error for a connection that failed or was closed."""
    cause = peer.quote(str(error.__cause__ or error)) or type(error).__name__
    said = f"The connection to {_inside(peer.place)} failed: {cause}. Check the network and base_url."
    return TransportError(said, unreachable=True)


def fault_of(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """Return the fault in an error response of any usual format."""
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Fault(status, _title(text), retry_after(headers))
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return Fault(status, error if isinstance(error, str) else text, retry_after(headers))
    message, inner = error.get("message") or error.get("detail") or error, error.get("innererror")
    said = message if isinstance(message, str) else json.dumps(message)
    inner_code = _word(inner, "code") if isinstance(inner, dict) else None
    code = _word(error, "code") or _word(error, "type")
    fields = {"param": _word(error, "param"), "code": code, "inner_code": inner_code}
    return Fault(status, said, retry_after(headers), **fields)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the pause that a server requests, in seconds: `retry-after-ms`, or `retry-after` (seconds or a date)."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if value is None or seconds is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def read_object(peer: Peer, body: bytes, content_type: str) -> Mapping[str, Any]:
    """Return the JSON object in a body, or raise TransportError.

    Bytes that are not UTF-8 become lone surrogates, so that no byte is lost and the parser rejects the message.
    """
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        shown = peer.quote(_title(text)).encode("utf-8", "replace").decode()
        raise TransportError(
            f"{peer.place} answered with {content_type or 'a body'} that is not a complete JSON object: {shown!r}. "
            "If this continues, check base_url and any proxy in between."
        )
    return value


def broken(peer: Peer, body: Mapping[str, Any], lack: str) -> TransportError:
    """Return the error for a JSON body that is not an answer of the protocol."""
    shown = peer.quote(json.dumps(body))
    return TransportError(f"{peer.place} sent an answer without {lack}: {shown}. If this continues, check base_url.")


def count(value: Any) -> int | None:
    """Return a number of tokens, or None for any other value, also for one that no model can reach."""
    return value if type(value) is int and 0 <= value <= MOST_COUNTED else None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _word(error: Mapping[str, Any], name: str) -> str | None:
    value = error.get(name)
    return value if isinstance(value, str) else None


def _title(text: str) -> str:
    """Return an HTML page's title, which is more informative than its first lines, or else the text."""
    found = re.search(r"<title>(.*?)</title>", text[:10_000], re.IGNORECASE | re.DOTALL)
    return found[1] if found else text


def _proxy_secrets() -> list[str]:
    """Return the passwords of the proxies that the environment names."""
    return [secret for url in getproxies_environment().values() for secret in secrets_of(url)]


def _inside(place: str) -> str:
    return place[0].lower() + place[1:] if place.startswith("The ") else place


# Keys in the providers' formats ("sk-ant-...", "hf_..."), including partly masked ones, as in their error messages.
_KEY = re.compile(r"\bBearer\s+\S+|\b(?:sk|pk|hf|gsk|xai)[-_][\w*.-]{6,}")


def _masked(found: re.Match[str]) -> str:
    """Return the replacement for a key. A word that starts like a key but has no digits is kept."""
    word = found[0]
    return "[key]" if word.startswith("Bearer") or re.search(r"[\d*]", word) else word


# Words in several languages for an account without credit. They only save time: without them a run stops later.
_UNPAID = re.compile(
    r"\b(?:credits?|balance|billing|payment|arrear\w*|overdue|recharge|top[ -]?up|prepaid|funds|unpaid)\b"
    r"|insufficient.{0,20}quota|quota.{0,40}(?:exhausted|used up|plan)|\u4f59\u989d|\u6b20\u8d39",
    re.IGNORECASE,
)
_PER_TIME = re.compile(r"\bper (?:second|minute|hour|day)\b|\brate[ _-]?limit|/min\b|\b[rt]p[md]\b", re.IGNORECASE)
# Words for a server that accepts fewer calls for a while. A 429 without any of these is retried for a shorter time.
_RATES = re.compile(
    r"rate|limit|too many|throttl|concurren|busy|overload|capacity|slow|wait|retry|again|later|quota|exhaust|frequen"
    r"|requests?\b|\bper\b|\bminute|\u9891|\u9650|\u5e76\u53d1|\u7a0d\u540e|\u8d1f\u8f7d",
    re.IGNORECASE,
)
# Messages of content filters, for servers and gateways that do not pass on the code.
_FILTERED = re.compile(
    "blocked by content filtering policy|content management policy|ContentPolicyViolationError"
    "|flagged as potentially violating",
    re.IGNORECASE,
)
