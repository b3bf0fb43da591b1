"""Anthropic's Messages API, through its own SDK. Raw responses are read here: the SDK validates none of them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from consistent_chat.request import Request, Response
from consistent_chat.serving.anthropic_messages import (
    _RANGE,
    HIGHEST_TEMPERATURE,
    NO_TEMPERATURE_SINCE,
    Form,
    _too_hot,
    _without_temperature,
    body,
    headers,
    read_message,
    takes_temperature,
)
from consistent_chat.serving.cap import is_too_high, limit, lowered
from consistent_chat.serving.http import (
    Fault,
    Peer,
    checked_url,
    client_timeout,
    exchange,
    http_library,
    need_key,
    open_client,
)
from consistent_chat.serving.negotiate import Adapting, blamed
from consistent_chat.serving.wire import Wire

if TYPE_CHECKING:
    from consistent_chat.serving.anthropic_batches import AnthropicBatches

KEY, TOKEN = "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"
"""The environment variables of the two kinds of key."""


class Anthropic:
    """Answers with Claude models.

    `base_url` is another address of the API, else ANTHROPIC_BASE_URL, else Anthropic's own. `api_key` is else
    ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN. `timeout` is in seconds a call. Raises ServingError where there is
    no key, RecipeError where base_url is no address.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        max_concurrency: int = 30,
    ) -> None:
        import anthropic  # noqa: F401  costs a second, and is missed here and not at the first call

        key, origin = need_key("Anthropic", api_key, (KEY, TOKEN))
        base_url = checked_url(base_url or os.environ.get("ANTHROPIC_BASE_URL") or None)
        self._peer = Peer("Anthropic", TOKEN if origin == TOKEN else KEY, key, base_url)
        self._credential = "auth_token" if origin == TOKEN else "api_key"
        self._timeout = timeout
        self._max_concurrency = max_concurrency
        self._adapting = Adapting(self._peer, Form())
        self._client: Any = None

    async def answer(self, request: Request) -> Response:
        """Return what the model said; raise TransportError or ServingError."""
        self._form(request)
        return await self._adapting.answer(request, self._send, self._simpler)

    @property
    def batches(self) -> AnthropicBatches:
        """Anthropic's Message Batches."""
        import anthropic

        from consistent_chat.serving.anthropic_batches import AnthropicBatches

        wire = Wire(anthropic, self._peer, self._opened, self._timeout)
        return AnthropicBatches(wire, self._adapting, lambda request: body(request, self._form(request)), self._simpler)

    async def close(self) -> None:
        """Close all connections. The next answer opens others, in whichever event loop it is."""
        client, self._client = self._client, None
        self._adapting.leave_loop()
        if client is not None:
            await client.close()

    async def _send(self, request: Request, form: Form) -> Response:
        import anthropic

        # Not `messages.create`, which takes a tenth more CPU time, for typed fields and traces of its own.
        calling = self._opened().post(
            "/v1/messages",
            cast_to=http_library(anthropic).Response,
            body=body(request, form),
            options={"headers": headers(form)},
        )
        return read_message(self._peer, await exchange(anthropic, self._peer, calling, self._timeout))

    def _form(self, request: Request) -> Form:
        """Return the form for a request, as far as it is known before one is sent; raises ServingError."""
        learnt = self._adapting.about(request.model)
        if learnt.form.temperature and not takes_temperature(request.model):
            why = "Claude models from {}.{} on take none".format(*NO_TEMPERATURE_SINCE)
            learnt.form = _without_temperature(request, learnt.form, why)
        if learnt.form.temperature and request.temperature > HIGHEST_TEMPERATURE:
            raise _too_hot(request)
        return learnt.form

    def _opened(self) -> Any:
        if self._client is None:
            import anthropic

            credential: dict[str, Any] = {self._credential: self._peer.key}
            self._client = anthropic.AsyncAnthropic(
                **credential,
                base_url=self._peer.base_url,
                timeout=client_timeout(anthropic, self._timeout),
                max_retries=0,
                http_client=open_client(anthropic, self._max_concurrency),
            )
        return self._client

    def _simpler(self, request: Request, form: Form, fault: Fault) -> Form | None:
        if fault.status not in (400, 422):
            return None
        if is_too_high(fault):
            cap = lowered(fault, limit(request, form.cap))
            return None if cap is None else replace(form, cap=cap)
        for name in blamed(fault, {"temperature": "temperature", "schema": "output_config|format|schema"}):
            if name == "temperature" and _RANGE.search(fault.message):
                return None  # it takes temperatures, only not this one: the recipe must change
            if name == "temperature" and form.temperature:
                return _without_temperature(request, form, f"the server answered {self._peer.quote(fault.message)!r}")
            if name == "schema" and form.schema:
                return replace(form, schema=False)
        return None
