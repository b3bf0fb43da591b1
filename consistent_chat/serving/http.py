"""What the servings that speak HTTP share: keys and addresses, the server's errors, its pauses, its bodies.

It knows no provider's protocol and imports no provider's SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from consistent_chat.errors import RecipeError, RefusedRequest, ServingError, TransportError

PASSING = frozenset({408, 409, 429})
"""Statuses below 500 that are worth another try."""
CROWDED = frozenset({429, 529})
"""Statuses by which a server says that it takes fewer calls than it gets."""
SHOWN = 300
"""Characters of a server's own words that an error shows."""
FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
"""Codes of errors by which OpenAI and Azure report that their filter stopped a prompt or its answer."""
UNPAID_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error"})
"""Codes of errors by which OpenAI (with 429) and Anthropic report an account without money."""
CONNECT_SECONDS = 20.0
"""A server that is away is noticed after this, however long an answer may take."""


class Fault(Exception):
    """A server's refusal of one request, before it is known whether the request can be put otherwise.

    `message` is all that the server said, `retry_after` a pause in seconds, `param` the field it blames, `code` the
    kind of error in its words, `inner_code` Azure's more precise one; all but the message may be None.
    """

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
        """Whether the account has no money left, which no other request and no pause will change."""
        return self.status == 402 or self.code in UNPAID_CODES or _UNPAID.search(self.message) is not None

    @property
    def filtered(self) -> bool:
        """Whether the provider's content filter stopped this one prompt or its answer: other prompts will do."""
        coded = self.code in FILTER_CODES or self.inner_code in FILTER_CODES
        return self.status == 400 and (coded or _FILTERED.search(self.message) is not None)


@dataclass(frozen=True)
class Peer:
    """Whom a serving talks to, as its messages put it, and the key that no message may show."""

    name: str
    variable: str
    key: str = field(repr=False)
    base_url: str | None = None

    @property
    def place(self) -> str:
        """The provider's name, or the address of another server."""
        return self.name if self.base_url is None else f"The server at {self.base_url}"

    def quote(self, text: str) -> str:
        """Return a server's words on one line, shortened, with everything that looks like a key taken out."""
        if len(self.key) > 4:
            text = text.replace(self.key, "[key]")
        text = _KEY.sub("[key]", " ".join(text.split()))
        return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"

    def error(self, fault: Fault, model: str) -> ServingError:
        """Return the error for a refusal: what happened, to what, what to do."""
        words = self.quote(fault.message).rstrip(".") or "nothing more"
        said = f"{self.place} answered {fault.status}: {words}"
        if fault.unpaid:
            return ServingError(f"The account has no credit left. {said}. See to its billing, then run again to go on.")
        if fault.status in PASSING or fault.status >= 500:
            return TransportError(said, fault.retry_after, rate_limited=fault.status in CROWDED)
        if fault.status in (401, 403):
            return ServingError(f"The key was refused. {said}. Check {self.variable} or api_key, and what it may use.")
        if fault.status == 404:
            return ServingError(f"{said}. Check the name of the model, {model!r}, and base_url.")
        return RefusedRequest(f"{said}. The request for the model {model!r} cannot be answered as it is.")


def find_key(name: str, api_key: str | None, variables: Sequence[str]) -> tuple[str, str] | None:
    """Return the key and where it is from ("api_key" or an environment variable), or None if there is none."""
    given = [("api_key", api_key), *((variable, os.environ.get(variable)) for variable in variables)]
    for origin, key in given:
        if not key:
            continue
        if not isinstance(key, str) or not key.strip().isascii() or not key.strip().isprintable() or " " in key.strip():
            raise ServingError(
                f"The key for {name} in {origin} has characters that no key has, such as a space or a line break. "
                "Copy it again."
            )
        return key.strip(), origin
    return None


def need_key(name: str, api_key: str | None, variables: Sequence[str]) -> tuple[str, str]:
    """Return the key and where it is from; raise ServingError that names the variable to set."""
    found = find_key(name, api_key, variables)
    if found is None:
        raise ServingError(f"There is no key for {name}. Set the environment variable {variables[0]} or pass api_key=.")
    return found


def checked_url(base_url: str | None) -> str | None:
    """Return a server's address as given; raise RecipeError for what is none."""
    if base_url is None:
        return None
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except (ValueError, TypeError, AttributeError):
        good = False
    if isinstance(base_url, str) and "@" in (parts.netloc if good else base_url):  # it may stand in a path
        raise RecipeError("base_url must not have a user name or password in it. Pass the key as api_key=.")
    if not good:
        raise RecipeError(f"base_url must be an address such as 'http://localhost:8000/v1', not {base_url!r}.")
    return base_url


def open_client(sdk: Any, max_concurrency: int) -> Any:
    """Return an HTTP client for an SDK with room for `max_concurrency` connections, aiohttp's where installed.

    aiohttp halves the time of a call. The type of the limits is taken from the SDK, whose HTTP library has
    changed before.
    """
    room = max(max_concurrency, 100)
    limits = type(sdk.DEFAULT_CONNECTION_LIMITS)(max_connections=room, max_keepalive_connections=room)
    try:
        return sdk.DefaultAioHttpClient(limits=limits)
    except RuntimeError:
        return sdk.DefaultAsyncHttpxClient(limits=limits)


def http_library(sdk: Any) -> Any:
    """Return the library through which an SDK speaks HTTP: httpx, or what has taken its place."""
    return sys.modules[type(sdk.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0]]


def client_timeout(sdk: Any, timeout: float) -> Any:
    """Return an SDK's timeout for calls of `timeout` seconds."""
    return sdk.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))


async def exchange(sdk: Any, peer: Peer, calling: Awaitable[Any], timeout: float) -> Mapping[str, Any]:
    """Await an SDK's raw response, or its HTTP library's, and return its JSON body.

    Raises Fault for a status of 400 or more, TransportError where there is no answer in `timeout` seconds, or no
    JSON in it. Causes are left out: their text may hold a key.
    """
    with raised(sdk, peer, timeout):
        answered = await asyncio.wait_for(calling, timeout)
    response = getattr(answered, "http_response", answered)
    return read_object(peer, response.content, response.headers.get("content-type", ""))


@contextlib.contextmanager
def raised(sdk: Any, peer: Peer, timeout: float) -> Iterator[None]:
    """Raise an SDK's errors, and its HTTP library's, as Fault or TransportError."""
    try:
        yield
    except sdk.APIStatusError as error:
        raise fault_of(error.response.status_code, error.response.headers, error.response.content) from None
    except (asyncio.TimeoutError, sdk.APIConnectionError, OSError, *_broken_off(sdk)) as error:
        raise (late(peer, timeout) if _is_late(sdk, error) else unreachable(peer, error)) from None


def late(peer: Peer, timeout: float) -> TransportError:
    """Return the error for an answer that did not come in time."""
    return TransportError(f"{peer.place} did not answer within {timeout:g} seconds. A higher timeout= waits longer.")


def unreachable(peer: Peer, error: BaseException) -> TransportError:
    """Return the error for a connection that failed or broke."""
    cause = peer.quote(str(error.__cause__ or error)) or type(error).__name__
    return TransportError(f"The connection to {_inside(peer.place)} failed: {cause}. Check the network and base_url.")


def fault_of(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """Return what an error response says, in whichever of the usual forms it says it."""
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
    """Return the pause that a server asks for, in seconds: `retry-after-ms`, or `retry-after` as seconds or date."""
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

    Bytes that are not UTF-8 become lone surrogates: none is lost, and the parser refuses a message with one.
    """
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        shown = peer.quote(_title(text)).encode("utf-8", "replace").decode()
        raise TransportError(
            f"{peer.place} answered with {content_type or 'a body'} that is not a whole JSON object: {shown!r}. "
            "If this goes on, check base_url and any proxy in between."
        )
    return value


def broken(peer: Peer, body: Mapping[str, Any], lack: str) -> TransportError:
    """Return the error for a JSON body that is no answer of the protocol."""
    shown = peer.quote(json.dumps(body))
    return TransportError(f"{peer.place} sent an answer without {lack}: {shown}. If this goes on, check base_url.")


def count(value: Any) -> int | None:
    """Return a number of tokens, or None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


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
    """Return an HTML page's title, which says more than its first lines, or the text itself."""
    found = re.search(r"<title>(.*?)</title>", text[:10_000], re.IGNORECASE | re.DOTALL)
    return found[1] if found else text


def _inside(place: str) -> str:
    return place[0].lower() + place[1:] if place.startswith("The ") else place


def _is_late(sdk: Any, error: BaseException) -> bool:
    """Tell a late answer from no connection, which openai's SDK always reports as a timeout while connecting."""
    timeout = isinstance(error, (asyncio.TimeoutError, TimeoutError, sdk.APITimeoutError))
    return timeout and type(error.__cause__).__name__ != "ConnectTimeout"


def _broken_off(sdk: Any) -> tuple[type[BaseException], ...]:
    """Return the errors of the HTTP libraries themselves, of which the SDKs let some through."""
    library = (http_library(sdk).TransportError,)
    try:
        from aiohttp import ClientError
    except ImportError:
        return library
    return (*library, ClientError)


# Keys as the providers write them ("sk-ant-...", "hf_..."), also half masked as in their own error messages.
_KEY = re.compile(r"\bBearer\s+\S+|\b(?:sk|pk|hf|gsk|xai)[-_](?=[\w.-]*[\d*])[\w*.-]{6,}")
_UNPAID = re.compile("credit balance is too low|insufficient balance", re.IGNORECASE)
# The filters' own words, for servers and gateways that pass on no code.
_FILTERED = re.compile(
    "blocked by content filtering policy|content management policy|ContentPolicyViolationError"
    "|flagged as potentially violating",
    re.IGNORECASE,
)
