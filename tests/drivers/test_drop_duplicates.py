"""`drop_near_duplicates` replaces the same dialogues for every order of answers and builds."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.cli import main
from consistent_chat.duplicates import dialogue_text, near_duplicates
from consistent_chat.errors import ConsistentChatError, MissingResponse, UnfilledSlot
from consistent_chat.request import Request, Response
from tests.answers import Answers
from tests.drivers.similarity import similarity
from tests.provider import Call, Provider, Reply

pytestmark = pytest.mark.usefixtures("folder")

NOUNS = ["bread", "bees", "trains", "taxes", "moss", "glass", "rivers", "kites", "soup", "chalk"]


SUBJECTS = [" ".join(random.Random(number).choices(NOUNS, k=30)) for number in range(60)]


SMALL: dict[str, Any] = {
    "model": "claude-sonnet-4-6",
    "num_dialogs_per_intent": 8,
    "num_turns_per_dialog": 2,
    "intents": ["simulation", "educational", "transaction"],
}


DROP: dict[str, Any] = {**SMALL, "drop_near_duplicates": True}


def repeated(prompt: str, names: Any, subjects: int) -> str:
    """Return one of a few texts that depends on the prompt, with a suffix that makes each text slightly different."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return json.dumps({name: f"Of {name[-1]} {SUBJECTS[digest[0] % subjects]} {digest.hex()}" for name in names})


def repeating(subjects: int) -> Callable[[Call], Reply | None]:
    """Return the script of a model whose users talk about only a few subjects."""

    def script(call: Call) -> Reply | None:
        prompt = json.dumps(call.body["messages"])
        return Reply.text(repeated(prompt, call.names, subjects)) if call.stage == "skeleton" else None

    return script


class Repeating(Answers):
    """Give repetitive and some unusable answers, in an order that depends on a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(self._say)
        self.seed = seed

    def _say(self, request: Request, attempt: int) -> Response | None:
        if int(request.key[-2:], 16) < 30:
            return Response("Let me think about it.")
        if "user_1" not in request.schema["properties"]:
            return None
        return Response(repeated(request.messages[0]["content"], request.schema["properties"], 40))

    async def answer(self, request: Request) -> Response:
        self.delay = random.Random(f"{self.seed} {request.key}").random() / 100
        return await super().answer(request)


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Run a provider whose model repeats itself."""
    with Provider(repeating(40)) as running:
        yield running


def load(provider: Provider | None = None, cache: str = "cache", **given: Any) -> Any:
    """Load the dataset, calling the provider if there is one."""
    called = {} if provider is None else {"serving": "anthropic", "base_url": provider.url, "api_key": "a-key"}
    return load_dataset(
        "consistent_chat", split="train", cache_dir=cache, **{"responses": "responses", **called, **given}
    )


def compared(rows: Any) -> list[str]:
    """Return the text of each row that is compared."""
    return [dialogue_text([message["value"] for message in row["conversation"][::2]]) for row in rows]


@pytest.mark.slow
def test_what_is_dropped_is_filled_up(provider: Provider) -> None:
    """The number of rows per intent stays the same, no two are similar, and the first of similar ones is kept."""
    with_duplicates, without = load(provider, **SMALL), load(provider, **DROP)
    found = near_duplicates(compared(with_duplicates))
    assert 0.1 < found.rate < 0.6
    assert near_duplicates(compared(without)).matches == ()
    assert [p["index"] for p in without["provenance"]] == list(range(24))
    assert [p["intent"] for p in without["provenance"]] == [p["intent"] for p in with_duplicates["provenance"]]
    kept: list[str] = []
    for before, after in zip(with_duplicates, without):
        stays = not near_duplicates([*kept, *compared([before])]).matches
        assert (before == after) is stays
        kept += compared([after])


@pytest.mark.slow
def test_answers_are_compared_where_a_recipe_says_so() -> None:
    """With a threshold for answers, dialogues with similar answers are replaced, and `--failures` lists the answers."""
    alike = "Turn the blue valve to the left, wait for a minute, and then look whether any water still drips."

    def script(call: Call) -> Reply | None:
        if call.stage == "skeleton" or call.mark[0] in "0123456789":
            return Reply.text(
                json.dumps({name: f"{call.mark[n:]} {name} {call.mark}" for n, name in enumerate(call.names)})
            )
        return Reply.text(json.dumps({name: f"{alike} {name}" for name in call.names}))

    sides = {"user_messages": 0.9, "answers": 0.6}
    with Provider(script) as provider:
        by_users = load(provider, **SMALL, checks=False, drop_near_duplicates=0.9)
        by_both = load(provider, **SMALL, checks=False, drop_near_duplicates=sides)
    replayed = load(**SMALL, checks=False, drop_near_duplicates=sides, mode="replay", cache="other")
    copies = [sum(alike in str(talk) for talk in rows["conversation"]) for rows in (by_users, by_both)]
    assert copies[0] > 3
    assert copies[1] == 1
    assert by_both[:] == replayed[:]
    options = ["--model", SMALL["model"], "--intents", *SMALL["intents"], "--num-dialogs-per-intent", "8"]
    options += ["--num-turns-per-dialog", "2", "--checks", "false", "--responses", "responses"]
    dropping = ["--drop-near-duplicates", json.dumps(sides), "--output", "x.jsonl", "--failures", "failed.jsonl"]
    assert main(["build", *options, *dropping]) == 0
    failed = [json.loads(line) for line in Path("failed.jsonl").read_text("utf-8").splitlines()]
    assert {one["stage"] for one in failed} == {"answers"}
    assert all(re.fullmatch(r"answers [01]\.\d\d like dialogue \d+", one["detail"]) for one in failed)
    assert all(alike in json.loads(one["response"])["assistant_1"] for one in failed)


@pytest.mark.slow
def test_only_stand_ins_are_asked_for(provider: Provider) -> None:
    """After a build without dropping, a build with it requests only substitutes, and repeating it makes no calls."""
    load(provider, **SMALL)
    before = len(provider.requests)
    load(provider, **DROP)
    asked = len(provider.requests)
    load(provider, cache="again", **DROP)
    assert before == 48
    assert before < asked == len(provider.requests)


@pytest.mark.slow
def test_without_a_serving_a_stand_in_that_is_missing_is_named(provider: Provider) -> None:
    """Without a serving, a missing substitute raises `MissingResponse`, so a replay never drops too few dialogues."""
    load(provider, **SMALL)
    with pytest.raises(MissingResponse, match=r"Pass serving="):
        load(**DROP)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a location for the responses of one build that drops near-duplicates."""
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def first(store: str) -> Any:
    """Build a dataset without near-duplicates, with a model that also gives unusable answers."""
    return load(serving=Repeating(0), responses=store, cache=f"{store}-cache", **DROP)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("way", [{}, {"num_proc": 2}, {"mode": "replay"}, {"max_draws": 1}, {"streaming": True}])
def test_a_warm_store_gives_the_same_rows(way: dict[str, Any], first: Any, store: str) -> None:
    """Every way to read gives the same rows; a split that drops has one part, so `datasets` uses one process."""
    assert list(load(responses=store, **DROP, **way)) == list(first)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("max_concurrency", [1, 3, 100])
def test_a_cold_store_gives_the_same_rows(max_concurrency: int, first: Any) -> None:
    """The rows do not depend on the concurrency or on the order in which answers arrive."""
    made = load(serving=Repeating(max_concurrency), max_concurrency=max_concurrency, **DROP)
    assert list(made) == list(first)


def test_a_larger_dataset_begins_with_the_smaller(first: Any, store: str) -> None:
    """A larger dataset without near-duplicates begins with the rows of the smaller one."""
    smaller = load(responses=store, **{**DROP, "num_dialogs_per_intent": 5})
    assert list(smaller) == list(first)[:15]


@pytest.mark.slow
def test_a_threshold_of_ones_own(provider: Provider) -> None:
    """A threshold of 1 drops only identical dialogues, and a threshold of 0.3 leaves no pair above 0.3."""
    assert load(provider, **SMALL, drop_near_duplicates=1)[:] == load(provider, **SMALL)[:]
    assert near_duplicates(compared(load(provider, **SMALL, drop_near_duplicates=0.3)), 0.3).matches == ()


@pytest.mark.slow
def test_what_was_given_up_is_listed(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    """`--failures` lists each dropped dialogue with its reason, match and text, and the build shows their number."""
    options = ["--model", "claude-sonnet-4-6", "--num-dialogs-per-intent", "20", "--num-turns-per-dialog", "2"]
    options += ["--intents", "simulation", "--serving", "anthropic", "--base-url", provider.url, "--api-key", "a-key"]
    options += ["--responses", "responses", "--drop-near-duplicates", "0.5"]
    assert main(["build", *options, "--output", "made.jsonl", "--failures", "failures.jsonl"]) == 0
    failures = [json.loads(line) for line in Path("failures.jsonl").read_text().splitlines()]
    assert failures
    assert {failure["reason"] for failure in failures} == {"near_duplicate"}
    assert f"({len(failures)} near_duplicate)" in capsys.readouterr().err
    rows = [json.loads(line) for line in Path("made.jsonl").read_text().splitlines()]
    for failure in failures:
        like, earlier = failure["detail"].split(" like dialogue ")
        said = dialogue_text([*json.loads(failure["response"]).values()])
        found = near_duplicates([*compared([rows[int(earlier)]]), said], 0.5)
        assert f"{found.matches[0].similarity:.2f}" == like
        assert (failure["stage"], failure["draw"]) == ("skeleton", 0)


@pytest.mark.slow
def test_a_model_that_says_one_thing_alone_costs_little() -> None:
    """A model that always says the same stops the run early with an error that suggests remedies."""
    with Provider(repeating(1)) as provider, pytest.raises(UnfilledSlot) as caught:
        load(provider, **{**DROP, "num_dialogs_per_intent": 1000, "max_concurrency": 4})
    assert str(caught.value).startswith(
        "Dialogue 1 could not be made: 25 specs failed, 25 unusable answers, the last: near"
    )
    assert str(caught.value).endswith(
        "it repeats itself: try a higher temperature, a larger taxonomy or a higher drop_near_duplicates."
    )
    assert len(provider.requests) < 2 * (2 * 256 + 25) + 20


def test_without_datasketch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, provider: Provider) -> None:
    """Without datasketch, an error before any call says what to install; other recipes do not need it."""
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(ConsistentChatError, match=r'not installed. Run pip install "datasketch>=2.0"'):
        load(provider, **DROP)
    assert not provider.requests
    assert len(load(provider, **SMALL)) == 24


@pytest.mark.slow
def test_splits_drop_each_for_itself(provider: Provider) -> None:
    """Each split drops near-duplicates separately, because splits share no topic."""
    parts = {"num_dialogs_per_intent": None, "splits": {"train": 5, "test": 3}}
    made = {split: load_dataset(
        "consistent_chat", serving="anthropic", base_url=provider.url, api_key="a-key", responses="responses",
        split=split, **{**DROP, **parts},
    ) for split in ("train", "test")}  # fmt: skip
    assert {split: len(rows) for split, rows in made.items()} == {"train": 15, "test": 9}
    assert all(near_duplicates(compared(rows)).matches == () for rows in made.values())


def test_the_subjects_of_these_tests_are_not_alike() -> None:
    """The subjects differ enough from each other that these tests are meaningful."""
    pairs = itertools.combinations(SUBJECTS, 2)
    assert max(similarity(one, other) for one, other in pairs) < 0.2
