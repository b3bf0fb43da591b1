"""A build that makes calls notes what it used and checked, so the first replay on its machine needs neither again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from consistent_chat import drivers
from consistent_chat.dialogue import checks, prompts
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore, cache
from consistent_chat.store import used as module
from consistent_chat.store.location import Flush, home
from consistent_chat.store.used import UsedResponses
from tests.answers import Answers, good
from tests.drivers.test_checked import NUMBER, RECIPE

PLAN = "0" * 64


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Remove all notes before and after the test, and yield a list that records each rendered prompt and each check."""
    done: list[str] = []
    for where, names in ((prompts, ("skeleton", "answers")), (checks, ("users", "answers"))):
        for name in names:
            real = getattr(where, name)
            word = f"{where.__name__.rpartition('.')[2]} {name}"
            noting = lambda *given, real=real, word=word: (done.append(word), real(*given))[1]  # noqa: E731
            monkeypatch.setattr(where, name, noting)
    _remove_notes()
    yield done
    _remove_notes()


def _remove_notes() -> None:
    for folder in (module.NOTES, cache.NOTES):
        shutil.rmtree(home() / folder, ignore_errors=True)


def made(
    place: str,
    serving: object = None,
    indices: Sequence[int] = range(NUMBER),
    store: ResponseStore | None = None,
    recipe: Recipe = RECIPE,
) -> Iterator[Dialogue]:
    """Run dialogues with notes: a replay without a serving, else a build that makes calls."""
    opener = None if serving is None else lambda: serving
    store, notes = store or ResponseStore(place), UsedResponses(PLAN)
    return drivers.run(recipe, indices, store, opener, Limits(), RunStats(), notes=notes)  # type: ignore[arg-type]


class AtOnce:
    """Answers many requests in one call, as DataFlow's servings do."""

    def answer_all(self, requests: Sequence[Request]) -> list[Response]:
        """Return a good answer to each."""
        return [good(request) for request in requests]


@pytest.mark.parametrize("serving", [Answers, AtOnce])
def test_the_first_replay_renders_one_prompt_and_checks_nothing(place: str, work: list[str], serving: type) -> None:
    """Whoever makes the calls, the next replay has the notes of all dialogues, and its dialogues are equal."""
    live = list(made(place, serving()))
    del work[:]
    assert list(made(place)) == live
    assert work == ["prompts skeleton", "prompts answers"]  # of the first dialogue, which compares its notes


def test_the_notes_are_those_of_a_replay(place: str, work: list[str]) -> None:
    """A replay without notes writes the same files."""
    list(made(place, Answers()))
    live = _notes()
    _remove_notes()
    list(made(place))
    assert len(live) == 2
    assert _notes() == live


def _notes() -> dict[str, bytes]:
    folders = (home() / module.NOTES, home() / cache.NOTES)
    return {path.name: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_responses_of_several_packs_are_noted(place: str, work: list[str]) -> None:
    """A dialogue whose responses were packed at different times is noted when the last of them is packed."""
    live = list(made(place, Answers(), store=ResponseStore(place, flush=Flush(5, None))))
    assert len(list(Path(place, "packs").iterdir())) > 1
    del work[:]
    assert list(made(place)) == live
    assert work == ["prompts skeleton", "prompts answers"]


def test_a_stopped_build_notes_the_finished_dialogues(place: str, work: list[str]) -> None:
    """After a stop, the rest is made by the next build, whose notes are added to those of the first."""
    first = made(place, Answers(delay=0.001), indices=range(5))
    next(first)
    first.close()
    live = list(made(place, Answers()))
    del work[:]
    assert list(made(place)) == live
    assert work == ["prompts skeleton", "prompts answers"]


def test_an_unusable_response_is_never_noted(place: str, work: list[str]) -> None:
    """A dialogue that needed another draw is replayed with its unusable response; only what passed is marked."""
    serving = Answers(lambda request, attempt: None if request.draw else Response("no JSON"))
    live = list(made(place, serving))
    assert all(len(dialogue.failed) == 2 for dialogue in live)
    assert not (home() / module.NOTES).exists()
    del work[:]
    assert list(made(place)) == live
    assert not [word for word in work if word.startswith("checks")]


def test_a_refresh_replaces_the_notes(place: str, work: list[str]) -> None:
    """After a refresh by calls, the notes are those of the new responses."""

    def other(request: Request, attempt: int) -> Response:
        return replace(good(request), text=good(request).text.replace(" of ", " about "))

    old = list(made(place, Answers()))
    live = list(made(place, Answers(other), store=ResponseStore(place, refresh=True)))
    assert [one.answers for one in live] != [one.answers for one in old]
    del work[:]
    assert list(made(place)) == live
    assert work == ["prompts skeleton", "prompts answers"]


@pytest.mark.slow
def test_dropped_duplicates_are_replaced_as_before(place: str, work: list[str]) -> None:
    """With notes of a build that dropped duplicates, replays drop the same."""
    pytest.importorskip("datasketch")
    recipe = replace(RECIPE, num_dialogs_per_intent=2, drop_near_duplicates=0.9, checks=False)
    texts = "I would like to plan a long journey by train through the north of the country with my two children"

    def alike(request: Request, attempt: int) -> Response | None:
        names = list(request.schema["properties"])
        if not names[0].startswith("user") or request.repeat < 0:
            return None
        return replace(good(request), text=json.dumps({"user_1": f"{texts}.", "user_2": f"{texts}, please."}))

    live = list(made(place, Answers(alike), indices=range(len(Plan(recipe))), recipe=recipe))
    assert any(one.spec.substitute for one in live)
    assert list(made(place, indices=range(len(Plan(recipe))), recipe=recipe)) == live
    _remove_notes()
    assert list(made(place, indices=range(len(Plan(recipe))), recipe=recipe)) == live


@pytest.mark.parametrize("folder", [module.NOTES, cache.NOTES])
def test_nothing_is_noted_without_room(place: str, work: list[str], folder: str) -> None:
    """If a folder of notes cannot be written, the build works, and so does the replay."""
    (home() / folder).write_text("This is no folder.")
    live = list(made(place, Answers()))
    assert list(made(place)) == live
    (home() / folder).unlink()


def test_notes_are_read_far_ahead_of_those_that_are_written(monkeypatch: pytest.MonkeyPatch, work: list[str]) -> None:
    """A build that starts dialogues of a later file than it finishes writes each file once."""
    monkeypatch.setattr(module, "SPAN", 4)
    written: list[str] = []
    write = module.write_note
    monkeypatch.setattr(module, "write_note", lambda path, content: (written.append(path.name), write(path, content)))
    notes, ahead = UsedResponses(PLAN), 10
    used = {index: [(f"sha256:{index:064x}", "0" * 32)] for index in range(20)}
    for index in range(20 + ahead):
        assert notes.of(index) == []
        if index >= ahead:
            notes.add(index - ahead, used[index - ahead])
    notes.save()
    assert written == ["0", "1", "2", "3", "4"]
    assert {index: UsedResponses(PLAN).of(index) for index in range(20)} == used
