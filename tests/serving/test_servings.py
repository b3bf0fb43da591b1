"""Test all servings over real sockets, with the real clients, against a provider on this machine."""

from __future__ import annotations

import asyncio
import json
import pickle
import warnings
from typing import Any

import pytest

from consistent_chat.dialogue import parse
from consistent_chat.errors import RefusedAccess, RefusedRequest, TransportError
from consistent_chat.request import canonical_json
from tests import servings
from tests.provider import Call, Provider, Reply
from tests.servings import KEY, NAMES, OLD, asked, opened, request, said

online, kind = servings.online, servings.kind


def test_a_good_answer_is_usable_and_counted(kind: str) -> None:
    """An answer has texts for all keys of the schema and the provider's own token counts."""
    response = said(kind)
    assert len(parse.messages(response, NAMES)) == 2
    assert response.finish == "stop"
    assert response.input_tokens > 0
    assert response.output_tokens > 0


def test_the_request_is_sent_whole(kind: str) -> None:
    """A request contains the model, the prompts, the temperature, the limit, the schema, and the key in its header."""
    with Provider() as provider:
        asked(opened(kind, provider), request(max_tokens=777))
    (call,) = provider.requests
    sent = json.dumps(call.body)
    assert call.names == NAMES
    assert call.stage == "skeleton"
    assert call.body["model"] == OLD
    assert call.body["temperature"] == 0.9
    assert call.body["max_tokens"] == 777
    assert "Two messages about bread." in sent
    assert "Answer with the keys" in sent
    assert call.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("reply", [Reply.fenced(), Reply.in_prose(), Reply.no_usage()])
def test_packaging_and_missing_counts_do_no_harm(kind: str, reply: Reply) -> None:
    """The text is returned word for word, and token counts that the provider omits are None."""
    response = said(kind, reply)
    assert len(parse.messages(response, NAMES)) == 2
    assert (response.input_tokens is None) == (not reply.usage)


def test_a_wrong_number_of_messages_is_an_answer_too(kind: str) -> None:
    """A wrong number of messages is returned as an answer: the parser refuses it, and the store keeps it."""
    assert len(json.loads(said(kind, Reply.wrong_count(1)).text)) == 3


def test_a_cut_answer_says_so(kind: str) -> None:
    """A truncated answer has the finish "length", whatever the provider calls it."""
    assert said(kind, Reply.truncation()).finish == "length"


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_passing_faults_are_for_the_driver_to_try_again(kind: str, status: int) -> None:
    """A temporary error is raised after a single request, because no client retries on its own."""
    with Provider(lambda call: Reply.error(status, "Busy", {"retry-after": "7"})) as provider:
        (error,) = asked(opened(kind, provider), request())
    assert isinstance(error, TransportError)
    assert str(error).endswith(f"answered {status}: Busy")
    assert error.retry_after == 7.0
    assert len(provider.requests) == 1


@pytest.mark.parametrize("reply", [Reply.html_page(), Reply.cut_body(), Reply.hang(), Reply.body(200, '{"id": "a')])
def test_what_is_no_answer_is_a_passing_fault(kind: str, reply: Reply) -> None:
    """A proxy's page, a broken connection, a timeout and an incomplete body are temporary errors."""
    assert isinstance(said(kind, reply, timeout=0.3), TransportError)


@pytest.mark.parametrize("body", ["[]", "null", "{}", '"text"', '{"error": {"message": "down"}}', "[" * 100_000])
def test_json_that_is_no_answer_is_a_passing_fault(kind: str, body: str) -> None:
    """JSON that is not an answer is a temporary error; nothing that a server sends can break the reader."""
    assert isinstance(said(kind, Reply.body(200, body)), TransportError)


def test_a_server_that_is_away_is_a_passing_fault(kind: str) -> None:
    """An unreachable server is a temporary error, and the message names the address."""
    with Provider() as provider:
        serving = opened(kind, provider)
    (error,) = asked(serving, request())
    assert isinstance(error, TransportError)
    assert str(error).startswith(f"The connection to the server at {provider.url}")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_says_where_it_is_from(kind: str, status: int) -> None:
    """The error about a refused key names the variable of the key and is not retried."""
    error = said(kind, Reply.error(status, "no"))
    variable = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY", "huggingface": "HF_TOKEN"}[kind]
    assert isinstance(error, RefusedAccess)
    assert str(error).startswith("The key was refused.")
    assert f"Check {variable} or api_key" in str(error)


def test_an_unknown_model_is_named(kind: str) -> None:
    """The error about a 404 names the model and base_url, because either may be wrong."""
    with Provider() as provider:
        (error,) = asked(opened(kind, provider), request("no-such-model"))
    assert isinstance(error, RefusedAccess)
    assert str(error).endswith("Check the model name, 'no-such-model', and base_url.")


def test_a_wrong_key_is_refused_by_the_provider(kind: str) -> None:
    """A wrong key is refused by the provider, and the message does not contain it although it is short."""
    error = said(kind, api_key="wrong-key")
    assert str(error).startswith("The key was refused.")
    assert "wrong-key" not in str(error)


@pytest.mark.parametrize("status", [400, 413, 422, 429, 500])
def test_errors_quote_the_server_but_never_a_key(kind: str, status: int) -> None:
    """An error quotes the server's words, shortened and without anything that looks like a key."""
    error = said(kind, Reply.error(status, f"Bad thing with {KEY}, sk-proj-****abcd, Bearer x.y " + "long " * 200))
    assert "Bad thing with [key], [key], [key] long" in str(error)
    assert len(str(error)) < 600
    assert isinstance(error, TransportError) == (status in (429, 500))
    assert KEY not in repr(error)
    assert error.__cause__ is None


@pytest.mark.parametrize(
    "body",
    ['{"error": "in plain words"}', '{"message": "in plain words"}', '{"detail": [{"msg": "in plain words"}]}'],
)
def test_the_message_is_found_in_any_common_form(kind: str, body: str) -> None:
    """The message is found in each common form of error, because servers of one protocol use different ones."""
    assert "in plain words" in str(said(kind, Reply.body(400, body)))


def test_a_server_that_takes_no_temperature_gets_none_and_one_warning(kind: str) -> None:
    """After one warning, the rest of the run continues without a temperature if the server takes none."""

    def script(call: Call) -> Reply | None:
        return Reply.error(400, "Unsupported value: 'temperature'") if "temperature" in call.body else None

    requests = [request("some-model", draw=draw) for draw in range(3)]
    with Provider(script) as provider, pytest.warns(UserWarning, match="without the recipe's temperature") as seen:
        responses = asked(opened(kind, provider), *requests)
    assert [response.finish for response in responses] == ["stop"] * 3
    assert len(seen) == 1
    assert "some-model" in str(seen[0].message)


def test_a_server_that_takes_no_schema_is_asked_without(kind: str) -> None:
    """A server that supports no schema is asked without one; the prompt describes the same JSON in words."""

    def script(call: Call) -> Reply | None:
        if "output_config" in call.body or "response_format" in call.body:
            return Reply.error(400, "response_format / output_config: schema is not supported")
        return None

    with Provider(script) as provider:
        (response,) = asked(opened(kind, provider), request())
    assert len(parse.messages(response, NAMES)) == 2


def test_an_objection_that_stays_is_an_error_and_no_loop(kind: str) -> None:
    """A repeated objection is an error with the server's words if no field is left to omit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = said(kind, Reply.error(400, "temperature, max_tokens, response_format, output_config: never"))
    assert type(error) is RefusedRequest
    assert "max_tokens, response_format, output_config: never" in str(error)


def test_no_call_waits_for_a_connection(kind: str) -> None:
    """A client opens as many connections as `max_concurrency` allows.

    Here all calls are open but one, which was answered.
    """
    calls = 60 if kind == "huggingface" else 130  # more than the HTTP libraries allow by default

    async def wait_for_all(serving: Any, provider: Provider) -> None:
        tasks = [asyncio.create_task(serving.answer(request(draw=draw))) for draw in range(calls)]
        while provider.in_flight_peak < calls - 1:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await serving.close()

    with Provider(lambda call: Reply.hang() if call.number else None) as provider:
        serving = opened(kind, provider, max_concurrency=calls, timeout=60.0)
        asyncio.run(asyncio.wait_for(wait_for_all(serving, provider), 20))
    assert len(provider.requests) == calls


def test_a_serving_can_be_sent_to_a_process_before_its_first_answer(kind: str) -> None:
    """A serving can be pickled before its first answer, because its client is opened where it is used."""
    with Provider() as provider:
        serving = pickle.loads(pickle.dumps(opened(kind, provider)))
        (response,) = asked(serving, request())
    assert response.finish == "stop"


def test_half_surrogates_and_emoji_survive(kind: str) -> None:
    """Half surrogates and emoji in JSON escapes are returned unchanged; the store and the parser handle them."""
    response = said(kind, Reply.text("\ud800 \U0001f35e ü"))
    assert response.text == "\ud800 \U0001f35e ü"
    canonical_json(response.plain())


def test_attempts_and_stages_are_counted_by_the_provider() -> None:
    """The test provider counts attempts and stages, by which scripts distinguish calls."""
    with Provider() as provider:
        again = request(names=("assistant_1",))
        asked(opened("anthropic", provider), again)
        asked(opened("anthropic", provider), again)
    told = [(call.number, call.attempt, call.stage) for call in provider.requests]
    assert told == [(0, 0, "answers"), (1, 1, "answers")]
