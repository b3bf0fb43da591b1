"""DataFlow's APILLMServing_request by its parameters, over our own serving for OpenAI-compatible servers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from consistent_chat.dataflow.interfaces import LLMServingABC
from consistent_chat.drivers import Limits, RunStats, Usage
from consistent_chat.drivers.budget import Budget
from consistent_chat.drivers.calls import Caller, Calls
from consistent_chat.errors import RecipeError
from consistent_chat.recipe import suggestion
from consistent_chat.request import Request, Response
from consistent_chat.serving import Serving, registry
from consistent_chat.serving.negotiate import Negotiator
from consistent_chat.serving.openai import OpenAI
from consistent_chat.serving.openai_chat import LIMITS, SCHEMAS, Form

ENDPOINT = "/chat/completions"
MAX_TOKENS = 16_384
"""The limit of an answer to a prompt of unknown kind; servers whose models take less are asked with less."""


class APILLMServing_request(LLMServingABC):  # noqa: N801  DataFlow's name
    """Any OpenAI-compatible server.

    Args:
        api_url: the address of its Chat Completions, `http://.../v1/chat/completions`; "" is OPENAI_BASE_URL, else
            OpenAI itself.
        key_name_of_api_key: the environment variable that holds the key.
        model_name: the model.
        temperature: for `generate_from_input`; an operator with its own temperature uses that.
        max_workers: calls in flight.
        max_retries, connect_timeout: taken for DataFlow's sake. Our own policy of retries is longer, and the same for
            all servings.
        read_timeout: seconds a call; `timeout` is the older name.

    Raises:
        RecipeError: the variable is not set, or a value is wrong. Nothing has been called.
    """

    def __init__(
        self,
        api_url: str = "https://api.openai.com/v1/chat/completions",
        key_name_of_api_key: str = "DF_API_KEY",
        model_name: str = "gpt-4o",
        temperature: float = 0.0,
        max_workers: int = 10,
        max_retries: int = 5,
        connect_timeout: float = 10.0,
        read_timeout: float = 120.0,
        **configs: Any,
    ) -> None:
        self.api_url, self.model_name, self.temperature = api_url, model_name, temperature
        self.max_workers, self.read_timeout = max_workers, configs.pop("timeout", read_timeout)
        for name in configs:
            raise RecipeError(
                f"APILLMServing_request cannot send {name!r}: responses are found again by what was asked, of which it "
                f"is no part.{suggestion(name, ('temperature', 'max_workers', 'read_timeout', 'model_name'))}"
            )
        self.limits()  # which are checked
        self._variable = key_name_of_api_key
        self._base_url = _base_url(api_url)
        if not isinstance(model_name, str) or not model_name.strip():
            raise RecipeError("APILLMServing_request needs the model_name of a model.")
        self.open()

    def limits(self) -> Limits:
        """Return the limits of a run with this serving."""
        try:
            return Limits(max_concurrency=self.max_workers, timeout=self.read_timeout)
        except RecipeError as error:  # in DataFlow's words
            said = str(error).replace("max_concurrency", "max_workers").replace("timeout", "read_timeout")
            raise RecipeError(said) from None

    def open(self, plain_text: bool = False) -> Serving:
        """Return the serving that does a run's calls; one of `plain_text` sends no schema."""
        if plain_text:
            return PlainText(**self._settings())
        return registry.open_serving("openai", model=self.model_name, **self._settings())

    def generate_from_input(
        self,
        user_inputs: list[str],
        system_prompt: str = "You are a helpful assistant",
        json_schema: dict[str, Any] | None = None,
    ) -> list[str | None]:
        """Return an answer to each prompt; None where the server refuses this one prompt or the model declines.

        Raises ServingError where no prompt would be answered: a wrong key, an unknown model, a server that is away.
        """
        requests = [self._request(text, system_prompt, json_schema) for text in user_inputs]
        serving = (OpenAI if json_schema else PlainText)(**self._settings())
        with ThreadPoolExecutor(1) as thread:  # there may be a running event loop in this one
            responses = thread.submit(asyncio.run, _answers(serving, requests, self.limits())).result()
        return [None if said.finish == "refusal" else said.text for said in responses]

    def _settings(self) -> dict[str, Any]:
        key = os.environ.get(self._variable, "").strip()
        if not key:
            raise RecipeError(
                f"There is no key in the environment variable {self._variable}. Set it, or name another with "
                "key_name_of_api_key=. A server of your own takes any text for a key."
            )
        return {
            "base_url": self._base_url,
            "api_key": key,
            "timeout": self.read_timeout,
            "max_concurrency": self.max_workers,
        }

    def _request(self, text: str, system: str, schema: dict[str, Any] | None) -> Request:
        messages = ({"role": "user", "content": text},)
        return Request(self.model_name, system, messages, self.temperature, schema or {}, 0, 0, 0, MAX_TOKENS)


class PlainText(OpenAI):
    """Asks for text as it comes: no schema goes with a prompt of unknown kind, and the limit of its answer is high."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        limit = LIMITS[0] if self._peer.base_url is None else LIMITS[1]
        self._negotiator = Negotiator(self._peer, Form(limit, rung=len(SCHEMAS) - 1))

    async def answer(self, request: Request) -> Response:
        """Return what the model said; raise TransportError or ServingError."""
        return await super().answer(replace(request, max_tokens=MAX_TOKENS))


async def _answers(serving: OpenAI, requests: Sequence[Request], limits: Limits) -> list[Response]:
    """Return the answers to requests that belong to no dialogue; a prompt that is refused has a refusal."""
    caller = Caller(serving, lambda request, response: response, Budget(limits, Usage()), RunStats())
    calls = Calls(caller, limits.max_concurrency, asyncio.get_running_loop().time)
    try:
        return list(await asyncio.gather(*(calls.ask(order, request) for order, request in enumerate(requests))))
    finally:
        await serving.close()


def _base_url(api_url: str) -> str | None:
    """Return the address as our serving takes it: without the endpoint."""
    if not isinstance(api_url, str):
        raise RecipeError(f"api_url must be an address such as 'http://localhost:8000/v1{ENDPOINT}', not {api_url!r}.")
    url = api_url.strip().rstrip("/")
    if not url:
        return None
    if urlsplit(url).query:
        raise RecipeError("api_url has a query (?...), which cannot be sent. Use an address without one.")
    return url.removesuffix(ENDPOINT).rstrip("/")
