"""Anthropic's Messages API. Its SDK is used for batches; single calls go through the HTTP layer of all servings."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from consistent_chat.request import Request, Response
from consistent_chat.serving.anthropic_messages import (
    HIGHEST_TEMPERATURE,
    NO_TEMPERATURE_SINCE,
    VERSION,
    Form,
    body,
    headers,
    join,
    plainer,
    read_message,
    simpler,
    stated,
    takes_temperature,
    temperature_error,
    without_temperature,
)
from consistent_chat.serving.client import Connection
from consistent_chat.serving.http import Peer
from consistent_chat.serving.negotiate import ModelForm, Negotiator
from consistent_chat.serving.settings import (
    UNKNOWN,
    Abilities,
    checked_model,
    checked_url,
    require_key,
    warn_of_plain_http,
)
from consistent_chat.serving.wire import Wire, client_timeout, open_client

if TYPE_CHECKING:
    from consistent_chat.serving.anthropic_batches import AnthropicBatches

BASE_URL = "https://api.anthropic.com"
KEY, TOKEN = "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"
"""The environment variables of the two kinds of key."""


class Anthropic:
    """Answers with Claude models.

    `base_url` is the address of the API (default: ANTHROPIC_BASE_URL, else Anthropic's). `api_key` defaults to
    ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN. `timeout` is in seconds per call. Raises ServingError without a key,
    RecipeError if base_url is not an address.
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
        key, origin = require_key("Anthropic", api_key, (KEY, TOKEN))
        base_url = checked_url(base_url or os.environ.get("ANTHROPIC_BASE_URL") or None)
        self._peer = Peer("Anthropic", TOKEN if origin == TOKEN else KEY, key, base_url)
        warn_of_plain_http(base_url, True)
        open_sdk = partial(_open_sdk, self._peer)
        self._connection = Connection(self._peer, base_url or BASE_URL, timeout, max_concurrency, open_sdk)
        form = stated(abilities)
        ladder = None if base_url is None else partial(plainer, form)  # Anthropic's own API explains its refusals
        self._negotiator = Negotiator(self._peer, form, ladder)

    async def answer(self, request: Request) -> Response:
        """Return the model's response. Raises TransportError or ServingError."""
        checked_model(request.model)
        self._form(request, self._negotiator.about(request.model, request.stage, request.temperature))
        return await self._negotiator.answer(request, self._send, partial(simpler, self._peer))

    @property
    def batches(self) -> AnthropicBatches:
        """Anthropic's Message Batches."""
        import anthropic

        from consistent_chat.serving.anthropic_batches import AnthropicBatches

        def in_form(request: Request) -> dict[str, Any]:
            return body(request, self._form(request, self._negotiator.about(request.model)))

        wire = Wire(anthropic, self._peer, self._connection.sdk, self._connection.timeout)
        return AnthropicBatches(wire, self._negotiator, in_form, partial(simpler, self._peer))

    async def close(self) -> None:
        """Close all connections. The next answer opens new ones, in its own event loop."""
        self._negotiator.leave_loop()
        await self._connection.close()

    async def _send(self, request: Request, form: Form) -> Response:
        sent = {"anthropic-version": VERSION, **headers(form)}
        answer = await self._connection.client().post("/v1/messages", body(request, form), join, sent)
        return read_message(self._peer, answer)

    def _form(self, request: Request, known: ModelForm[Form]) -> Form:
        """Return the best known form for a request, before any is sent. Raises ServingError."""
        if known.form.temperature and not takes_temperature(request.model):
            why = "Claude models from {}.{} on do not accept one".format(*NO_TEMPERATURE_SINCE)
            known.form = without_temperature(request, known.form, why)
        if known.form.temperature and request.temperature > HIGHEST_TEMPERATURE:
            raise temperature_error(request)
        return known.form


def _open_sdk(peer: Peer, timeout: float, max_concurrency: int) -> Any:
    import anthropic

    credential: dict[str, Any] = {"auth_token" if peer.variable == TOKEN else "api_key": peer.key}
    return anthropic.AsyncAnthropic(
        **credential,
        base_url=peer.base_url,
        timeout=client_timeout(anthropic, timeout),
        max_retries=0,
        http_client=open_client(anthropic, max_concurrency),
    )
