"""Of all that is recorded, what the dialogues of some recipes are made of: no more of it is published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from consistent_chat import drive
from consistent_chat.dialogue import Dialogue, fill
from consistent_chat.drive.replay import advance
from consistent_chat.drive.ways import any_way
from consistent_chat.errors import MissingResponse
from consistent_chat.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.record import Record

NAMED = 8
"""Dialogues without a response that are named, of all that are counted."""


def select(recipes: Mapping[str, Recipe], store: ResponseStore) -> Iterator[Record]:
    """Yield the records that a replay of these recipes uses, each once, in the order of splits, plans and draws.

    All are of generation 0: what was superseded stays behind. Raises UnfilledSlot, and, after all that there is,
    MissingResponse that names the first dialogues without a response and says how many there are.
    """
    missing: list[tuple[str, int]] = []
    first, total, used = "", 0, _Noting(store)
    for split, recipe in recipes.items():
        plan = Plan(recipe)
        total += len(plan)
        try:
            for _ in drive.run(recipe, range(len(plan)), used, None, drive.Limits(), drive.Tally()):  # type: ignore[arg-type]
                yield from used.taken()
        except MissingResponse as error:
            first = first or str(error)
            lacking = [index for index in range(len(plan)) if isinstance(_walk(recipe, plan, index, used), Request)]
            missing += [(split, index) for index in lacking] or [(split, -1)]
        yield from used.taken()
    if missing:
        raise MissingResponse(_message(first, missing, total))


def _walk(recipe: Recipe, plan: Plan, index: int, used: _Noting) -> Dialogue | Request:
    """Go through a dialogue as a replay does; return it, or the request that lacks a response."""
    step = advance(fill(recipe, plan, index), None, used.find, _may_ask)
    if isinstance(step, Dialogue):
        return step
    return any_way(lambda: fill(recipe, plan, index), used.find_all, _may_ask) or step


def _may_ask(request: Request) -> bool:
    return request.draw < 1


class _Noting:
    """A store that notes what is found in it."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store
        self._found: list[Record] = []
        self._seen: set[str] = set()
        self.records, self.close = store.records, store.close

    def find(self, request: Request) -> Response | None:
        """Find a response."""
        response = self._store.find(request)
        if response is not None:
            self._note(request, response)
        return response

    def find_all(self, request: Request) -> list[Response]:
        """Find all responses."""
        responses = self._store.find_all(request)
        for response in responses:
            self._note(request, response)
        return responses

    def taken(self) -> list[Record]:
        """Return what was found since, each record once."""
        found, self._found = self._found, []
        return found

    def _note(self, request: Request, response: Response) -> None:
        record = Record.of(request, response)
        if record.digest not in self._seen:
            self._seen.add(record.digest)
            self._found.append(record)


def _message(first: str, missing: list[tuple[str, int]], total: int) -> str:
    named = ", ".join(f"{split} {index}" for split, index in missing[:NAMED])
    more = ", ..." if len(missing) > NAMED else ""
    return f"{len(missing):,} of {total:,} dialogues lack a response ({named}{more}), so nothing is published. {first}"
