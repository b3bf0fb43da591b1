"""Shows the first dialogues (`consistent-chat preview`) or requests (`consistent-chat prompts`) of a recipe."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from consistent_chat.commands.estimate import estimate
from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import RunStats
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.shape import FACETS
from consistent_chat.request import Request
from consistent_chat.serving.rehearsal import Rehearsal
from consistent_chat.text.console import screen, shown

INDENT = 6
"""Number of columns of indentation: of answers on the left, of user messages on the right."""


def preview(builder: Any, number: int = 3) -> RunStats:
    """Make and print the first `number` dialogues of a builder's first split; return their calls and tokens.

    A plan alternates between intents, so these dialogues are of different intents. Responses are kept in the store as
    in a build. Raises the errors of a build, such as BudgetSpent, after the finished dialogues are shown.
    """
    console = screen()
    split, plan = next(iter(builder.plans().items()))
    stats = RunStats()
    count = min(number, len(plan))
    for place, dialogue in enumerate(builder.dialogues(split, range(count), stats), 1):
        _show(console, dialogue, f"{place} of {count}")
    console.print(Rule(style="dim"))
    console.print(_line("these", str(stats)))
    for split, plan in builder.plans().items():
        console.print(_line(f"all of {split}", str(estimate(builder.recipes[split], plan, builder.store()))))
    return stats


def _show(console: Console, dialogue: Dialogue, place: str) -> None:
    spec = dialogue.spec
    console.print(Rule(place, style="dim", align="left"))
    console.print(shown(spec.topic), style="bold")
    console.print(shown(f"{spec.intent.title} · {spec.category} · {spec.flow.title}"), style="dim")
    console.print(shown(f"{spec.persona}; {spec.manner[0]}"), style="dim")
    console.print(shown("; ".join(getattr(spec.shape, facet).name for facet in FACETS)), style="dim")
    for user, answer in zip(dialogue.user_messages, dialogue.answers):
        _message(console, "user", user, "bold cyan", (1, INDENT, 0, 0))
        _message(console, "assistant", answer, "bold green", (1, 0, 0, INDENT))
    for draw in dialogue.failed:
        console.print(Padding(shown(f"unusable: {draw}"), (1, 0, 0, 0)), style="yellow")
    console.print()


def _message(console: Console, role: str, text: str, style: str, padding: tuple[int, int, int, int]) -> None:
    console.print(Padding(Text.assemble((f"{role}\n", style), shown(text, lines=True)), padding, expand=False))


def _line(name: str, text: str) -> Text:
    return Text.assemble((f"{name}: ", "dim"), shown(text, lines=True))


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

    No call is made: if a later request quotes a model's messages, these are texts of the rehearsal.
    """
    plan = Plan(recipe)
    for index in range(min(number, len(plan))):
        yield from (ShownRequest(index, request) for request in _requests(recipe, plan, index))


def _requests(recipe: Recipe, plan: Plan, index: int) -> Iterator[Request]:
    """Run one dialogue with rehearsed messages, which no check rejects."""
    layout = "conversation" if recipe.preferences is None else recipe.layout
    lenient = replace(recipe, checks=False, rules=None, review=None, decontaminate=None, min_score=None, layout=layout)
    steps, rehearsal = fill(lenient, plan, index), Rehearsal()
    try:
        request = next(steps)
        while True:
            yield request
            request = steps.send(asyncio.run(rehearsal.answer(request)))
    except StopIteration:
        return
