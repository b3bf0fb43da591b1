"""Builds through batch APIs give the rows of an online build and submit no request twice."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from consistent_chat.drivers import BatchProgress, RunStats
from consistent_chat.errors import BatchesPending, BudgetSpent, RecipeError, ServingError, StoreError
from consistent_chat.row import rows
from consistent_chat.serving import anthropic_batches
from consistent_chat.serving.anthropic_batches import AnthropicBatches
from consistent_chat.serving.openai_batches import OpenAIBatches
from consistent_chat.store import Batch, BatchLog, ResponseStore, compact, verify
from tests import filling
from tests.answers import Answers
from tests.batches import BatchProvider
from tests.dialogue.turns import kind as kind_of
from tests.faults import Reply, run
from tests.filling import (
    KEY,
    KINDS,
    Filler,
    each_kind,
    entries,
    fated,
    filled,
    online,
    opened,
    recipe,
    replayed,
    some,
)
from tests.provider import Call

hurried, provider = filling.hurried, filling.provider


@each_kind
def test_a_batch_build_makes_the_dialogues_of_an_online_build(
    provider: BatchProvider, tmp_path: Path, kind: str
) -> None:
    """A batch build gives the same dialogues as an online build, from the same response for each key."""
    made = recipe(kind)
    filled(str(tmp_path / "batch"), provider.url, kind)
    assert replayed(str(tmp_path / "batch"), made) == online(str(tmp_path / "online"), provider, kind, made)
    stores = [ResponseStore(str(tmp_path / name)).records() for name in ("batch", "online")]
    kept = [sorted((one.key, json.loads(one.kept.response)["text"]) for one in records) for records in stores]
    assert kept[0] == kept[1]


def compared(call: Call) -> Reply | None:
    """Rate two answers by comparing their texts; give other answers as plain text, the first of them empty."""
    if kind_of(call) == "answer":
        return Reply.text(f"Number {call.mark} is as good." if call.attempt else " ")
    if call.names[0] != "first_reason":
        return None
    lines = re.findall(r'^"(first|second)": (.*?),?$', call.body["messages"][0]["content"], re.MULTILINE)[-2:]
    best = max(lines, key=lambda line: line[1])[0]
    return Reply.text(json.dumps({**call.texts, **{name: 5 if name == best else 2 for name, _ in lines}}))


@pytest.mark.slow
def test_pairs_by_batch_are_those_of_an_online_build(tmp_path: Path) -> None:
    """Pairs take six batches plus one for the unusable answers, and give the same rows as online."""
    pairs = {"layout": "preference", "preferences": {"rejected_model": "m"}, "intents": ("educational",)}
    made = replace(recipe(count=3), judge_model="claude-haiku-4-5", **pairs)
    with BatchProvider(compared) as provider:
        provider.script_online()
        filled(str(tmp_path / "batch"), provider.url, made=made)
        by_batch = replayed(str(tmp_path / "batch"), made)
        stages = [{kind_of(call) for call in batch.calls.values()} for batch in provider.submitted]
    with BatchProvider(compared) as provider:
        provider.script_online()
        one_by_one = online(str(tmp_path / "online"), provider, "anthropic", made)
    assert stages == [{"skeleton"}, {"answers"}, {"judge"}, {"answer"}, {"answer"}, {"judge"}, {"judge"}]
    assert [rows(one, made) for one in by_batch] == [rows(one, made) for one in one_by_one]
    assert {one.pair and one.pair.is_own_better for one in by_batch} == {True}


@each_kind
def test_a_stage_is_one_batch(provider: BatchProvider, place: str, kind: str) -> None:
    """One batch has all skeletons and the next has all answers."""
    filled(place, provider.url, kind)
    stages = [{call.stage for call in batch.calls.values()} for batch in provider.submitted]
    assert stages == [{"skeleton"}, {"answers"}]
    assert [len(batch.calls) for batch in provider.submitted] == [9, 9]


@each_kind
def test_a_second_build_submits_nothing(provider: BatchProvider, place: str, kind: str) -> None:
    """A second build submits no batch and opens no serving, so it needs no key."""
    filled(place, provider.url, kind)
    filled(place, "http://127.0.0.1:9", kind, open_serving=lambda: pytest.fail("it is opened"))
    assert len(provider.submitted) == 2


@each_kind
def test_more_than_a_batch_takes_goes_into_several(
    provider: BatchProvider, place: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests beyond the maximum number per batch go into further batches, each as full as possible."""
    for batches in (AnthropicBatches, OpenAIBatches):
        monkeypatch.setattr(batches, "most_requests", 4)
    filled(place, provider.url, kind)
    assert [len(batch.calls) for batch in provider.submitted] == [4, 4, 1] * 2
    assert len(set(provider.digests)) == 18


def test_a_batch_is_no_larger_than_the_provider_takes(
    provider: BatchProvider, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No batch is larger than the provider's maximum number of bytes."""
    monkeypatch.setattr(AnthropicBatches, "most_bytes", 10_000)
    filled(place, provider.url)
    assert len(provider.submitted) > 4
    assert max(provider.sizes) <= 10_000


@each_kind
def test_begun_online_finished_by_batch_and_the_other_way_round(
    provider: BatchProvider, place: str, tmp_path: Path, kind: str
) -> None:
    """Online and batch builds continue each other on the same store, and no request is sent twice."""
    made = recipe(kind)
    online(place, provider, kind, made, count=4)
    filled(place, provider.url, kind)
    assert len(provider.online) == 8
    assert len(provider.digests) == 10
    grown = recipe(kind, 2)
    assert len(online(place, provider, kind, grown)) == 18
    assert len(provider.requests) == 36
    assert {call.attempt for call in provider.requests} == {0}


def test_a_temperature_goes_with_the_version_that_knows_it(provider: BatchProvider, place: str) -> None:
    """Batch requests have the `anthropic-version` header and the recipe's temperature."""
    filled(place, provider.url)
    assert provider.requests[0].headers["anthropic-version"] == "2023-06-01"
    assert provider.requests[0].body["temperature"] == 0.9


@each_kind
def test_the_cost_is_half(provider: BatchProvider, tmp_path: Path, kind: str) -> None:
    """The same calls cost half as much by batch as online."""
    all_stats = {way: RunStats() for way in ("batch", "online")}
    filled(str(tmp_path / "batch"), provider.url, kind, stats=all_stats["batch"])
    run(str(tmp_path / "online"), recipe(kind), opened(kind, provider.url), all_stats["online"])
    assert all_stats["batch"].calls == all_stats["online"].calls == 18
    assert all_stats["batch"].cost == pytest.approx((all_stats["online"].cost or 0) / 2)


@each_kind
def test_max_calls_cuts_a_wave(provider: BatchProvider, place: str, kind: str) -> None:
    """`max_calls` submits and collects 5 requests, and the next run continues with the rest."""
    with pytest.raises(BudgetSpent, match="max_calls=5"):
        filled(place, provider.url, kind, limits={"max_calls": 5})
    assert [len(batch.calls) for batch in provider.submitted] == [5]
    assert len(list(ResponseStore(place).records())) == 5
    filled(place, provider.url, kind)
    assert len(set(provider.digests)) == len(provider.digests) == 18


@pytest.mark.slow
def test_max_cost_is_judged_before_submission_at_the_price_of_batches(provider: BatchProvider, place: str) -> None:
    """The first batch's maximum cost is within `max_cost`, and what its answers leave pays for further batches."""
    stats = RunStats()
    filled(place, provider.url, limits={"max_cost": 0.05}, stats=stats)
    assert len(provider.submitted) > 2
    assert stats.calls == 18
    assert (stats.cost or 0) <= 0.05
    worst = sum(call.body["max_tokens"] for call in provider.submitted[0].calls.values()) * 15e-6 / 2
    assert 0.02 < worst <= 0.05


@pytest.mark.parametrize("role", ["model", "judge_model"])
def test_max_cost_without_a_known_price_is_refused_before_submission(
    provider: BatchProvider, place: str, role: str
) -> None:
    """A model or judge without a known price raises an error before anything is submitted or logged."""
    made = replace(recipe("openai"), **{role: "nobody-knows-it"})
    with pytest.raises(RecipeError, match="no price is known"):
        filled(place, provider.url, "openai", made, limits={"max_cost": 1.0})
    assert provider.submitted == entries(place) == []


@pytest.mark.slow
def test_near_duplicates_are_dropped_as_online(place: str, tmp_path: Path) -> None:
    """Near-duplicates are replaced as online, and their substitutes are submitted too."""
    made = recipe().__class__(
        model=KINDS["anthropic"], num_dialogs_per_intent=1, num_turns_per_dialog=2, drop_near_duplicates=0.7
    )
    said = Reply(edit=lambda good: good.replace("This is", "The very same words are said in all of these dialogues"))
    alike = some(said)
    provider = fated(alike, place, made=made)
    assert len(provider.submitted) > 2
    with BatchProvider(alike) as other:
        other.script_online()
        assert replayed(place, made) == online(str(tmp_path / "online"), other, "anthropic", made)


def test_a_wait_is_shown(place: str) -> None:
    """While waiting, the progress shows the number of finished requests and when the batch expires."""
    shown: list[BatchProgress] = []
    with BatchProvider(looks=3) as provider:
        filled(place, provider.url, watch=shown.append)
    assert [(progress.batches, progress.requests, progress.done) for progress in shown] == [(1, 9, 0)] * 4
    assert all(progress.expires for progress in shown)


@each_kind
def test_a_large_order_is_sent_in_pieces(
    provider: BatchProvider, place: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large batch is sent in pieces, and all requests arrive."""
    monkeypatch.setattr(anthropic_batches, "PIECE", 1_000)
    filled(place, provider.url, kind)
    assert len(provider.digests) == 18


@pytest.mark.parametrize(
    "place_of_results",
    ["{url}/elsewhere/{id}?signed=a%2Fb", "/elsewhere/{id}", "http://other.test/elsewhere/{id}",
     "http://other.test/v1/messages/batches/{id}/results"],
)  # fmt: skip
def test_results_are_fetched_where_they_are_said_to_be(
    provider: BatchProvider, place: str, place_of_results: str
) -> None:
    """Results are read at any address that the provider names, but never from another host, which would get the key."""
    provider.results_at = place_of_results
    filled(place, provider.url)
    assert len(replayed(place, recipe())) == 9


def test_a_serving_without_batches_is_refused_before_anything(place: str) -> None:
    """A serving without a batch API raises an error before the store is created."""
    with pytest.raises(RecipeError, match="Answers has no batch API"):
        filled(place, "", open_serving=Answers)
    assert not Path(place).exists()


def test_a_batch_of_another_serving_is_not_asked_of_this_one(provider: BatchProvider, place: str) -> None:
    """A batch that was submitted to another serving raises an error that names that serving."""
    made = recipe("openai")
    with pytest.raises(BatchesPending):
        filled(place, provider.url, "openai", made, waits=False)
    with pytest.raises(ServingError, match=r"submitted to 'openai'.*--forget 1"):
        filled(place, provider.url, "anthropic", made)


def test_a_store_that_cannot_keep_the_record_is_refused_before_submission(
    provider: BatchProvider, tmp_path: Path
) -> None:
    """A store in memory or without write access raises an error before submission, because the batch would be lost."""
    with pytest.raises(StoreError, match="ends with this process"):
        filled("memory://responses", provider.url)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="cannot be"):
        filled(str(tmp_path / "file"), provider.url)
    assert provider.submitted == []


def test_the_log_holds_no_secret_and_no_address(provider: BatchProvider, place: str) -> None:
    """The files of the batch log contain neither the API key nor the server's address."""
    with pytest.raises(BatchesPending):
        filled(place, provider.url, waits=False)
    for path in Path(place, "batches").iterdir():
        content = path.read_bytes()
        assert KEY.encode() not in content
        assert b"127.0.0.1" not in content


def test_verify_and_pack_leave_batches_alone(provider: BatchProvider, place: str) -> None:
    """`verify` and `compact` ignore open batches, because they are not responses."""
    with pytest.raises(BatchesPending):
        filled(place, provider.url, waits=False)
    assert verify(place).faults == []
    compact(place)
    filled(place, provider.url)
    assert len(provider.submitted) == 2
    assert verify(place).faults == []


@pytest.mark.slow
@each_kind
def test_two_runs_at_the_same_time_submit_once(provider: BatchProvider, place: str, kind: str) -> None:
    """Three runs at the same time submit each request once, because later runs wait for the first run's batches."""
    fillers = [Filler(place, provider, kind) for _ in range(3)]
    for filler in fillers:
        filler.finish()
    assert len(set(provider.digests)) == len(provider.digests) == 18
    assert len(replayed(place, recipe(kind))) == 9


def test_the_number_of_an_entry_is_taken_once(place: str, tmp_path: Path) -> None:
    """Only one of two entries with the same number can be created in the batch log."""
    (tmp_path / "requests.jsonl").write_text("")
    log = BatchLog(place)
    log.prepare()
    first, second = (Batch(1, "anthropic", "a-model", 0) for _ in range(2))
    assert log.begin(first, tmp_path / "requests.jsonl")
    assert not log.begin(second, tmp_path / "requests.jsonl")
    assert entries(place) == [first]
    assert len(list(Path(place, "batches").iterdir())) == 2
