"""After faults of batches, requests or connections, every request is answered or an error explains why."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistent_chat.drivers import RunStats, batch, batch_poll
from consistent_chat.drivers.batch_client import batch_price
from consistent_chat.drivers.batch_poll import READINGS
from consistent_chat.errors import BatchesPending, ServingError, UnfilledSlot
from consistent_chat.prices import Tokens
from consistent_chat.serving import wire
from consistent_chat.store import BatchLog, ResponseStore, verify
from tests import filling
from tests.batches import BatchProvider
from tests.faults import HARMLESS, UNUSABLE, Reply
from tests.filling import (
    KINDS,
    each_kind,
    entries,
    fated,
    filled,
    first_time,
    online,
    recipe,
    replayed,
    some,
    without_ids,
)
from tests.provider import Call

hurried, provider = filling.hurried, filling.provider


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize(
    "fate", ["expired", "canceled", "lost", Reply.error(529, "Overloaded"), Reply.error(500, "Oh")]
)
def test_what_was_not_answered_is_asked_again(place: str, tmp_path: Path, kind: str, fate: str | Reply) -> None:
    """Only the unanswered requests are submitted again, and the dialogues are those of an online build."""
    provider = fated(some(fate), place, kind)
    asked = [len(batch.calls) for batch in provider.submitted]
    again = sum(call.attempt == 1 for call in provider.requests)
    assert again > 0
    assert sum(asked) == 18 + again
    with BatchProvider() as other:
        expected = online(str(tmp_path / "online"), other, kind, recipe(kind))
    assert without_ids(replayed(place, recipe(kind))) == without_ids(expected)


@each_kind
def test_a_whole_batch_may_expire(place: str, kind: str) -> None:
    """A batch whose requests all expired is submitted again."""
    provider = fated(first_time("expired"), place, kind)
    assert [len(batch.calls) for batch in provider.submitted] == [9] * 4
    assert len(replayed(place, recipe(kind))) == 9


@each_kind
def test_a_provider_that_never_answers_is_given_up(place: str, kind: str) -> None:
    """After 5 waves without an answer, the run stops with the provider's last error."""
    with (
        BatchProvider(lambda call: Reply.error(500, "Out of order")) as provider,
        pytest.raises(ServingError, match=r"5 waves .* Out of order"),
    ):
        filled(place, provider.url, kind)
    assert len(provider.submitted) == batch.FRUITLESS


FAULTY = {
    "anthropic": '{"content": [], "stop_reason": null, "usage": {"input_tokens": 900, "output_tokens": 100}}',
    "openai": '{"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": 100}}',
}
"""Answers without a text that are billed."""
REPORTED = {
    "anthropic": '{"error": {"message": "Lost"}, "usage": {"input_tokens": 900, "output_tokens": 100}}',
    "openai": '{"error": {"message": "Lost"}, "usage": {"prompt_tokens": 900, "completion_tokens": 100}}',
}
"""Answers that report an error and are billed."""


@each_kind
@pytest.mark.parametrize("bodies", [FAULTY, REPORTED], ids=["faulty", "reported"])
def test_faulty_results_are_asked_again_and_paid_for(
    place: str, kind: str, bodies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A faulty answer in a batch costs its request one more try, and the tokens that it states are counted once."""
    monkeypatch.setattr(batch_poll, "READINGS", 2)
    reply, stats = Reply(garble=lambda body: bodies[kind].encode()), RunStats()

    def fate(call: Call) -> Reply | str | None:
        return {0: reply, 1: "lost"}.get(call.number)  # because of the lost one the first results are read twice

    with BatchProvider(fate) as provider:
        filled(place, provider.url, kind, stats=stats)
    price = batch_price(KINDS[kind])
    assert price is not None
    usage = [record.kept.answer() for record in ResponseStore(place).records()]
    paid = [Tokens(each.input_tokens or 0, each.output_tokens or 0) for each in usage] + [Tokens(900, 100)]
    assert (stats.calls, len(provider.requests)) == (18, 20)
    assert stats.cost == pytest.approx(sum(map(price.of, paid)))


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize("name", [name for name in UNUSABLE if "5 MB" not in name])
def test_unusable_answers_are_drawn_again(place: str, tmp_path: Path, kind: str, name: str) -> None:
    """Unusable answers are stored and drawn again, and the dialogues are those of an online build."""
    provider = fated(some(UNUSABLE[name]), place, kind)
    assert len(provider.submitted) > 2
    with BatchProvider(some(UNUSABLE[name])) as other:
        other.script_online()
        expected = online(str(tmp_path / "online"), other, kind, recipe(kind))
    assert without_ids(replayed(place, recipe(kind))) == without_ids(expected)


@each_kind
@pytest.mark.parametrize("name", HARMLESS)
def test_odd_forms_are_read(place: str, kind: str, name: str) -> None:
    """Unusual but harmless response formats are read without another batch."""
    if name == "byte order mark":
        pytest.skip("it would stand in the middle of a line")
    provider = fated(lambda call: HARMLESS[name], place, kind)
    assert len(provider.submitted) == 2


@each_kind
def test_a_model_that_writes_nothing_usable_ends_the_run(place: str, kind: str) -> None:
    """A model with only unusable answers stops the run after one wave of 36 requests."""
    with (
        BatchProvider(lambda call: Reply.text("The weather is fine.")) as provider,
        pytest.raises(UnfilledSlot, match="36 consecutive responses were unusable"),
    ):
        filled(place, provider.url, kind, recipe(kind, 4))
    assert len(provider.submitted) == 1


def test_requests_that_are_refused_end_the_run(place: str) -> None:
    """If the provider rejects all requests, the run stops after one batch with the provider's message."""
    with (
        BatchProvider(lambda call: Reply.error(400, "messages: too odd")) as provider,
        pytest.raises(ServingError, match=r"messages: too odd.*Stopping"),
    ):
        filled(place, provider.url)
    assert len(provider.submitted) == 1
    assert not any(entry.is_open for entry in entries(place))


@each_kind
def test_one_request_that_is_refused_for_ever_ends_the_run(place: str, kind: str) -> None:
    """A request that is always rejected stops the run after three attempts, and the other 16 responses are kept."""
    with BatchProvider(lambda call: Reply.error(400, "too odd") if call.body == first[0].body else None) as provider:
        first = provider.requests
        with pytest.raises(ServingError, match="too odd"):
            filled(place, provider.url, kind)
    assert sum(call.body == first[0].body for call in provider.requests) == 3
    assert len(list(ResponseStore(place).records())) == 16


@each_kind
def test_a_form_that_the_server_does_not_take_is_found_out(place: str, kind: str) -> None:
    """If the server rejects a request field, the requests are submitted again without that field."""
    field = {"anthropic": "output_config", "openai": "response_format"}[kind]
    refusal = Reply.error(400, f"{field}: Extra inputs are not permitted")
    provider = fated(lambda call: refusal if field in call.body else None, place, kind)
    assert field in provider.requests[0].body
    assert field not in provider.requests[-1].body
    assert len(replayed(place, recipe(kind))) == 9


@each_kind
@pytest.mark.parametrize("step", ["received", "created", "look", "results"])
def test_a_connection_that_breaks_does_not_lead_to_two_batches(
    provider: BatchProvider, place: str, kind: str, step: str
) -> None:
    """After a broken connection, the run looks up whether the batch exists and submits no request twice."""
    provider.script_for[step] = Reply.reset()
    filled(place, provider.url, kind)
    assert len(set(provider.digests)) == len(provider.digests) == 18
    assert len(replayed(place, recipe(kind))) == 9


@pytest.mark.slow
@each_kind
def test_a_crowded_server_is_waited_for(provider: BatchProvider, place: str, kind: str) -> None:
    """After a rate limit or overload response, the run retries the submission or the poll."""
    provider.script_for["received"] = Reply.error(429, "Too many", {"retry-after": "0"})
    provider.script_for["look"] = Reply.error(529, "Overloaded")
    filled(place, provider.url, kind)
    assert len(provider.digests) == 18


@each_kind
def test_a_server_without_batches_says_so(place: str, kind: str) -> None:
    """A server without a batch API raises one error that suggests the online driver, which then builds the dataset."""
    with BatchProvider(offers=()) as provider:
        with pytest.raises(ServingError, match=r"has no batch API.*driver='online'"):
            filled(place, provider.url, kind)
        assert len(online(place, provider, kind, recipe(kind))) == 9


@each_kind
def test_a_server_that_does_not_list_batches_will_do(place: str, kind: str) -> None:
    """A server that cannot list its batches works as long as no connection breaks."""
    with BatchProvider(offers=("batches",)) as provider:
        filled(place, provider.url, kind)
    assert len(provider.submitted) == 2


@each_kind
def test_results_without_a_bound_end_in_one_error(place: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results over the size limit raise one error that names the batch and the remedy; earlier results are kept."""
    monkeypatch.setattr(wire, "MOST_BYTES", 100_000)
    with BatchProvider(lambda call: Reply.text("x" * 200_000) if call.number == 3 else None) as provider:
        with pytest.raises(
            ServingError, match=r"sent an answer that exceeds the limit .* batch 1 \(.*batches --forget 1"
        ):
            filled(place, provider.url, kind)
        assert provider.asked["results"] <= 2 * READINGS
    checked = verify(place)
    assert checked.faults == []
    assert checked.responses > 0


@each_kind
def test_a_long_error_about_a_batch_is_read_in_part(place: str, kind: str) -> None:
    """An error response of 3 MB is read in part and shown in less than 1000 characters."""
    with BatchProvider() as provider:
        provider.script_for["look"] = Reply.error(404, "no " * 1_000_000)
        with pytest.raises(ServingError, match="has no batch API or does not know this batch") as told:
            filled(place, provider.url, kind)
    assert len(str(told.value)) < 1000


def test_a_submission_in_doubt_that_cannot_be_looked_up_is_said(place: str) -> None:
    """If a submission in doubt cannot be looked up, an error says what to do and nothing is submitted again."""
    with BatchProvider(offers=("batches",)) as provider:
        provider.script_for["created"] = Reply.reset()
        with pytest.raises(ServingError, match=r"Cannot determine whether.*--forget 1"):
            filled(place, provider.url)
        assert len(provider.submitted) == 1


def test_a_wrong_key_is_said(provider: BatchProvider, place: str) -> None:
    """A rejected key is logged as a refused submission, and the next run submits the batch."""
    provider.script_for["received"] = Reply.error(401, "invalid x-api-key")
    with pytest.raises(ServingError, match="The key was refused"):
        filled(place, provider.url)
    assert [entry.outcome for entry in entries(place)] == ["refused"]
    filled(place, provider.url)
    assert len(provider.digests) == 18


def test_a_batch_that_the_provider_gives_up_is_submitted_again(provider: BatchProvider, place: str) -> None:
    """A batch that OpenAI accepts and then fails, for example at its queue limit, is submitted again."""
    with pytest.raises(BatchesPending):
        filled(place, provider.url, "openai", waits=False)
    provider.submitted[0].status = "failed"
    filled(place, provider.url, "openai")
    assert [len(batch.calls) for batch in provider.submitted] == [9, 9, 9]
    assert len(replayed(place, recipe("openai"))) == 9


def test_batches_that_the_provider_always_gives_up_end_the_run(provider: BatchProvider, place: str) -> None:
    """If every batch fails at the provider, the run stops after five waves with the provider's message."""
    provider.status = "failed"
    with pytest.raises(ServingError, match=rf"{batch.FRUITLESS} waves.*failed to process batch 5.*token limit reached"):
        filled(place, provider.url, "openai")
    assert not any(entry.is_open for entry in entries(place))


@pytest.mark.slow
@pytest.mark.parametrize("reply", [Reply.error(503, "Down"), Reply.reset()], ids=["503", "reset"])
def test_a_file_that_does_not_arrive_is_sent_again(provider: BatchProvider, place: str, reply: Reply) -> None:
    """A failed file upload is retried, because no batch exists before the file has arrived."""
    provider.script_for["upload"] = reply
    filled(place, provider.url, "openai")
    assert [entry.outcome for entry in entries(place)] == ["completed: 9 of 9 answered"] * 2


def test_what_never_arrives_ends_the_run(provider: BatchProvider, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no submission arrives, the run stops with the provider's last error."""
    monkeypatch.setattr(batch, "FRUITLESS", 1)
    provider.script_for["received"] = Reply.error(500, "The disk is full")
    with pytest.raises(ServingError, match=r"returned no answer.*The disk is full"):
        filled(place, provider.url)
    assert [entry.outcome for entry in entries(place)] == ["never submitted"]


def test_results_that_tell_of_nothing_end_the_run(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that contain none of the requests stop the run with an error that says so."""
    monkeypatch.setattr(batch, "FRUITLESS", 1)
    with pytest.raises(ServingError, match="did not contain any of the requests"):
        fated(lambda call: "lost", place)


def test_a_later_wave_that_is_refused_as_a_whole_is_asked_again(place: str) -> None:
    """A later wave whose requests are all rejected is submitted again, because earlier requests were answered."""
    refusal = Reply.error(400, "too odd today")
    fated(lambda call: refusal if call.stage == "answers" and call.attempt == 0 else None, place)
    assert len(replayed(place, recipe())) == 9


def test_a_batch_that_the_provider_does_not_know_is_said(provider: BatchProvider, place: str) -> None:
    """A batch that the provider does not know raises an error that says how to forget it."""
    with pytest.raises(BatchesPending):
        filled(place, provider.url, waits=False)
    provider.submitted.clear()
    with pytest.raises(ServingError, match=r"batch 1 .* is lost, run `consistent-chat batches --forget 1`"):
        filled(place, provider.url)
    BatchLog(place).close(entries(place)[0], "given up")
    filled(place, provider.url)
    assert len(replayed(place, recipe())) == 9
