"""What is measured on: stores and rows of made-up dialogues, kept in a folder for the next time."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
from process import fresh

import consistent_chat  # noqa: F401  teaches `datasets` the builder
from consistent_chat.dialogue.at_once import fill
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import builtin
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore

WORDS, VOCABULARY = 42, 4_000
"""Words of a message, so that six messages are a response of about 2 KB, and words that there are."""

FREQUENT = ("the", "of", "and", "to", "in", "is", "it", "you", "that", "for", "with", "this", "have", "from", "what")
"""The first of them: by these a text passes for English."""

Answer = Callable[[Request], "Response | None"]


def filled(folder: Path, dialogs: int, runs: int = 1) -> Path:
    """Return a store with all responses of so many dialogues, as so many runs leave it behind."""
    return _once(folder / f"{dialogs}-dialogues-{runs}-runs", fill_store, dialogs, runs)


def finished(folder: Path, dialogs: int) -> Path:
    """Return a file with the rows of so many dialogues as JSON lines."""
    return _once(folder / f"{dialogs}-rows.jsonl", write_rows, filled(folder, dialogs), dialogs)


def fields_of(dialogs: int) -> dict[str, Any]:
    """Return the recipe of so many six-turn dialogues, as keywords."""
    return {
        "model": "benchmark",
        "num_dialogs_per_intent": dialogs // len(builtin().intents),
        "num_turns_per_dialog": 6,
    }


def rounded(dialogs: int) -> int:
    """Return the number of dialogues rounded up to as many for each intent."""
    return dialogs + -dialogs % len(builtin().intents)


def built(store: Path, dialogs: int, cache: str) -> datasets.Dataset:
    """Return the dataset, built in a cache that is empty."""
    where = {"responses": str(store), "mode": "replay", "cache_dir": cache, "split": "train"}
    return datasets.load_dataset("consistent_chat", **fields_of(dialogs), **where)


def conversed(dialogs: int, indices: Iterable[int], answer: Answer) -> Iterator[tuple[Request, Response]]:
    """Yield requests and responses of dialogues, as `answer` gives them."""
    recipe = Recipe(**fields_of(dialogs))
    plan = Plan(recipe)
    for index in indices:
        steps = fill(recipe, plan, index)
        request = next(steps)
        with contextlib.suppress(StopIteration):  # it returns the dialogue
            while True:
                response = answer(request)
                yield request, response
                request = steps.send(response)


class Author:
    """Answers requests with made-up texts: the n-th most frequent word is 1/n times as frequent as the first."""

    def __init__(self, seed: int) -> None:
        self._random = rng = random.Random(seed)
        syllables = [a + b + c for a in "bdfgklmnprstvw" for b in "aeiou" for c in ("", "", "n", "r", "st")]
        words = [
            *FREQUENT,
            *(
                "".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3, 4))))
                for _ in range(VOCABULARY - len(FREQUENT))
            ),
        ]
        forms = [word + mark for mark in ("", ",", ".") for word in words]
        weights = [share / rank for share in (8, 1, 1) for rank in range(1, VOCABULARY + 1)]
        self._drawn = rng.choices(forms, weights, k=1 << 16)

    def __call__(self, request: Request) -> Response:
        """Return texts for all keys of the request's schema."""
        return Response(json.dumps({name: self._text() for name in request.schema["properties"]}), "stop", 900, 500)

    def _text(self) -> str:
        drawn = memoryview(self._random.randbytes(2 * WORDS)).cast("H")
        return " ".join(map(self._drawn.__getitem__, drawn)).rstrip(",.") + "."


def fill_store(place: Path, dialogs: int, runs: int) -> None:
    """Keep the responses of all dialogues; each run does its part in a store of its own, and these are merged."""
    answer = Author(0)
    for run in range(runs):
        part = place / str(run)
        store = ResponseStore(str(part))
        for request, response in conversed(dialogs, range(dialogs * run // runs, dialogs * (run + 1) // runs), answer):
            store.keep(request, response)
        store.close()
        shutil.copytree(part, place, dirs_exist_ok=True)
        shutil.rmtree(part)


def write_rows(path: Path, store: Path, dialogs: int) -> None:
    """Write the rows of a dataset as JSON lines, and its features beside them."""
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        dataset = built(store, dialogs, cache)
        path.with_name(f"{dialogs}-rows.features").write_text(json.dumps(dataset.features.to_dict()))
        with open(path, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in dataset)


def _once(path: Path, make: Callable[..., None], *given: Any) -> Path:
    if not path.exists():
        partial = path.with_name(f"partial-{path.name}")
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was stopped
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh(make, partial, *given)
        partial.rename(path)
    return path
