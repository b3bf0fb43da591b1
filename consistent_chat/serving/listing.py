"""Reads the contexts of models from a server's list of them, so that no refusal has to tell them.

Servers name them differently, and most do not at all: what is missing or out of range is unknown, as without a list.
It sets only how many tokens are asked for, never what is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from consistent_chat.errors import ServingError
from consistent_chat.serving.client import HttpClient
from consistent_chat.serving.http import Fault

PATH = "/models"
SECONDS = 3.0
"""For this long a run waits for a list, once."""
NAMES = ("max_model_len", "n_ctx", "context_length", "context_window", "max_context_length", "n_ctx_train")
"""What servers call the context, the most exact first: vLLM and SGLang, llama.cpp, OpenRouter and Together, Groq,
Mistral, and what llama.cpp says in `meta` of the context that a model was trained with."""
LEAST, MOST = 1_024, 1 << 30
"""Tokens of a context that is believed. No model that is served for chats has fewer; a 0 means unknown or unbounded."""
MODELS = 10_000
"""Entries of a list that are read; gateways have some hundreds."""


async def contexts(client: HttpClient, timeout: float) -> dict[str, int]:
    """Return the contexts that a server lists, in tokens, by model; none where it has no list or does not answer."""
    try:
        return read_listing(await client.get(PATH, min(timeout, SECONDS)))
    except (ServingError, Fault):
        return {}


def read_listing(body: Mapping[str, Any]) -> dict[str, int]:
    """Return the contexts in a list of models, by model.

    The only model of a server is also under the name "": such servers answer for it under any name.
    """
    data = body.get("data")
    entries = [entry for entry in data[:MODELS] if isinstance(entry, dict)] if isinstance(data, list) else []
    found: dict[str, int] = {}
    for entry in entries:
        names = [entry.get(name) for name in ("id", "root")]
        known = next(_contexts(entry), None)
        for name in names:
            if isinstance(name, str) and name and known is not None:
                found.setdefault(name, known)
                if len(entries) == 1:
                    found[""] = known
    return found


def _contexts(entry: Mapping[str, Any]) -> Iterator[int]:
    meta = entry.get("meta")
    for name in NAMES:
        for place in (entry, meta):
            value = place.get(name) if isinstance(place, dict) else None
            if isinstance(value, int) and not isinstance(value, bool) and LEAST <= value <= MOST:
                yield value
