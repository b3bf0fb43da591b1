"""Responses that passed the checks on this machine are not checked again, and notes from elsewhere are not trusted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consistent_chat import drivers
from consistent_chat.dialogue import checks
from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.check_identity import check_identity
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.errors import MissingResponse
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.cache import NOTES
from consistent_chat.store.location import home
from consistent_chat.store.pack import write_pack
from consistent_chat.store.record import Record
from tests.answers import good

RECIPE = Recipe(model="claude-haiku-4-5", num_dialogs_per_intent=1, num_turns_per_dialog=2)
NUMBER = len(Plan(RECIPE))


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Remove all notes before and after the test, and yield a list that records each check by its side."""
    ran: list[str] = []
    for name in ("users", "answers"):
        check = getattr(checks, name)
        monkeypatch.setattr(checks, name, lambda *given, name=name, check=check: (ran.append(name), check(*given)))
    shutil.rmtree(home() / NOTES, ignore_errors=True)
    yield ran
    shutil.rmtree(home() / NOTES, ignore_errors=True)


def record(place: str, recipe: Recipe = RECIPE, spoil: str = "") -> None:
    """Store good responses for all dialogues; `spoil`, if given, replaces the last answer of each."""
    store = ResponseStore(place)
    for index in range(NUMBER):
        steps = fill(recipe, Plan(recipe), index)
        skeleton = next(steps)
        second = steps.send(store.keep(skeleton, good(skeleton)))
        store.keep(second, spoiled(good(second), spoil))
    store.close()


def spoiled(response: Response, text: str) -> Response:
    """Return a response whose last message is replaced by a text, unless the text is empty."""
    told = json.loads(response.text)
    return replace(response, text=json.dumps({**told, list(told)[-1]: text})) if text else response


def replayed(place: str, recipe: Recipe = RECIPE) -> list[Dialogue]:
    """Replay all dialogues."""
    return list(drivers.run(recipe, range(NUMBER), ResponseStore(place), None, Limits(), RunStats()))


def notes() -> list[Path]:
    """Return the files with notes."""
    return [path for path in (home() / NOTES).rglob("*") if path.is_file()]


def test_the_second_replay_checks_nothing_and_makes_the_same(place: str, checked: list[str]) -> None:
    """Each response is checked once per machine, and a second replay gives equal dialogues without checks."""
    record(place)
    del checked[:]
    first = replayed(place)
    assert len(checked) == 2 * NUMBER
    assert replayed(place) == first
    assert len(checked) == 2 * NUMBER


def test_a_part_is_added_to_what_another_process_noted(place: str, checked: list[str]) -> None:
    """Runs that replay parts of a plan at the same time add their notes to those of the others."""
    record(place)
    runs = [
        drivers.run(RECIPE, indices, ResponseStore(place), None, Limits(), RunStats())
        for indices in (range(4), range(4, NUMBER))
    ]
    first, second = (next(run) for run in runs)
    assert first.spec.index == 0
    assert second.spec.index == 4
    for run in runs:
        list(run)
    del checked[:]
    replayed(place)
    assert checked == []


@pytest.mark.parametrize("changed", [{"checks": {"repeats": 0.7}}, {"language": "German", "checks": {"repeats": 0.9}}])
def test_other_thresholds_and_languages_check_anew(changed: dict[str, object]) -> None:
    """Other thresholds or languages change the identity of the checks, to which each note belongs."""
    assert check_identity(replace(RECIPE, **changed)) != check_identity(RECIPE)  # type: ignore[arg-type]
    assert check_identity(replace(RECIPE, num_dialogs_per_intent=50, temperature=0.1)) == check_identity(RECIPE)
    assert check_identity(replace(RECIPE, checks=False)) == ""


def test_the_identity_covers_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change in the code of the checks changes their identity."""
    from consistent_chat.dialogue import check_identity as module

    before = check_identity(RECIPE)
    monkeypatch.setattr(module, "_code", lambda folders: "other")
    assert check_identity(RECIPE) != before


def test_an_unusable_response_is_never_noted(place: str, checked: list[str]) -> None:
    """Responses that fail a check are not noted, so each replay checks them again."""
    record(place, spoil="First you go to the station. Then you take the train to the old and")
    for _ in range(2):
        with pytest.raises(MissingResponse, match="broken_off"):
            replayed(place)
    assert checked.count("answers") >= 2


def test_a_store_brings_no_notes(place: str, checked: list[str], tmp_path: Path) -> None:
    """A store contains no notes, and notes that someone copies into a store are not read."""
    record(place)
    before = sorted(path.name for path in Path(place).rglob("*"))
    replayed(place)
    assert sorted(path.name for path in Path(place).rglob("*")) == before
    shutil.copytree(home() / NOTES, Path(place, NOTES))
    shutil.copytree(home() / NOTES, Path(place, "packs", NOTES))
    shutil.rmtree(home() / NOTES)
    del checked[:]
    replayed(place)
    assert len(checked) == 2 * NUMBER


def test_a_note_is_of_a_packs_content(place: str, checked: list[str], tmp_path: Path) -> None:
    """A note belongs to a pack's content: a copy of the store is not checked again, but other responses are."""
    record(place)
    replayed(place)
    copy = str(shutil.copytree(place, tmp_path / "copy"))
    other = str(tmp_path / "other")
    record(other, spoil="You could also ask at the desk, which opens at nine in the morning.")
    del checked[:]
    replayed(copy)
    assert checked == []
    replayed(other)
    assert len(checked) == 2 * NUMBER


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40, None])
def test_a_damaged_note_is_none(place: str, checked: list[str], damage: bytes | None) -> None:
    """A truncated, invalid or corrupted file of notes is ignored and written anew."""
    record(place)
    replayed(place)
    (path,) = notes()
    written = path.read_bytes()
    path.write_bytes(written[:-1] + bytes([written[-1] ^ 1]) if damage is None else damage)
    del checked[:]
    replayed(place)
    assert len(checked) == 2 * NUMBER
    assert path.read_bytes() == written


def test_nothing_is_noted_without_room(place: str, checked: list[str]) -> None:
    """If the folder of notes cannot be written, the replay works and checks every response again."""
    record(place)
    (home() / NOTES).write_text("This is no folder.")
    made = replayed(place)
    (home() / NOTES).unlink()
    assert replayed(place) == made
    assert len(checked) >= 4 * NUMBER


def test_no_server_and_no_store_says_that_it_was_checked() -> None:
    """A response's `checked` field is local: it is not stored, read or compared."""
    told = Response.of({"text": "text"}, checked=True)
    assert told.checked
    assert not replace(told, text="another").checked
    assert "checked" not in told.plain()
    assert not told.as_stored().checked
    assert not Response.of({"text": "text", "checked": True}).checked
    assert told == Response("text")


def request_of(index: int) -> Request:
    """Return the first request of a dialogue."""
    return next(fill(RECIPE, Plan(RECIPE), index))


def test_a_note_of_one_response_leaves_the_others(place: str, checked: list[str]) -> None:
    """Of two responses to the same request, only the one that passed is noted."""
    for text in ("one", "two"):
        write_pack([Record.of(request_of(0), Response(text))], Path(place, "packs"))  # as two simultaneous writers do
    store = ResponseStore(place)
    store.note_checks("0" * 64)
    one, two = store.find_all(request_of(0))
    store.mark_checked(request_of(0).key, two.record)
    assert [response.checked for response in store.find_all(request_of(0))] == [False, True]
    assert store.find_all(request_of(0)) == [one, two]
