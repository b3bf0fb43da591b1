"""Hugging Face's Inference Providers, through `huggingface_hub`.

For other servers with an OpenAI-compatible address, "openai" is the better serving: this client rewrites the
schema for one kind of server, and opens no more than 100 connections.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from consistent_chat.errors import ServingError, TransportError
from consistent_chat.request import Request, Response
from consistent_chat.serving.cap import is_too_high, limit, lowered
from consistent_chat.serving.http import Fault, Peer, checked_url, fault_of, find_key, late, unreachable
from consistent_chat.serving.negotiate import Adapting, blamed, warn_no_temperature
from consistent_chat.serving.openai_chat import json_schema, messages, read_completion

NAME = "Hugging Face Inference Providers"


@dataclass(frozen=True)
class Form:
    """What a request has beside its prompt. `cap` is the highest limit of tokens, where it has been found out."""

    schema: bool = True
    temperature: bool = True
    cap: int | None = None


class HuggingFace:
    """Answers with open models that Hugging Face's partners serve.

    `api_key` is a Hugging Face token, else HF_TOKEN or the one that `hf auth login` saved. `base_url` is an
    endpoint of one's own, with its own `api_key`. `timeout` is in seconds a call. Raises ServingError where a key
    is missing, RecipeError where base_url is no address.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        max_concurrency: int = 30,
    ) -> None:
        key = _token(api_key) if checked_url(base_url) is None else _endpoint_key(api_key)
        self._peer = Peer(NAME, "HF_TOKEN", key, base_url)
        self._timeout = timeout
        self._adapting = Adapting(self._peer, Form(), _plainer)
        self._client: Any = None

    async def answer(self, request: Request) -> Response:
        """Return what the model said; raise TransportError or ServingError."""
        return await self._adapting.answer(request, self._send, self._simpler)

    async def close(self) -> None:
        """Close all connections. The next answer opens others, in whichever event loop it is."""
        client, self._client = self._client, None
        self._adapting.leave_loop()
        if client is not None:
            await client.close()

    async def _send(self, request: Request, form: Form) -> Response:
        """Send one request in one form. The client has no timeout of its own, and lets raw errors through."""
        import huggingface_hub.errors

        errors: Any = huggingface_hub.errors
        calling = self._opened().chat_completion(**_arguments(request, form))
        try:
            completion = await asyncio.wait_for(calling, self._timeout)
        except errors.HfHubHTTPError as error:
            raise fault_of(error.response.status_code, error.response.headers, error.response.content) from None
        except errors.OfflineModeIsEnabled:
            raise ServingError(f"HF_HUB_OFFLINE is set, so {NAME} cannot be called. Unset it.") from None
        except (asyncio.TimeoutError, TimeoutError):
            raise late(self._peer, self._timeout) from None
        except (errors.HTTPError, OSError) as error:
            raise unreachable(self._peer, error) from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise _unreadable(self._peer, error) from None
        return read_completion(self._peer, completion)

    def _opened(self) -> Any:
        if self._client is None:
            from huggingface_hub import AsyncInferenceClient

            self._client = AsyncInferenceClient(
                base_url=self._peer.base_url, api_key=self._peer.key, timeout=self._timeout
            )
        return self._client

    def _simpler(self, request: Request, form: Form, fault: Fault) -> Form | None:
        if fault.status not in (400, 422):
            return None
        if is_too_high(fault):
            cap = lowered(fault, limit(request, form.cap))
            return None if cap is None else replace(form, cap=cap)
        for name in blamed(fault, {"temperature": "temperature", "schema": "response_format|schema|grammar|format"}):
            if name == "temperature" and form.temperature:
                why = f"the server answered {self._peer.quote(fault.message)!r}"
                warn_no_temperature(request.model, request.temperature, why)
                return replace(form, temperature=False)
            if name == "schema" and form.schema:
                return replace(form, schema=False)
        return None


def _plainer(form: Form) -> Form | None:
    return replace(form, schema=False) if form.schema else None


def _token(api_key: str | None) -> str:
    from huggingface_hub import get_token

    found = find_key("Hugging Face", api_key or get_token(), ())
    if found is None:
        raise ServingError(
            "There is no token for Hugging Face. Set the environment variable HF_TOKEN, run `hf auth login`, or pass "
            "api_key=."
        )
    if not found[0].startswith("hf_"):
        raise ServingError(
            "The key given is no Hugging Face token: those begin with hf_. For another provider's key, use "
            'serving="openai" with its base_url=.'
        )
    return found[0]


def _endpoint_key(api_key: str | None) -> str:
    """Return the key for an address of one's own: without one the client would send it the user's token."""
    found = find_key("the server at base_url", api_key, ())
    if found is None:
        raise ServingError(
            'serving="huggingface" with base_url= needs an api_key= of its own, so that your Hugging Face token is '
            'not sent to that server. For OpenAI-compatible servers use serving="openai", which needs none.'
        )
    return found[0]


def _arguments(request: Request, form: Form) -> dict[str, Any]:
    return {
        "model": request.model,
        "messages": messages(request),
        "max_tokens": limit(request, form.cap),
        "temperature": request.temperature if form.temperature else None,
        "response_format": json_schema(request) if form.schema else None,
    }


def _unreadable(peer: Peer, error: Exception) -> TransportError:
    said = peer.quote(f"{type(error).__name__}: {error}")
    return TransportError(f"{peer.place} sent an answer that cannot be read ({said}). If this goes on, check base_url.")
