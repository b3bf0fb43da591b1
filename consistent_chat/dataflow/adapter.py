"""Adapts any serving of DataFlow to the wave driver, which sends many requests in one call."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from consistent_chat.drivers.waves import Outcome
from consistent_chat.errors import ConsistentChatError, ServingError, TransportError
from consistent_chat.request import Request, Response

logger = logging.getLogger(__name__)

MODEL_NAMES = ("model_name", "hf_model_name_or_path", "model_name_or_path", "model")
"""Where DataFlow's servings keep the name of their model."""
TEMPERATURES = ("temperature", "vllm_temperature", "sgl_temperature")
"""Where they keep their temperature, if not within `configs` or `sampling_params`."""


class BatchedServingAdapter:
    """A serving of DataFlow, its own or anyone's, as what answers a batch of requests."""

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
        prompts = [str(request.messages[0]["content"]) for request in requests]
        try:
            answers = self._serving.generate_from_input(user_inputs=prompts, system_prompt=requests[0].system)
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

    def _outcomes(self, answers: Sequence[Any], oddity: str) -> list[Outcome]:
        missing = [answer for answer in answers if not isinstance(answer, str)]
        kinds = dict.fromkeys(type(answer).__name__ for answer in missing if answer is not None)
        oddity = oddity or (f"it gave {', '.join(kinds)} where text should be" if kinds else "")
        reason = f": {oddity.rstrip('.')}." if oddity else ". Its own log may say why."
        prompts = f"{len(missing)} prompt{'s' * (len(missing) != 1)}"
        fault = TransportError(f"{self._name} gave no answer to {prompts}{reason}", retried=True)
        return [Response(answer) if isinstance(answer, str) else fault for answer in answers]


def model_of(serving: Any) -> str | None:
    """Return the name of a serving's model, or None if it has none; also None for a serving's name or no serving."""
    if serving is None or isinstance(serving, str):
        return None
    named = (getattr(serving, name, None) for name in MODEL_NAMES)
    return next((str(name) for name in named if isinstance(name, str) and name.strip()), None)


def unnamed(serving: Any) -> str:
    """Return the name under which the responses of a serving are kept that does not say which model it has."""
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
    """Let a serving sample at this temperature during the block. All of DataFlow's keep it in an attribute."""
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
