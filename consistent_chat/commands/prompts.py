"""Shows the requests that a recipe leads to, before anything is paid for: `consistent-chat prompts`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

from consistent_chat.dialogue.at_once import fill
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request
from consistent_chat.serving.rehearsal import Rehearsal


@dataclass(frozen=True)
class ShownRequest:
    """A request of the dialogue at an index of the plan. `str` gives all of its texts."""

    index: int
    request: Request

    def __str__(self) -> str:
        request = self.request
        texts = [("system", request.system), *((each["role"], each["content"]) for each in request.messages)]
        head = f"=== dialogue {self.index}, {request.stage}, key {request.key} ==="
        return "\n\n".join([head, *(f"--- {role} ---\n{text}" for role, text in texts if text), ""])


def requests(recipe: Recipe, number: int) -> Iterator[ShownRequest]:
    """Yield the requests of the first `number` dialogues, in the order in which they are sent.

    No call is made: texts of the rehearsal stand where a later request quotes a model's messages.
    """
    plan = Plan(recipe)
    for index in range(min(number, len(plan))):
        yield from (ShownRequest(index, request) for request in _requests(recipe, plan, index))


def _requests(recipe: Recipe, plan: Plan, index: int) -> Iterator[Request]:
    """Go through one dialogue with rehearsed messages, which no check refuses."""
    lenient = replace(recipe, checks=False, rules=None, review=None, min_score=None, layout="conversation")
    steps, rehearsal = fill(lenient, plan, index), Rehearsal()
    try:
        request = next(steps)
        while True:
            yield request
            request = steps.send(asyncio.run(rehearsal.answer(request)))
    except StopIteration:
        return
