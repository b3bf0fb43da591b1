"""OpenAI, and every server that speaks its Chat Completions protocol: vLLM, Ollama, llama.cpp, LiteLLM and others.

Servers differ in how they take a schema and in how they name the limit of tokens. What a server takes is found out
with the first call of a run.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from consistent_chat.errors import ServingError
from consistent_chat.request import Request, Response
from consistent_chat.serving.http import (
    Peer,
    checked_url,
    client_timeout,
    exchange,
    find_key,
    open_client,
)
from consistent_chat.serving.negotiate import Adapting
from consistent_chat.serving.openai_chat import LIMITS, Form, arguments, plainer, read_completion, simpler
from consistent_chat.serving.wire import Wire

if TYPE_CHECKING:
    from consistent_chat.serving.openai_batches import OpenAIBatches

PLACEHOLDER = "none"
"""Sent to a server of one's own where no key is given: the client insists on one, such servers do not."""


class OpenAI:
    """Answers with models of OpenAI or of any server that speaks its protocol.

    `base_url` is the server's address up to and with `/v1`, else OPENAI_BASE_URL, else OpenAI's own. `api_key` is
    else OPENAI_API_KEY; a server of one's own needs neither. `timeout` is in seconds a call. Raises ServingError
    where a key is missing, RecipeError where base_url is no address.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        max_concurrency: int = 30,
    ) -> None:
        import openai  # noqa: F401  that it is missing is found here and not at the first call

        base_url = checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or None)
        self._peer = Peer("OpenAI", "OPENAI_API_KEY", _key(api_key, base_url), base_url)
        self._timeout = timeout
        self._max_concurrency = max_concurrency
        self._adapting = Adapting(self._peer, Form(LIMITS[0] if base_url is None else LIMITS[1]), plainer)
        self._client: Any = None

    async def answer(self, request: Request) -> Response:
        """Return what the model said; raise TransportError or ServingError."""
        return await self._adapting.answer(request, self._send, partial(simpler, self._peer))

    @property
    def batches(self) -> OpenAIBatches:
        """The batch API of OpenAI, and of servers that offer its endpoints for files and batches."""
        import openai

        from consistent_chat.serving.openai_batches import OpenAIBatches

        wire = Wire(openai, self._peer, self._opened, self._timeout)
        return OpenAIBatches(wire, self._adapting)

    async def close(self) -> None:
        """Close all connections. The next answer opens others, in whichever event loop it is."""
        client, self._client = self._client, None
        self._adapting.leave_loop()
        if client is not None:
            await client.close()

    async def _send(self, request: Request, form: Form) -> Response:
        import openai

        create = self._opened().chat.completions.with_raw_response.create
        body = await exchange(openai, self._peer, create(**arguments(request, form)), self._timeout)
        return read_completion(self._peer, body)

    def _opened(self) -> Any:
        if self._client is None:
            import openai

            self._client = openai.AsyncOpenAI(
                api_key=self._peer.key,
                base_url=self._peer.base_url,
                timeout=client_timeout(openai, self._timeout),
                max_retries=0,
                http_client=open_client(openai, self._max_concurrency),
            )
        return self._client


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
