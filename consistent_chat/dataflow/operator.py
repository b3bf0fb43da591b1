"""DataFlow's operator interface: `ConsistentChatGenerator(llm_serving=..., ...).run(storage)`.

It runs the same recipes, store and drivers as everything else, and needs no DataFlow installed.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import fields
from importlib import resources
from typing import Any

from consistent_chat import drivers
from consistent_chat.builder.progress import CallsBar
from consistent_chat.dataflow import storage as storages
from consistent_chat.dataflow.compat import join
from consistent_chat.dataflow.serving import (
    APILLMServing_request,
    BatchedServingAdapter,
    model_of,
    takes_chats,
    unnamed,
)
from consistent_chat.dataflow.templates import Templates
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.drivers.waves import BatchedServing
from consistent_chat.errors import RecipeError
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe, paths
from consistent_chat.recipe.description import AT_ONCE
from consistent_chat.row import row
from consistent_chat.serving import Serving, registry
from consistent_chat.store import ResponseStore, default_location

logger = logging.getLogger(__name__)

LIMITS = tuple(limit.name for limit in fields(Limits))
HELD_IN_WAVES = ("max_draws", "max_calls", "max_cost")
FIXED = ("layout", "provenance", "judge_model", "min_score", "judge", "num_answers", "reasoning")
OF_OUR_PROMPTS = ("intents", "taxonomy", "seeds", "user_model", "users", "answers", "instructions", "attributes")


class ConsistentChatGenerator:
    """Makes dialogues from scratch and writes them to a storage, with the columns category and conversation.

    Args:
        llm_serving: DataFlow's serving or ours by that name, any object with
            `generate_from_input(user_inputs, system_prompt)` which answers None where a call failed, or a serving's
            name or object as for `load_dataset`. None makes no calls: only recorded responses are used.
        num_dialogs_per_intent, num_turns_per_dialog, temperature: as in `Recipe`.
        prompt_template: an object of DataFlow's with `build_prompt(mode=...)`; None for our own prompts.
        model: the model's name; else the serving's own.
        responses: URL or path of the response store, or several: the first is written, all are read.
        settings: further fields of `Recipe`, such as seed, intents and language, and of `Limits`, such as max_calls.

    Raises:
        RecipeError: a value is wrong. Nothing has been called.
    """

    def __init__(
        self,
        llm_serving: Any = None,
        num_dialogs_per_intent: int = 20,
        num_turns_per_dialog: int = 6,
        temperature: float = 0.9,
        prompt_template: Any = None,
        *,
        model: str | None = None,
        responses: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        **settings: Any,
    ) -> None:
        self.llm_serving = llm_serving  # under this name DataFlow's pipelines look for it
        self.prompt_template = prompt_template
        self.logger = logger
        self.stats = RunStats()
        self._batched = _is_batched(llm_serving)
        _check_template(prompt_template, llm_serving, self._batched)
        _check_settings(settings, prompt_template is not None)
        self._limits = _limits(settings, llm_serving, in_waves=self._batched)
        self._places = paths("responses", default_location() if responses is None else responses)
        self._recipe = Recipe.from_mapping(
            {
                "model": self._model(model),
                "num_dialogs_per_intent": num_dialogs_per_intent,
                "num_turns_per_dialog": num_turns_per_dialog,
                "temperature": temperature,
                "provenance": False,
                **{name: value for name, value in settings.items() if name not in LIMITS},
            }
        )
        self._check_form()
        join(type(self))

    def _check_form(self) -> None:
        """Raise RecipeError if whole chats would go to a serving of DataFlow that takes single texts."""
        if self._batched and self._recipe.answers != AT_ONCE and not takes_chats(self.llm_serving):
            raise RecipeError(
                "answers: turn_by_turn sends whole chats, and generate_from_input takes single texts. Use "
                "answers: at_once, name a built-in serving, or add DataFlow's method generate_from_conversations to "
                f"{type(self.llm_serving).__name__}."
            )

    @staticmethod
    def get_desc(lang: str = "zh") -> str:
        """Return what the operator does and takes, in English ("en") or Chinese ("zh")."""
        name = f"description.{'zh' if lang == 'zh' else 'en'}.txt"
        return resources.files("consistent_chat.dataflow").joinpath(name).read_text("utf-8").strip()

    def run(
        self, storage: Any, output_category_key: str = "category", output_conversation_key: str = "conversation"
    ) -> Any:
        """Make the dialogues, write them to the storage, and return them, as one DataFrame.

        The keys are the names of the columns: from them DataFlow's pipelines know what later operators find.
        """
        import pandas  # slow to import, and only wanted here

        storages.check(storage)
        names = [output_category_key, output_conversation_key]
        if len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
            raise RecipeError(f"output_category_key and output_conversation_key must be two names, not {names!r}.")
        self.stats = RunStats()
        with CallsBar(self._recipe, self.stats):
            rows = [tuple(row(dialogue, self._recipe).values()) for dialogue in self._dialogues()]
        frame = pandas.DataFrame(rows, columns=names)
        storage.write(frame)
        self.logger.info("%s", self.stats)
        return frame

    def _dialogues(self) -> Iterator[Dialogue]:
        templates = None if self.prompt_template is None else Templates(self.prompt_template, self._recipe)
        count, begin = (len(Plan(self._recipe)), None) if templates is None else (len(templates), templates.begin)
        opener = None if self.llm_serving is None else self._open
        store = ResponseStore(self._places)
        return drivers.run(self._recipe, range(count), store, opener, self._limits, self.stats, begin=begin)

    def _open(self) -> Serving | BatchedServing:
        if self._batched:
            return BatchedServingAdapter(self.llm_serving, self._recipe.temperature)
        if isinstance(self.llm_serving, APILLMServing_request):
            return self.llm_serving.open(plain_text=self.prompt_template is not None)
        return registry.open_serving(
            self.llm_serving,
            model=self._recipe.model,
            timeout=self._limits.timeout,
            max_concurrency=self._limits.max_concurrency,
        )

    def _model(self, model: str | None) -> str:
        if self.llm_serving == "rehearsal":  # so that rehearsed text is never mistaken for a model's
            return "rehearsal"
        name = model or model_of(self.llm_serving)
        if name is not None:
            return name
        if self._batched:
            return unnamed(self.llm_serving)
        raise RecipeError("No model is set. Pass model=, or a serving that has a model_name.")


def _is_batched(serving: Any) -> bool:
    """Distinguish DataFlow's servings from ours; raise RecipeError for any other object."""
    if not inspect.isclass(serving) and callable(getattr(serving, "generate_from_input", None)):
        return not isinstance(serving, APILLMServing_request)
    registry.check(serving)
    return False


def _limits(settings: dict[str, Any], serving: Any, in_waves: bool) -> Limits:
    """Return the limits of a run; raises RecipeError for a limit that only the serving itself can keep."""
    given = {name: settings[name] for name in LIMITS if name in settings}
    for name in given if in_waves else ():
        if name not in HELD_IN_WAVES:
            raise RecipeError(
                f"{name} has no effect here: {type(serving).__name__} gets all prompts of a wave in one call and "
                f"sends them itself. Set its own limits; {', '.join(HELD_IN_WAVES)} apply here too."
            )
    if not isinstance(serving, APILLMServing_request):
        return Limits(**given)
    own = serving.limits()
    return Limits(**{"max_concurrency": own.max_concurrency, "timeout": own.timeout, **given})


def _check_settings(settings: dict[str, Any], templated: bool) -> None:
    """Raise RecipeError for a field of the recipe that has no place or no effect here."""
    for name in settings:
        if name in FIXED:
            raise RecipeError(
                f"{name} is fixed here: rows have category and conversation. Use load_dataset for others."
            )
        if name in OF_OUR_PROMPTS and templated and settings[name] is not None:
            raise RecipeError(f"{name} has no effect with a prompt_template, which chooses its own. Leave one out.")


def _check_template(template: Any, serving: Any, batched: bool) -> None:
    if template is None:
        return
    if inspect.isclass(template) or not callable(getattr(template, "build_prompt", None)):
        raise RecipeError(f"prompt_template must be an object with a method `build_prompt`, not {template!r}.")
    if serving is not None and not batched and not isinstance(serving, APILLMServing_request):
        raise RecipeError(
            "prompt_template needs a serving that takes prompts, with a method `generate_from_input`, such as "
            "APILLMServing_request. Pass one, or leave prompt_template out to use the built-in prompts."
        )
