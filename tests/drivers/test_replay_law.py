"""A replay of a store gives exactly the rows that a driver made live."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from consistent_chat import drivers
from consistent_chat.dataflow.serving import BatchedServingAdapter
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.row import failures, row
from consistent_chat.store import ResponseStore, compact
from tests import filling
from tests.answers import Answers
from tests.batches import BatchProvider
from tests.dataflow_parts import Storage, TheirServing, good
from tests.faults import Reply
from tests.filling import filled, online, replayed

hurried = filling.hurried

MARK = "MARK"
IN_A_BODY = ["\\ud83d", "\udc80", "\\ude00", "\\u0000", "\\\\u0000", "\\\\ud83d", "\\\\ude00", "\\u001b[2J", "😀", "a"]
IN_A_BODY += ["\\u009b", "\\u202e", "\\\\", "\udcf0\udc9f", "\\ufeff"]
BODIES = st.lists(st.sampled_from(IN_A_BODY), min_size=1, max_size=4).map("".join)
"""What replaces MARK in a server's JSON body; bytes that are not UTF-8 are written as U+DC80 to U+DCFF."""
IN_TEXT = [
    "\ud83d",
    "\ude00",
    "\udc80",
    "\0",
    "\x1b",
    "\x9b",
    "\u202e",
    "\\",
    '"',
    "😀",
    "\r",
    "\\ud83d",
    ',"response":{',
]
TEXTS = st.lists(st.sampled_from(IN_TEXT) | st.text(st.characters(exclude_categories=()), max_size=3), max_size=5)
slowly = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


THOUGHTS = {
    "anthropic": (b'"content": [', b'"content": [{"type": "thinking", "thinking": "I think MARK."}, '),
    "openai": (b'"content": "', b'"reasoning_content": "I think MARK.", "content": "'),
}
"""By protocol: where a body gets what the model thought, in a field of its own."""


def hostile(inserted: str, kind: str, tags: bool) -> Reply:
    """Return a good answer with this text in the body, in each of its texts and in the reasoning."""
    raw = inserted.encode("utf-8", "surrogateescape")
    before = f"<think>I think {MARK}.</think>" if tags else ""
    field = (b"", b"") if tags else THOUGHTS[kind]
    return Reply(
        edit=lambda text: before + text.replace("This is", f"This {MARK} is"),
        garble=lambda body: body.replace(*field, 1).replace(MARK.encode(), raw),
    )


def recipe(kind: str = "anthropic") -> Recipe:
    """Return a recipe of nine short dialogues whose rows include the reasoning."""
    return replace(filling.recipe(kind), reasoning=True)


def rows(made: list[Dialogue], kind: str = "anthropic") -> list[tuple[dict[str, Any], object]]:
    """Return the row and the failures of each dialogue, including unusable answers."""
    return [(row(dialogue, recipe(kind)), failures(dialogue)) for dialogue in made]


@pytest.mark.slow
@slowly
@example(inserted="\\ud83d\udc80", kind="anthropic", tags=True)
@example(inserted="\\ud83d\udc80", kind="openai", tags=False)
@example(inserted="a", kind="anthropic", tags=False)
@example(inserted="a", kind="openai", tags=True)
@given(inserted=BODIES, kind=st.sampled_from(["anthropic", "openai"]), tags=st.booleans())
def test_online_and_batch_make_the_rows_of_their_replays(inserted: str, kind: str, tags: bool) -> None:
    """Online and batch builds give the rows of their replays with any bytes in the server's answers."""
    made = recipe(kind)
    with tempfile.TemporaryDirectory() as folder:
        places = {name: str(Path(folder, name)) for name in ("online", "batch")}
        reply = hostile(inserted, kind, tags)
        with BatchProvider(lambda call: reply if call.attempt == 0 else None) as provider:
            provider.script_online()
            live = rows(online(places["online"], provider, kind, made), kind)
        with BatchProvider(lambda call: reply if call.attempt == 0 else None) as provider:
            filled(places["batch"], provider.url, kind, made)
        assert inserted != "a" or {told["reasoning"] for told, _ in live} == {"I think a."}
        assert rows(replayed(places["online"], made), kind) == live
        assert rows(replayed(places["batch"], made), kind) == live


def answering(inserted: str) -> Callable[[Request, int], Response]:
    """Return a script whose first draws contain this text, either raw or escaped in JSON."""

    def script(request: Request, attempt: int) -> Response:
        said = f" {inserted} " if request.draw == 0 else " fine "
        names = request.schema["required"]
        text = json.dumps({name: f"{name}{said}{request.key[7:15]}" for name in names}, ensure_ascii=len(said) % 2 == 0)
        return Response(text + inserted, reasoning=inserted, id=inserted, extra=inserted)

    return script


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@example(inserted="\ud83d\ude00", again="\ud83d\udc80")
@given(inserted=TEXTS.map("".join), again=TEXTS.map("".join))
def test_an_online_build_and_its_refresh_make_the_rows_of_their_replays(inserted: str, again: str) -> None:
    """An online build and its refresh give the rows of their replays for any text, before and after compaction."""
    made = recipe()
    with tempfile.TemporaryDirectory() as folder:
        for text, refresh in ((inserted, False), (again, True)):
            store = ResponseStore(folder, refresh=refresh)
            opener = lambda text=text: Answers(answering(text))  # noqa: E731
            live = list(drivers.run(made, range(9), store, opener, Limits(max_draws=2), RunStats()))
            assert rows(replayed(folder, made)) == rows(live)
            compact(folder)
            assert rows(replayed(folder, made)) == rows(live)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@example(inserted="\ud83d\ude00")
@given(inserted=TEXTS.map("".join))
def test_waves_make_the_rows_of_their_replays(inserted: str) -> None:
    """A build with a DataFlow serving gives the rows of its replay for any text that the serving returns."""
    from consistent_chat.dataflow import ConsistentChatGenerator

    class Hostile(TheirServing):
        def _answer(self, prompt: str, system: str) -> str:
            tries = self.asked[prompt]
            self.asked[prompt] += 1
            return (
                good(prompt, system).replace(" of ", f" {inserted} ") + inserted if tries == 0 else good(prompt, system)
            )

    fields = {"num_dialogs_per_intent": 1, "num_turns_per_dialog": 2}
    with tempfile.TemporaryDirectory() as folder:
        live = ConsistentChatGenerator(Hostile(), responses=folder, **fields).run(Storage())
        again = ConsistentChatGenerator(None, responses=folder, model="their-model", **fields).run(Storage())
        assert again.equals(live)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@example(inserted="\ud83d\ude00")
@example(inserted="a")
@given(inserted=TEXTS.map("".join))
def test_thoughts_in_waves_are_those_of_their_replays(inserted: str) -> None:
    """Reasoning that a DataFlow serving puts in tags before the answer is the same in a replay."""

    class Thinking(TheirServing):
        def _answer(self, prompt: str, system: str) -> str:
            return f"<think>I think {inserted}.</think>\n<answer>{good(prompt, system)}</answer>"

    with tempfile.TemporaryDirectory() as folder:
        store, opener = ResponseStore(folder), lambda: BatchedServingAdapter(Thinking(), recipe().temperature)
        live = rows(list(drivers.run(recipe(), range(9), store, opener, Limits(), RunStats())))
        assert inserted != "a" or {told["reasoning"] for told, _ in live} == {"I think a."}
        assert rows(replayed(folder, recipe())) == live
