"""Finds dialogues whose user messages say the same as an earlier dialogue in other words, by a model's embeddings.

The vectors are stored in a response store like responses, so that a replay finds the same pairs without a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from consistent_chat import drivers
from consistent_chat.dialogue.work import Dialogue, FailedDraw, Steps
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.duplicates import Match
from consistent_chat.errors import ConsistentChatError, MissingResponse
from consistent_chat.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request
from consistent_chat.serving.embeddings import Embeddings
from consistent_chat.store import ResponseStore, default_location
from consistent_chat.text import counted

SIMILARITY = 0.9
"""The minimum cosine of paraphrases. The best value depends on the model: look at some pairs."""
MAX_CHARACTERS = 6_000
"""Maximum characters of a text that are embedded: models accept 512 to 8,192 tokens."""
SHOWN = 5
"""Number of pairs that a note names."""


@dataclass(frozen=True)
class Paraphrases:
    """The paraphrases among `dialogues` dialogues, by numbers from 0.

    Each paraphrases an earlier dialogue that is not a paraphrase itself.
    """

    model: str
    dialogues: int
    similarity: float
    matches: tuple[Match, ...]

    def __str__(self) -> str:
        pairs = ", ".join(
            f"{match.number + 1} of {match.earlier + 1} ({match.similarity:.2f})" for match in self.matches[:SHOWN]
        )
        named = f": {pairs}{', ...' if len(self.matches) > SHOWN else ''}" if pairs else ""
        return (
            f"{len(self.matches):,} of {counted(self.dialogues, 'dialogue')} paraphrase an earlier one, by embeddings "
            f"of {self.model} with a cosine of at least {self.similarity:g}{named}."
        )


def find_paraphrases(
    texts: Sequence[str],
    model: str,
    base_url: str | None = None,
    api_key: str | None = None,
    responses: Any = None,
    storage_options: Any = None,
    similarity: float = SIMILARITY,
) -> Paraphrases:
    """Compare texts by their embeddings. Calls are made only if `base_url` is given, for vectors that are not stored.

    Raises ConsistentChatError if a vector is neither stored nor may be requested, or if their lengths differ.
    """
    recipe = Recipe(model=model, checks=False)
    store = ResponseStore(responses or default_location(), storage_options)
    opener = None if base_url is None else partial(Embeddings, base_url, api_key)
    begin = partial(_steps, recipe, texts)
    found = drivers.run(recipe, range(len(texts)), store, opener, Limits(), RunStats(), begin=begin)
    try:
        vectors = [json.loads(dialogue.answers[0]) for dialogue in found]
    except MissingResponse:
        raise ConsistentChatError(
            f"Some embeddings of {model} are not in the response store. Pass embedding_url= to request them."
        ) from None
    if len({len(vector) for vector in vectors}) > 1:
        raise ConsistentChatError(f"Embeddings of {model} have different lengths. Use another response store.")
    return Paraphrases(model, len(texts), similarity, tuple(_matches(vectors, similarity)))


def _steps(recipe: Recipe, texts: Sequence[str], index: int, failed: list[FailedDraw], first: int = 0) -> Steps:
    request = Request(
        model=recipe.model or "",
        system="",
        messages=({"role": "user", "content": texts[index][:MAX_CHARACTERS]},),
        temperature=0.0,
        schema={},
        seed=0,
        repeat=0,
        draw=0,
        max_tokens=1,
        stage="embedding",
    )
    response = yield request
    spec = replace(Plan(recipe)[0], index=index)
    tokens = response.input_tokens or 0
    return Dialogue(spec, (), (response.text,), (request.key,), 1, tokens, 0, tuple(failed))


def _matches(vectors: Sequence[Sequence[float]], similarity: float) -> Iterator[Match]:
    """Yield the vectors that are similar to an earlier one.

    Only vectors that are not yielded are compared with later ones.
    """
    import numpy

    rows = numpy.array(vectors, "float64").reshape(len(vectors), -1)
    rows /= numpy.maximum(numpy.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    kept: list[int] = []
    for number, row in enumerate(rows):
        cosines = numpy.round(rows[kept] @ row, 4)  # the last digits depend on the machine
        if kept and cosines.max() >= similarity:
            place = int(cosines.argmax())
            yield Match(number, kept[place], float(cosines[place]))
        else:
            kept.append(number)
