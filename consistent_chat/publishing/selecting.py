"""Of all that is recorded, what the dialogues of some recipes are made of: no more of it is published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from consistent_chat.dialogue import Dialogue, fill
from consistent_chat.drive.replay import advance
from consistent_chat.drive.ways import any_way
from consistent_chat.errors import MissingResponse
from consistent_chat.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.nearest import describe_miss
from consistent_chat.store.record import Record

NAMED = 8
"""Dialogues without a response that are named, of all that are counted."""


def select(recipes: Mapping[str, Recipe], store: ResponseStore) -> Iterator[Record]:
    """Yield the records that a replay of these recipes uses, each once, in the order of splits, plans and draws.

    All are of generation 0: what was superseded stays behind. Raises UnfilledSlot, and, after all that there is,
    MissingResponse that names the first dialogues without a response and says how many there are.
    """
    seen: set[str] = set()
    missing: list[tuple[str, int]] = []
    first = ""
    total = 0
    for split, recipe in recipes.items():
        plan = Plan(recipe)
        total += len(plan)
        for index in range(len(plan)):
            used = _Noting(store)
            step = _walk(recipe, plan, index, used)
            if isinstance(step, Request):
                first = first or describe_miss(step, index, store)
                missing.append((split, index))
            yield from (record for record in used.records if record.digest not in seen)
            seen.update(record.digest for record in used.records)
    if missing:
        raise MissingResponse(_message(first, missing, total))


def _walk(recipe: Recipe, plan: Plan, index: int, used: _Noting) -> Dialogue | Request:
    """Go through a dialogue as a replay does; return it, or the request that lacks a response."""
    step = advance(fill(recipe, plan, index), None, used.find, _may_ask)
    if isinstance(step, Dialogue):
        return step
    used.records.clear()
    return any_way(lambda: fill(recipe, plan, index), used.find_all, _may_ask) or step


def _may_ask(request: Request) -> bool:
    return request.draw < 1


class _Noting:
    """Notes what it finds."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store
        self.records: list[Record] = []

    def find(self, request: Request) -> Response | None:
        response = self._store.find(request)
        if response is not None:
            self.records.append(Record.of(request, response))
        return response

    def find_all(self, request: Request) -> list[Response]:
        responses = self._store.find_all(request)
        self.records += [Record.of(request, response) for response in responses]
        return responses


def _message(first: str, missing: list[tuple[str, int]], total: int) -> str:
    named = ", ".join(f"{split} {index}" for split, index in missing[:NAMED])
    more = ", ..." if len(missing) > NAMED else ""
    return f"{len(missing):,} of {total:,} dialogues lack a response ({named}{more}), so nothing is published. {first}"
