"""Helpers that open each serving on a local provider and send requests to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from consistent_chat.request import Request
from consistent_chat.serving.anthropic import Anthropic
from consistent_chat.serving.huggingface import HuggingFace
from consistent_chat.serving.openai import OpenAI
from tests.provider import Call, Provider, Reply

KEY = "sk-very-secret-1234567890"
NAMES = ("user_1", "user_2")
KINDS = ("anthropic", "huggingface", "openai")
OLD, NEW = "claude-sonnet-4-6", "claude-haiku-5-5"
"""Models that take a temperature, and that take none."""


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Hugging Face's client call servers. The tests restrict it to loopback."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Run the test with each kind of serving."""
    return str(request.param)


def request(model: str = OLD, names: tuple[str, ...] = NAMES, **fields: Any) -> Request:
    """Return a request for these messages."""
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }
    values: dict[str, Any] = {
        "model": model,
        "system": f'Answer with the keys "{names[0]}" to "{names[-1]}".',
        "messages": ({"role": "user", "content": "Two messages about bread."},),
        "temperature": 0.9,
        "schema": schema,
        "seed": 0,
        "repeat": 0,
        "draw": 0,
    }
    return Request(**{**values, **fields})


def opened(kind: str, provider: Provider, **settings: Any) -> Any:
    """Open a serving that calls the local provider."""
    values = {"api_key": KEY, "timeout": 5.0, **settings}
    if kind == "anthropic":
        return Anthropic(base_url=provider.url, **values)
    return (OpenAI if kind == "openai" else HuggingFace)(base_url=provider.openai_url, **values)


def asked(serving: Any, *requests: Request) -> list[Any]:
    """Return the responses or errors to requests that are sent concurrently."""

    async def ask() -> list[Any]:
        try:
            return await asyncio.gather(*map(serving.answer, requests), return_exceptions=True)
        finally:
            await serving.close()

    return asyncio.run(ask())


def said(kind: str, script: Callable[[Call], Reply | None] | Reply | None = None, **settings: Any) -> Any:
    """Return one response or error from a provider with this script or reply."""
    with Provider((lambda call: script) if isinstance(script, Reply) else script) as provider:
        return asked(opened(kind, provider, **settings), request())[0]
