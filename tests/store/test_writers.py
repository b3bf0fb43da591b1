"""Tests of many processes on one store: nothing is lost, all readers agree, and no API key is written anywhere."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import load_dataset

from consistent_chat.cli import main
from consistent_chat.errors import ServingError
from consistent_chat.request import Request, Response
from consistent_chat.store import Flush, ResponseStore, compact, verify
from consistent_chat.store.location import home
from tests.answers import Answers, good
from tests.faults import Reply
from tests.provider import Call, Provider
from tests.stored import asked, processes

WRITERS, KEYS, EACH = 8, 60, 40
MODEL = "claude-sonnet-4-6"
ONE_EACH = {"num_dialogs_per_intent": 1}
SENTINEL = "sk-sentinel-3b1f8a6c5d"


def share(writer: int) -> list[int]:
    """Return the numbers of a writer's responses, in the writer's own random order; other writers keep most too."""
    return random.Random(writer).sample(range(KEYS), EACH)


def words(writer: int, number: int) -> Response:
    """Return the response that a writer receives for a request."""
    return Response(f"writer {writer} hears {number}")


def write(place: str, writer: int, barrier: threading.Barrier, refresh: bool) -> None:
    """Keep a writer's share of responses at the same time as others, and check that each is found at once."""
    barrier.wait()
    store = ResponseStore(place, refresh=refresh, flush=Flush(records=5, seconds=None))
    for number in share(writer):
        store.keep(asked(number), words(writer, number))
        assert store.find(asked(number)) == words(writer, number)
    store.close()


def tidy_until_told(place: str, barrier: threading.Barrier, done: Connection) -> None:
    """Compact the store repeatedly until told to stop."""
    barrier.wait()
    while not done.poll():
        if Path(place, "store.json").exists():
            compact(place)


@pytest.mark.slow
@pytest.mark.parametrize("refresh", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["record", "refresh"])
def test_writers_of_the_same_work_lose_nothing_and_readers_agree(place: str, refresh: bool) -> None:
    """Eight concurrent writers that flush, beside a process that compacts, lose no record.

    All readers then find the same response for each key.
    """
    barrier = processes.Barrier(WRITERS + 1)
    done, tell = processes.Pipe(duplex=False)
    tidier = processes.Process(target=tidy_until_told, args=(place, barrier, done), daemon=True)
    writers = [
        processes.Process(target=write, args=(place, writer, barrier, refresh), daemon=True)
        for writer in range(WRITERS)
    ]
    for process in (tidier, *writers):
        process.start()
    for process in writers:
        process.join()
    tell.send("done")
    tidier.join()
    assert [process.exitcode for process in (tidier, *writers)] == [0] * (WRITERS + 1)
    check_all_is_there(place)
    before = found(place)
    compact(place)
    assert len(list(Path(place).glob("packs/[!.]*"))) == 1
    assert found(place) == before
    check_all_is_there(place)


def found(*places: str) -> list[Response | None]:
    """Return the response that a reader finds for each request, or None."""
    store = ResponseStore(places)
    return [store.find(asked(number)) for number in range(KEYS)]


def check_all_is_there(place: str) -> None:
    """Check that the store has every writer's record and returns the right one for each key.

    Also check that `verify` finds no fault and that no journal is left.
    """
    records = list(ResponseStore(place).records())
    said = {(record.key, record.kept.answer()) for record in records}
    assert said == {(asked(n).key, words(writer, n)) for writer in range(WRITERS) for n in share(writer)}
    for number, response in enumerate(found(place)):
        kept = [record.kept for record in records if record.key == asked(number).key]
        best = min(kept, key=lambda one: (-one.generation, one.digest))
        assert response == best.answer()
    assert verify(place).faults == []
    assert list(Path(place).glob("journals/*.jsonl")) == []


@pytest.mark.slow
def test_the_first_layer_that_has_an_answer_decides(tmp_path: Path) -> None:
    """Of several locations with responses to the same request, the first one in order decides."""
    places = [str(tmp_path / name) for name in ("one", "two", "three")]
    for writer, place in enumerate(places):
        write(place, writer, threading.Barrier(1), refresh=False)
    for order in (places, places[::-1], [places[1], places[0], places[2]]):
        alone = [found(place) for place in order]
        assert found(*order) == [next(filter(None, answers), None) for answers in zip(*alone)]


class Own(Answers):
    """A model that gives each process different answers."""

    def __init__(self, process: int) -> None:
        super().__init__(lambda request, attempt: self.say(request, process), delay=0.002)

    @staticmethod
    def say(request: Request, process: int) -> Response:
        """Return an answer; for some processes every fifth is unusable, so that the processes take different paths."""
        if int(request.key[7:15], 16) % 5 == process % 5 and request.draw == 0:
            return Response(f"process {process} says nothing of use")
        plain = good(request)
        return Response(plain.text.replace(" of ", f" to {process} of "), "stop", 100, 50 + process)


def build(place: str, cache: str, barrier: threading.Barrier, process: int) -> None:
    """Build a small dataset at the same time as other processes."""
    barrier.wait()
    load(place, cache, serving=Own(process))


def load(place: str, cache: str, **given: Any) -> Any:
    """Load the dataset with a separate cache."""
    return load_dataset(
        "consistent_chat",
        **{"model": MODEL, "num_dialogs_per_intent": 3, "num_turns_per_dialog": 2, **given},
        responses=place,
        cache_dir=cache,
        split="train",
    )


@pytest.mark.slow
def test_processes_that_build_the_same_at_once_leave_one_dataset(place: str, tmp_path: Path) -> None:
    """After concurrent builds with different answers, all replays give the same rows, byte for byte."""
    barrier = processes.Barrier(3)
    builders = [
        processes.Process(target=build, args=(place, str(tmp_path / f"cache {number}"), barrier, number), daemon=True)
        for number in range(3)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0] * 3
    assert verify(place).faults == []
    one = load(place, str(tmp_path / "one"), mode="replay")
    compact(place)
    other = load(place, str(tmp_path / "other"), mode="replay")
    assert len(one) == 27
    assert one[:] == other[:]
    paths = [Path(made.cache_files[0]["filename"]) for made in (one, other)]
    assert paths[0] != paths[1]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def moody(call: Call) -> Reply | None:
    """Reply with a usable answer, an unusable one, or an error that repeats the key, as some servers do."""
    secret = call.headers.get("authorization", call.headers.get("x-api-key", ""))
    moods = [None, Reply.text("Sorry?"), Reply.error(529, f"Overloaded, {secret}"), None, Reply.wrong_count()]
    return moods[call.number % len(moods)]


@pytest.fixture
def everything_said(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """Yield a list for all logged and printed text, and check at the end that the key is not in it."""
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        yield said
        printed = capsys.readouterr()
        said += [caplog.text, printed.out, printed.err]
    assert [text for text in said if SENTINEL in text] == []


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("serving", "given"), [("anthropic", "environment"), ("openai", "api_key")])
def test_a_key_is_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything_said: list[str], serving: str, given: str
) -> None:
    """The API key is sent to the server, but appears in no store, cache, package folder or message."""
    monkeypatch.setattr("consistent_chat.drivers.retry.FIRST_PAUSE", 0.001)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "default cache")
    key = {"api_key": SENTINEL} if given == "api_key" else {}
    if not key:
        monkeypatch.setenv("ANTHROPIC_API_KEY" if serving == "anthropic" else "OPENAI_API_KEY", SENTINEL)
    with Provider(moody) as provider:
        url = provider.url if serving == "anthropic" else provider.openai_url
        place = str(tmp_path / "responses")
        made = load(place, str(tmp_path / "cache"), serving=serving, base_url=url, **key, **ONE_EACH)
        load(f"memory://{tmp_path.name}", str(tmp_path / "another"), serving=serving, base_url=url, **key, **ONE_EACH)
        assert len(made) == 9
        assert all(SENTINEL in repr(call.headers) for call in provider.requests)
    assert_no_key_in(tmp_path, home())
    with Provider(lambda call: Reply.error(401, f"invalid key {SENTINEL}")) as refusing:
        url = refusing.url if serving == "anthropic" else refusing.openai_url
        with pytest.raises((ServingError, datasets.exceptions.DatasetGenerationError)) as caught:
            load(str(tmp_path / "none"), str(tmp_path / "none cache"), serving=serving, base_url=url, **key)
    everything_said += messages(caught.value)
    assert main(["verify", place]) == 0
    assert_no_key_in(tmp_path, home())


def messages(error: BaseException | None) -> list[str]:
    """Return the texts of an error and of the errors that caused it."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return [text for one in chain for text in (repr(one), str(one))]


def assert_no_key_in(*folders: Path) -> None:
    """Check that neither the bytes nor the names of the files contain the key."""
    paths = [path for folder in folders for path in folder.rglob("*")]
    assert any(path.suffix == ".parquet" for path in paths)
    assert [path for path in paths if SENTINEL in str(path)] == []
    assert [path for path in paths if path.is_file() and SENTINEL.encode() in path.read_bytes()] == []
    assert not any(SENTINEL in name for name in os.listdir(os.getcwd()))
