"""OpenAI, and every server that speaks its Chat Completions protocol: vLLM, Ollama, llama.cpp, LiteLLM and others.

Servers differ in how they accept a schema and in the name of the token limit. The first call of a run detects what a
server accepts. The contexts of models are read from the server's list of models, so that they need not be learned from
refusals. Servers use different names for the context, and most do not list it: a missing or implausible value counts as
unknown. The context only changes the token limit of requests, never their content.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from consistent_chat.errors import ServingError
from consistent_chat.request import Request, Response
from consistent_chat.serving.client import Connection, HttpClient
from consistent_chat.serving.http import Fault, Peer
from consistent_chat.serving.negotiate import Negotiator
from consistent_chat.serving.openai_chat import (
    LIMITS,
    PATH,
    Form,
    arguments,
    join,
    plainer,
    read_completion,
    simpler,
    stated,
)
from consistent_chat.serving.settings import (
    UNKNOWN,
    Abilities,
    checked_model,
    checked_url,
    find_key,
    warn_of_plain_http,
)
from consistent_chat.serving.wire import Wire, client_timeout, open_client

if TYPE_CHECKING:
    from consistent_chat.serving.openai_batches import OpenAIBatches


BASE_URL = "https://api.openai.com/v1"
HINT = 'Run pip install "openai[aiohttp]>=2.0".'
PLACEHOLDER = "none"
"""Sent to the user's own server if there is no key: the SDK requires one, such servers do not."""


class OpenAI:
    """Answers with models of OpenAI or of any server that speaks its protocol.

    `base_url` is the server's address up to and including `/v1` (default: OPENAI_BASE_URL, else OpenAI's). `api_key`
    defaults to OPENAI_API_KEY; the user's own server needs no key. `timeout` is in seconds per call. Raises
    ServingError without a key, RecipeError if base_url is not an address.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        max_concurrency: int = 30,
        abilities: Abilities = UNKNOWN,
    ) -> None:
        base_url = checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or None)
        self._peer = Peer("OpenAI", "OPENAI_API_KEY", _key(api_key, base_url), base_url)
        warn_of_plain_http(base_url, self._peer.key != PLACEHOLDER)
        open_sdk = partial(_open_sdk, self._peer)
        self._connection = Connection(self._peer, base_url or BASE_URL, timeout, max_concurrency, open_sdk)
        form = stated(abilities, LIMITS[base_url is not None])
        self._negotiator: Negotiator[Form] = Negotiator(self._peer, form, partial(plainer, form))
        self._lists = base_url is not None and abilities.context_tokens is None
        self._listing: asyncio.Task[None] | None = None

    async def answer(self, request: Request) -> Response:
        """Return the model's response. Raises TransportError or ServingError."""
        checked_model(request.model)
        await self._list_contexts()
        return await self._negotiator.answer(request, self._send, partial(simpler, self._peer))

    @property
    def batches(self) -> OpenAIBatches:
        """The batch API of OpenAI, and of servers that offer its endpoints for files and batches."""
        try:
            import openai
        except ImportError as error:
            raise ServingError(f"Batches need the package openai: {error}. {HINT}") from None

        from consistent_chat.serving.openai_batches import OpenAIBatches

        wire = Wire(openai, self._peer, self._connection.sdk, self._connection.timeout)
        return OpenAIBatches(wire, self._negotiator)

    async def close(self) -> None:
        """Close all connections. The next answer opens new ones, in its own event loop."""
        self._negotiator.leave_loop()
        listing, self._listing = self._listing, None
        if listing is not None:
            listing.cancel()
        await self._connection.close()

    async def _list_contexts(self) -> None:
        """Ask the user's own server once for the contexts of its models, unless the user has stated one.

        All waiting calls continue in the same step of the event loop, so that one of them detects the form for all.
        """
        if self._lists:
            self._listing = self._listing or asyncio.create_task(self._read_listing())
            await asyncio.shield(self._listing)

    async def _read_listing(self) -> None:
        self._negotiator.contexts = await contexts(self._connection.client(), self._connection.timeout)
        self._lists = False

    async def _send(self, request: Request, form: Form) -> Response:
        answer = await self._connection.client().post(PATH, arguments(request, form), join)
        return read_completion(self._peer, answer)


def _open_sdk(peer: Peer, timeout: float, max_concurrency: int) -> Any:
    import openai

    return openai.AsyncOpenAI(
        api_key=peer.key,
        base_url=peer.base_url,
        timeout=client_timeout(openai, timeout),
        max_retries=0,
        http_client=open_client(openai, max_concurrency),
    )


def _key(api_key: str | None, base_url: str | None) -> str:
    found = find_key("OpenAI", api_key, ("OPENAI_API_KEY",))
    if found is not None:
        return found[0]
    if base_url is not None:
        return PLACEHOLDER
    raise ServingError(
        "There is no key for OpenAI. Set the environment variable OPENAI_API_KEY or pass api_key=. For your own "
        "server, pass base_url=."
    )


MODELS_PATH = "/models"
SECONDS = 3.0
"""Maximum seconds that a run waits for the list, once."""
NAMES = ("max_model_len", "n_ctx", "context_length", "context_window", "max_context_length", "n_ctx_train")
"""Field names of the context, the most exact first: of vLLM and SGLang, llama.cpp, OpenRouter and Together, Groq,
Mistral, and the one in llama.cpp's `meta` for the context that a model was trained with.
"""
LEAST, MOST = 1_024, 1 << 30
"""Lowest and highest plausible context in tokens. No chat model has a shorter one; 0 means unknown or unbounded."""
MODELS = 10_000
"""Maximum number of entries that are read; gateways list some hundreds."""


async def contexts(client: HttpClient, timeout: float) -> dict[str, int]:
    """Return the contexts that a server lists, in tokens, by model; empty if it has no list or does not answer."""
    try:
        return read_listing(await client.get(MODELS_PATH, min(timeout, SECONDS)))
    except (ServingError, Fault):
        return {}


def read_listing(body: Mapping[str, Any]) -> dict[str, int]:
    """Return the contexts in a list of models, by model.

    If a server has only one model, its context is also under the name "", because such servers accept any model name.
    """
    data = body.get("data")
    entries = [entry for entry in data[:MODELS] if isinstance(entry, dict)] if isinstance(data, list) else []
    found: dict[str, int] = {}
    for entry in entries:
        names = [entry.get(name) for name in ("id", "root")]
        known = next(_contexts(entry), None)
        for name in names:
            if isinstance(name, str) and name and known is not None:
                found.setdefault(name, known)
                if len(entries) == 1:
                    found[""] = known
    return found


def _contexts(entry: Mapping[str, Any]) -> Iterator[int]:
    meta = entry.get("meta")
    for name in NAMES:
        for place in (entry, meta):
            value = place.get(name) if isinstance(place, dict) else None
            if isinstance(value, int) and not isinstance(value, bool) and LEAST <= value <= MOST:
                yield value
