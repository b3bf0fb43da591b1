"""A replay finds the responses that it used before by their noted keys. Whatever notes say, the rows stay the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from consistent_chat import drivers
from consistent_chat.dialogue import prompts
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.drivers.noted import NotedDialogues
from consistent_chat.errors import DamagedRecord
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store import used as module
from consistent_chat.store.location import home
from consistent_chat.store.pack import write_pack
from consistent_chat.store.record import Record
from consistent_chat.store.used import NOTES, UsedResponses
from tests.answers import Answers, good
from tests.drivers.test_checked import NUMBER, RECIPE, record, request_of, spoiled

PLAN, OTHER = "0" * 64, "1" * 64


@pytest.fixture(autouse=True)
def _no_notes() -> Iterator[None]:
    """Remove all notes before and after the test."""
    shutil.rmtree(home() / NOTES, ignore_errors=True)
    yield
    shutil.rmtree(home() / NOTES, ignore_errors=True)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that records each prompt that is rendered by its stage."""
    names: list[str] = []
    for name in ("skeleton", "answers"):
        render = getattr(prompts, name)
        noting = lambda *given, name=name, render=render: (names.append(name), render(*given))[1]  # noqa: E731
        monkeypatch.setattr(prompts, name, noting)
    return names


def replayed(place: str, identity: str = PLAN, indices: Sequence[int] = range(NUMBER)) -> list[Dialogue]:
    """Replay dialogues, with the notes of an identity, or without notes."""
    notes = UsedResponses(identity)
    return list(drivers.run(RECIPE, indices, ResponseStore(place), None, Limits(), RunStats(), notes=notes))


def note() -> Path:
    """Return the only file of notes."""
    (path,) = [path for path in (home() / NOTES).rglob("*") if path.is_file()]
    return path


def test_the_second_replay_renders_no_prompt_and_makes_the_same(place: str, rendered: list[str]) -> None:
    """Only the first dialogue of a later replay is rendered, and all dialogues are equal."""
    record(place)
    first = replayed(place)
    del rendered[:]
    assert replayed(place) == first == replayed(place, "")
    assert rendered.count("skeleton") == 1 + NUMBER


def test_another_plan_has_other_notes(place: str, rendered: list[str]) -> None:
    """Notes belong to an identity; without one, nothing is noted."""
    record(place)
    replayed(place, "")
    assert not (home() / NOTES).exists()
    replayed(place)
    del rendered[:]
    replayed(place, OTHER)
    assert rendered.count("answers") == NUMBER


def test_a_part_is_added_to_the_notes(place: str, rendered: list[str]) -> None:
    """Replays of parts of a plan add to each other's notes, and the first dialogue of each is rendered."""
    record(place)
    replayed(place, indices=range(5))
    replayed(place, indices=range(5, NUMBER))
    del rendered[:]
    replayed(place)
    assert rendered.count("answers") == 1


def test_runs_at_the_same_time_add_to_the_notes(place: str, rendered: list[str]) -> None:
    """Runs that replay parts of a plan at the same time, as processes of a build do, keep each other's notes."""
    record(place)
    parts = (range(5), range(5, NUMBER))
    runs = [
        drivers.run(RECIPE, part, ResponseStore(place), None, Limits(), RunStats(), notes=UsedResponses(PLAN))
        for part in parts
    ]
    for run in runs:
        next(run)
    for run in runs:
        list(run)
    del rendered[:]
    replayed(place)
    assert rendered.count("answers") == 1


def test_another_response_leads_to_other_requests(place: str) -> None:
    """After a refresh of user messages and answers, a replay with old notes makes the new dialogues."""
    record(place)
    before = replayed(place)
    store = ResponseStore(place, refresh=True)
    steps = drivers.run(RECIPE, range(NUMBER), ResponseStore(place), None, Limits(), RunStats())
    for dialogue in steps:
        refresh(store, dialogue)
    store.close()
    after = replayed(place)
    assert after == replayed(place, "")
    assert all(one.user_messages != other.user_messages for one, other in zip(before, after))
    assert replayed(place) == after


def refresh(store: ResponseStore, dialogue: Dialogue) -> None:
    """Store another last user message for a dialogue, and answers to it."""
    from consistent_chat.dialogue.at_once import fill
    from consistent_chat.plan.plan import Plan

    steps = fill(RECIPE, Plan(RECIPE), dialogue.spec.index)
    skeleton = next(steps)
    second = steps.send(store.keep(skeleton, spoiled(good(skeleton), "And what does it cost to go there by boat?")))
    store.keep(second, good(second))


def damaged(content: bytes) -> bytes:
    """Return a note with another last bit."""
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"\xff" * 5_000, damaged, lambda content: content[:-48]])
def test_a_damaged_note_is_none(place: str, rendered: list[str], damage: Callable[[bytes], bytes]) -> None:
    """A truncated, invalid or corrupted file of notes is ignored and written anew."""
    record(place)
    first = replayed(place)
    written = note().read_bytes()
    note().write_bytes(damage(written))
    del rendered[:]
    assert replayed(place) == first
    assert rendered.count("answers") == NUMBER
    assert note().read_bytes() == written


@pytest.mark.parametrize(
    "forge",
    [
        lambda used: used[:1],  # too few
        lambda used: [*used, used[-1]],  # too many
        lambda used: used[::-1],
        lambda used: [(key, "0" * 32) for key, _ in used],
        lambda used: [("sha256:" + "0" * 64, digest) for _, digest in used],
    ],
)
def test_a_note_that_does_not_fit_is_none(place: str, forge: Callable[[list[tuple[str, str]]], object]) -> None:
    """Notes with too few, too many, unknown or interchanged responses change no row."""
    record(place)
    first = replayed(place)
    notes = UsedResponses(PLAN)
    noted = {index: notes.of(index) for index in range(NUMBER)}
    for index, used in noted.items():
        notes._span(index).entries[index] = b""  # or `add` would see that the first key differs
        notes.add(index, forge(used))  # type: ignore[arg-type]
    notes.save()
    assert replayed(place) == first
    assert UsedResponses(PLAN).of(1) == noted[1]


def test_wrong_notes_are_found_and_dropped(place: str) -> None:
    """If the first dialogue was noted with another first key, the notes of all dialogues are dropped."""
    record(place)
    first = replayed(place)
    notes = UsedResponses(PLAN)
    noted = [notes.of(index) for index in range(NUMBER)]
    for index in range(NUMBER):
        notes._span(index).entries[index] = b""
        notes.add(index, noted[index - 1])
    notes.save()
    assert replayed(place) == first
    assert [UsedResponses(PLAN).of(index) for index in range(NUMBER)] == noted


def test_an_unusable_response_is_never_noted(place: str) -> None:
    """A dialogue that needed another draw is not noted, because its requests do not follow from one another."""
    from consistent_chat.dialogue.at_once import fill
    from consistent_chat.plan.plan import Plan

    store = ResponseStore(place)
    steps = fill(RECIPE, Plan(RECIPE), 0)
    again = steps.send(store.keep(next(steps), Response("no JSON")))
    second = steps.send(store.keep(again, good(again)))
    store.keep(second, good(second))
    store.close()
    for _ in range(2):
        assert len(replayed(place, indices=[0])[0].failed) == 1
    assert not (home() / NOTES).exists()


def test_few_plans_are_kept(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes of the plans that were replayed long ago are removed."""
    monkeypatch.setattr(module, "MOST_PLANS", 2)
    record(place)
    for digit in "012":
        replayed(place, digit * 64)
    assert len(list((home() / NOTES).iterdir())) == 2
    assert (home() / NOTES / ("2" * 64)).exists()


def test_nothing_is_noted_without_room(place: str) -> None:
    """If the folder of notes cannot be written, the replay works."""
    record(place)
    (home() / NOTES).write_text("This is no folder.")
    made = replayed(place)
    (home() / NOTES).unlink()
    assert replayed(place) == made


def test_notes_of_a_long_plan_are_in_several_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes of dialogues that are far apart are found again, in any order."""
    monkeypatch.setattr(module, "SPAN", 4)
    used = {index: [(f"sha256:{index:064x}", f"{number:032x}") for number in range(index % 3)] for index in range(20)}
    notes = UsedResponses(PLAN)
    for index in (*range(0, 20, 2), *range(1, 20, 2)):
        notes.add(index, used[index])
    notes.save()
    assert {index: UsedResponses(PLAN).of(index) for index in range(20)} == used


KINDS = {
    "plain": {},
    "reasoning": {"reasoning": True},
    "no checks": {"checks": False},
    "languages": {"language": ["English", "German"], "checks": False},
    "template": {"system_prompt": "You help with {{ topic }}.", "instructions": {"users": "Be {{ manner }}."}},
    "judge": {"judge_model": "claude-haiku-4-5"},
    "two answers": {"judge_model": "claude-haiku-4-5", "num_answers": 2},
    "user model": {"user_model": "claude-sonnet-4-6"},
    "turn by turn": {"answers": "turn_by_turn"},
}


@pytest.mark.parametrize("fields", KINDS.values(), ids=list(KINDS))
def test_dialogues_of_all_kinds_are_equal_with_notes(place: str, fields: dict[str, object]) -> None:
    """Plain dialogues are made without requests, others by their steps; a replay without notes makes the same."""
    recipe = replace(RECIPE, **fields)  # type: ignore[arg-type]

    def told(request: Request, attempt: int) -> Response:
        usable = Response(f"An answer to {request.key}.") if request.schema is None else good(request)
        return replace(usable, reasoning="Let me think.")

    def run(serving: object, notes: UsedResponses) -> list[Dialogue]:
        opener = None if serving is None else lambda: serving
        store = ResponseStore(place)
        return list(drivers.run(recipe, range(NUMBER), store, opener, Limits(), RunStats(), notes=notes))  # type: ignore[arg-type]

    live = run(Answers(told), UsedResponses(PLAN))
    assert (home() / NOTES).exists()
    assert run(None, UsedResponses(PLAN)) == live == run(None, UsedResponses())


def test_a_plain_dialogue_sends_no_request(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first dialogue of a later replay has steps; one that has another first response has them, too."""
    record(place)
    first = replayed(place)
    started: list[int] = []
    real = NotedDialogues.steps

    def steps(self: object, index: int, *given: object) -> object:
        started.append(index)
        return real(self, index, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(NotedDialogues, "steps", steps)
    assert replayed(place) == first
    assert started == [0]


def test_notes_change_no_error_for_a_damaged_store(place: str) -> None:
    """With notes, a damaged pack raises what it raises without them."""
    record(place)
    replayed(place)
    (pack,) = Path(place, "packs").iterdir()
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)
    errors = []
    for identity in (PLAN, ""):
        with pytest.raises(DamagedRecord) as caught:
            replayed(place, identity)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


def test_what_was_read_ahead_is_dropped_when_a_response_is_kept(place: str) -> None:
    """A response that is kept after others were read ahead wins over a recorded one."""
    record(place)
    store, request = ResponseStore(place), request_of(0)
    old = store.find(request)
    assert old is not None
    store.read_ahead([request.key])
    new = store.keep(request, spoiled(good(request), "And what does it cost to go there by boat?"))
    assert store.find_used(request.key, new.record) == new != old
    store.read_ahead([request.key])
    assert store.find_used(request.key, new.record) == new
    store.close()


def test_keys_that_are_unknown_or_have_several_responses_are_left_to_find(place: str) -> None:
    """Only keys with one response are read ahead; of several responses, the one that wins is found."""
    record(place)
    request = request_of(0)
    write_pack([Record.of(request, spoiled(good(request), "Another."))], Path(place, "packs"))
    store = ResponseStore(place)
    wins, alone = store.find(request), store.find(request_of(1))
    assert wins is not None
    assert alone is not None
    store.read_ahead([request_of(1).key, request.key, "sha256:" + "0" * 64])
    assert store.find_used(request.key, wins.record) == wins
    assert store.find_used(request_of(1).key, alone.record) == alone
    assert store.find_used("sha256:" + "0" * 64, "") is None
