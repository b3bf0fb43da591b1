"""OpenAI, and every server that speaks its Chat Completions protocol: vLLM, Ollama, llama.cpp, LiteLLM and others.

Servers differ in how they accept a schema and in their name for the token limit. The first call of a run detects
what a server accepts.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from consistent_chat.errors import ServingError
from consistent_chat.request import Request, Response
from consistent_chat.serving.abilities import UNKNOWN, Abilities
from consistent_chat.serving.connection import Connection
from consistent_chat.serving.http import Peer
from consistent_chat.serving.listing import contexts
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
from consistent_chat.serving.settings import checked_model, checked_url, find_key, warn_of_plain_http
from consistent_chat.serving.wire import Wire, client_timeout, open_client

if TYPE_CHECKING:
    from consistent_chat.serving.openai_batches import OpenAIBatches

BASE_URL = "https://api.openai.com/v1"
HINT = 'Run pip install "openai[aiohttp]>=2.0".'
PLACEHOLDER = "none"
"""Sent to the user's own server if no key is given: the SDK requires one, such servers do not."""


class OpenAI:
    """Answers with models of OpenAI or of any server that speaks its protocol.

    `base_url` is the server's address up to and including `/v1` (default: OPENAI_BASE_URL, else OpenAI's). `api_key`
    defaults to OPENAI_API_KEY; the user's own server needs no key. `timeout` is in seconds per call. Raises
    ServingError if a key is missing, RecipeError if base_url is not an address.
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
        """Return what the model said; raise TransportError or ServingError."""
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

        All calls that wait go on in the same step of the event loop, so that one of them explores for all.
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
        "There is no key for OpenAI. Set the environment variable OPENAI_API_KEY or pass api_key=; "
        "for a server of your own, pass base_url=."
    )
