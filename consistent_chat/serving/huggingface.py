"""Hugging Face's Inference Providers: the Hub's router, which speaks OpenAI's chat completions."""

from __future__ import annotations

from functools import partial

from consistent_chat.errors import ServingError
from consistent_chat.request import Request, Response
from consistent_chat.serving.client import Connection
from consistent_chat.serving.http import Peer
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

NAME = "Hugging Face Inference Providers"
BASE_URL = "https://router.huggingface.co/v1"


class HuggingFace:
    """Answers with open models that Hugging Face's partners serve.

    `api_key` is a Hugging Face token (default: HF_TOKEN, else the token that `hf auth login` saved). `base_url` is the
    address of the user's own endpoint, which needs its own `api_key`. `timeout` is in seconds per call. Raises
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
        key = _token(api_key) if checked_url(base_url) is None else _endpoint_key(api_key)
        self._peer = Peer(NAME, "HF_TOKEN", key, base_url)
        warn_of_plain_http(base_url, True)
        self._connection = Connection(self._peer, base_url or BASE_URL, timeout, max_concurrency)
        form = stated(abilities, LIMITS[1])
        self._negotiator: Negotiator[Form] = Negotiator(self._peer, form, partial(plainer, form))

    async def answer(self, request: Request) -> Response:
        """Return the model's response. Raises TransportError or ServingError."""
        checked_model(request.model)
        return await self._negotiator.answer(request, self._send, partial(simpler, self._peer))

    async def close(self) -> None:
        """Close all connections. The next answer opens new ones, in its own event loop."""
        self._negotiator.leave_loop()
        await self._connection.close()

    async def _send(self, request: Request, form: Form) -> Response:
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE:
            raise ServingError(f"HF_HUB_OFFLINE is set, so {NAME} cannot be called. Unset it to make calls.")
        answer = await self._connection.client().post(PATH, arguments(request, form), join)
        return read_completion(self._peer, answer)


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
            "api_key is not a Hugging Face token: those begin with hf_. For another provider's key, use "
            'serving="openai" with its base_url=.'
        )
    return found[0]


def _endpoint_key(api_key: str | None) -> str:
    """Return the key for the user's own endpoint. Without a key, the client would send the user's token there."""
    found = find_key("the server at base_url", api_key, ())
    if found is None:
        raise ServingError(
            'serving="huggingface" with base_url= needs its own api_key=, so that your Hugging Face token is '
            'not sent to that server. For an OpenAI-compatible server that needs no key, use serving="openai".'
        )
    return found[0]
