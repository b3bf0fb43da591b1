"""Servings of DataFlow: APILLMServing_request over our own serving, and an adapter of any other for the wave driver.

`APILLMServing_request` has DataFlow's parameters, over our serving for OpenAI-compatible servers.
`BatchedServingAdapter` adapts any serving of DataFlow to the wave driver, which sends many requests in one call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from consistent_chat.dataflow.compat import LLMServingABC
from consistent_chat.drivers import Limits, RunStats, Usage
from consistent_chat.drivers.budget import Budget
from consistent_chat.drivers.call_queue import Order
from consistent_chat.drivers.calls import Caller, Calls
from consistent_chat.drivers.waves import Outcome
from consistent_chat.errors import ConsistentChatError, RecipeError, ServingError, TransportError
from consistent_chat.recipe import suggestion
from consistent_chat.request import Request, Response
from consistent_chat.serving import Serving, registry
from consistent_chat.serving.negotiate import Negotiator
from consistent_chat.serving.openai import OpenAI
from consistent_chat.serving.openai_chat import LIMITS, SCHEMAS, Form

ENDPOINT = "/chat/completions"
MAX_TOKENS = 16_384
"""Maximum tokens of an answer to an arbitrary prompt. It is lowered for servers whose models allow less."""


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
                f"APILLMServing_request cannot send {name!r}: it is not part of the key by which stored responses are "
                f"found.{suggestion(name, ('temperature', 'max_workers', 'read_timeout', 'model_name'))}"
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
        """Return the serving that makes a run's calls; with `plain_text` it sends no schema."""
        if plain_text:
            return PlainText(**self._settings())
        return registry.open_serving("openai", model=self.model_name, **self._settings())

    def generate_from_input(
        self,
        user_inputs: list[str],
        system_prompt: str = "You are a helpful assistant",
        json_schema: dict[str, Any] | None = None,
    ) -> list[str | None]:
        """Return an answer to each prompt; None if the server refuses this prompt or the model declines.

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
                "key_name_of_api_key=. Your own server accepts any text as a key."
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
    """Asks for plain text: no schema goes with an arbitrary prompt, and the limit of its answer is high."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        limit = LIMITS[0] if self._peer.base_url is None else LIMITS[1]
        self._negotiator = Negotiator(self._peer, Form(limit, rung=len(SCHEMAS) - 1))

    async def answer(self, request: Request) -> Response:
        """Return the model's response; raises TransportError or ServingError."""
        return await super().answer(replace(request, max_tokens=MAX_TOKENS))


async def _answers(serving: OpenAI, requests: Sequence[Request], limits: Limits) -> list[Response]:
    """Return the answers to requests that belong to no dialogue; a prompt that is refused has a refusal."""
    caller = Caller(serving, lambda request, response: response, Budget(limits, Usage()), RunStats())
    calls = Calls(caller, asyncio.get_running_loop().time)
    try:
        return list(await asyncio.gather(*(calls.ask(Order(index), request) for index, request in enumerate(requests))))
    finally:
        await serving.close()


def _base_url(api_url: str) -> str | None:
    """Return the address as our serving expects it: without the endpoint."""
    if not isinstance(api_url, str):
        raise RecipeError(f"api_url must be an address such as 'http://localhost:8000/v1{ENDPOINT}', not {api_url!r}.")
    url = api_url.strip().rstrip("/")
    if not url:
        return None
    if urlsplit(url).query:
        raise RecipeError("api_url has a query (?...), which cannot be sent. Use an address without one.")
    return url.removesuffix(ENDPOINT).rstrip("/")


logger = logging.getLogger(__name__)

MODEL_NAMES = ("model_name", "hf_model_name_or_path", "model_name_or_path", "model")
"""Attributes in which DataFlow's servings keep the name of their model."""
TEMPERATURES = ("temperature", "vllm_temperature", "sgl_temperature")
"""Attributes in which they keep their temperature, if it is not in `configs` or `sampling_params`."""


class BatchedServingAdapter:
    """Adapts a serving of DataFlow, or one with its interface, to answer a batch of requests."""

    def __init__(self, serving: Any, temperature: float) -> None:
        self._serving = serving
        self._temperature = temperature
        if not _places(serving):
            _warn_own_temperature(serving, temperature)
        self._name = type(serving).__name__

    def answer_all(self, requests: Sequence[Request]) -> list[Outcome]:
        """Return the outcome of each of these requests, which share their system text.

        Raises ServingError if the serving fails.
        """
        with _sampling_at(self._serving, self._temperature):
            return self._matched(requests)

    def _matched(self, requests: Sequence[Request]) -> list[Outcome]:
        answers, oddity = self._generated(requests)
        if len(requests) == 1 and len(answers) != 1:
            answers = [answers[0] if answers else None]
        if len(answers) == len(requests):
            return self._outcomes(answers, oddity)
        logger.warning(
            "%s gave %d answers to %d prompts, so answers cannot be matched to prompts. None is used, and each "
            "prompt is sent separately. It should return None for a prompt without an answer.",
            self._name,
            len(answers),
            len(requests),
        )
        return [outcome for request in requests for outcome in self._matched([request])]

    def _generated(self, requests: Sequence[Request]) -> tuple[Sequence[Any], str]:
        """Return the answers of the serving, and the fault of all of them, or ""."""
        try:
            answers = self._sent(requests)
        except TransportError as error:
            return [None] * len(requests), str(error)
        except ConsistentChatError:
            raise
        except Exception as error:
            raise ServingError(
                f"The serving {self._name} failed with {type(error).__name__}: {error}. Earlier answers are kept; "
                "rerun to resume."
            ) from error
        if not isinstance(answers, (list, tuple)):
            return [None] * len(requests), f"it returned {type(answers).__name__} where a list should be"
        return answers, ""

    def _sent(self, requests: Sequence[Request]) -> Any:
        """Return the answers of the serving to chats, which have no schema, or to single texts."""
        system = requests[0].system
        if requests[0].schema is None:
            first = [{"role": "system", "content": system}] if system else []
            return self._serving.generate_from_conversations([[*first, *request.messages] for request in requests])
        prompts = [str(request.messages[0]["content"]) for request in requests]
        return self._serving.generate_from_input(user_inputs=prompts, system_prompt=system)

    def _outcomes(self, answers: Sequence[Any], oddity: str) -> list[Outcome]:
        missing = [answer for answer in answers if not isinstance(answer, str)]
        kinds = dict.fromkeys(type(answer).__name__ for answer in missing if answer is not None)
        oddity = oddity or (f"it gave {', '.join(kinds)} where text should be" if kinds else "")
        reason = f": {oddity.rstrip('.')}." if oddity else ". Its own log may say why."
        prompts = f"{len(missing)} prompt{'s' * (len(missing) != 1)}"
        fault = TransportError(f"{self._name} gave no answer to {prompts}{reason}", retried=True)
        return [Response(answer) if isinstance(answer, str) else fault for answer in answers]


def takes_chats(serving: Any) -> bool:
    """Return whether a serving takes lists of messages, as DataFlow's API servings do, and not only single texts."""
    return callable(getattr(serving, "generate_from_conversations", None))


def model_of(serving: Any) -> str | None:
    """Return the name of a serving's model, or None if it has none; also None for a serving's name or no serving."""
    if serving is None or isinstance(serving, str):
        return None
    named = (getattr(serving, name, None) for name in MODEL_NAMES)
    return next((str(name) for name in named if isinstance(name, str) and name.strip()), None)


def unnamed(serving: Any) -> str:
    """Return the name of the model in the requests of a serving that does not name its model."""
    name = type(serving).__name__
    warnings.warn(
        f"{name} has no attribute {MODEL_NAMES[0]!r}: its responses are kept under the name {name!r}. Pass model=, so "
        "that those of another model are not taken for them.",
        UserWarning,
        stacklevel=4,
    )
    return name


@contextlib.contextmanager
def _sampling_at(serving: Any, temperature: float) -> Iterator[None]:
    """Set the temperature of a serving during the block. All servings of DataFlow keep it in an attribute."""
    places = _places(serving)
    before = [place[name] for place, name in places]
    try:
        for place, name in places:
            place[name] = temperature
        yield
    finally:
        for (place, name), value in zip(places, before):
            place[name] = value


def _warn_own_temperature(serving: Any, temperature: float) -> None:
    warnings.warn(
        f"{type(serving).__name__} has none of the attributes in which DataFlow's servings keep their temperature "
        f"({', '.join(TEMPERATURES)}): it samples at its own, not at {temperature:g}.",
        UserWarning,
        stacklevel=5,
    )


def _places(serving: Any) -> list[tuple[dict[str, Any], str]]:
    """Return the dictionaries in which a serving keeps its temperature, each with its key there."""
    own = getattr(serving, "__dict__", {})
    found = [(own, name) for name in TEMPERATURES if name in own]
    for holder in (own.get("configs"), own.get("sampling_params")):
        fields = holder if isinstance(holder, dict) else getattr(holder, "__dict__", {})
        found += [(fields, "temperature")] if "temperature" in fields else []
    return found
