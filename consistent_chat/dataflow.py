"""DataFlow's operator interface: `ConsistentChatGenerator(llm_serving=..., ...).run(storage)`.

It runs the same recipes, store and drivers as everything else, and needs no DataFlow installed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from consistent_chat import drive
from consistent_chat.drive import Limits, Tally
from consistent_chat.errors import RecipeError, TransportError
from consistent_chat.plan import Plan
from consistent_chat.recipe import Recipe, paths
from consistent_chat.request import Request, Response
from consistent_chat.row import row
from consistent_chat.serving import Serving, registry
from consistent_chat.store import ResponseStore, default_location


class Storage(Protocol):
    """Where an operator writes its rows; DataFlow's storages are such."""

    def write(self, data: Any) -> Any:
        """Write a DataFrame."""


class ConsistentChatGenerator:
    """Makes dialogues from scratch and writes them to a storage, with the columns category and conversation.

    Args:
        llm_serving: a serving's name or object as for `load_dataset`, or an object with DataFlow's
            `generate_from_input(user_inputs, system_prompt)`, which answers None where a call failed.
        num_dialogs_per_intent, num_turns_per_dialog, temperature: as in `Recipe`.
        model: the model's name; else the serving's own `model_name`, where it has one.
        responses: URL or path of the response store, or several: the first is written, all are read.
        recipe: further fields of `Recipe`, such as seed, intents and language.
    """

    def __init__(
        self,
        llm_serving: Any = None,
        num_dialogs_per_intent: int = 20,
        num_turns_per_dialog: int = 6,
        temperature: float = 0.9,
        *,
        model: str | None = None,
        responses: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        **recipe: Any,
    ) -> None:
        name = "rehearsal" if llm_serving == "rehearsal" else model or getattr(llm_serving, "model_name", None)
        if name is None:
            raise RecipeError("No model is named. Pass model=, or a serving that has a model_name.")
        self._serving = llm_serving
        self._places = paths("responses", default_location() if responses is None else responses)
        self._recipe = Recipe.from_mapping(
            {
                "model": name,
                "num_dialogs_per_intent": num_dialogs_per_intent,
                "num_turns_per_dialog": num_turns_per_dialog,
                "temperature": temperature,
                "provenance": False,
                **recipe,
            }
        )
        self.tally = Tally()

    def run(self, storage: Storage) -> list[str]:
        """Make the dialogues, write them as one DataFrame, and return its columns' names."""
        import pandas  # slow to import, and only wanted here

        storage.write(pandas.DataFrame(self._rows()))
        return ["category", "conversation"]

    def _rows(self) -> list[dict[str, Any]]:
        recipe, limits = self._recipe, Limits()
        opener = None if self._serving is None else lambda: self._open(limits)
        store = ResponseStore(self._places)
        dialogues = drive.run(recipe, range(len(Plan(recipe))), store, opener, limits, self.tally)
        return [row(dialogue, recipe) for dialogue in dialogues]

    def _open(self, limits: Limits) -> Serving:
        if hasattr(self._serving, "generate_from_input"):
            return _FromInputs(self._serving, limits.max_concurrency)
        return registry.open_serving(self._serving, model=self._recipe.model or "")


class _FromInputs:
    """DataFlow's servings as one of ours. They block, so each call has a thread."""

    def __init__(self, serving: Any, threads: int) -> None:
        self._serving = serving
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="consistent_chat")

    async def answer(self, request: Request) -> Response:
        prompts = [message["content"] for message in request.messages]
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self._threads, self._serving.generate_from_input, prompts, request.system)
        if not answers or not isinstance(answers[0], str):
            raise TransportError(f"{type(self._serving).__name__} gave no answer. See its own log for the reason.")
        return Response(answers[0])

    async def close(self) -> None:
        self._threads.shutdown(wait=False)
