"""Tests of the first calls to a server whose form is unknown: one has a head start, and does not hold up the others."""

from __future__ import annotations

from collections import Counter

import pytest

from consistent_chat.errors import RefusedRequest
from consistent_chat.serving import negotiate
from tests import servings
from tests.provider import Call, Provider, Reply
from tests.servings import asked, opened, request

online = servings.online
CALLS = 6
DELAY = 0.1
"""Seconds of an answer, so that all calls are in flight together."""
REFUSAL = Reply.error(400, "Bad Request")


@pytest.fixture(autouse=True)
def no_head_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other calls begin as if the first had taken longer than its head start."""
    monkeypatch.setattr(negotiate, "HEAD_START", 0.0)


def test_a_slow_first_answer_does_not_hold_up_the_others() -> None:
    """All calls are in flight before the first is answered."""
    with Provider(delay=DELAY) as provider:
        responses = asked(opened("openai", provider), *(request(draw=draw) for draw in range(CALLS)))
    assert [response.finish for response in responses] == ["stop"] * CALLS
    assert provider.in_flight_peak == len(provider.requests) == CALLS


def test_a_form_that_is_refused_late_is_left_by_all() -> None:
    """If the form is refused after the other calls were sent, each of them is refused at most once."""

    def script(call: Call) -> Reply | None:
        return REFUSAL if "response_format" in call.body else None

    with Provider(script, delay=DELAY) as provider:
        responses = asked(opened("openai", provider), *(request(draw=draw) for draw in range(CALLS)))
    assert [response.finish for response in responses] == ["stop"] * CALLS
    kinds = Counter(str(call.body.get("response_format", {}).get("type")) for call in provider.requests)
    assert kinds["None"] == CALLS
    assert kinds["json_schema"] <= CALLS
    assert kinds["json_object"] == 2, "only one call tries the forms between"
    assert provider.requests[-1].body.get("response_format") is None


def test_a_first_prompt_that_is_refused_does_not_spoil_the_form() -> None:
    """If only the first call's prompt is refused, the best form stays that of all calls."""

    def script(call: Call) -> Reply | None:
        return REFUSAL if "bread" in str(call.body) else None

    others = (request(draw=draw, messages=({"role": "user", "content": "Wine."},)) for draw in range(CALLS))
    with Provider(script, delay=DELAY) as provider:
        serving = opened("openai", provider)
        asked(serving, request(), *others)
        asked(serving, request(messages=({"role": "user", "content": "Wine."},)))
    assert provider.requests[-1].body["response_format"]["type"] == "json_schema"


def test_a_server_that_refuses_all_forms_says_so_to_each_call() -> None:
    """If no form is accepted, all calls fail and each form is tried once by one call."""
    with Provider(lambda call: REFUSAL, delay=DELAY) as provider:
        errors = asked(opened("openai", provider), *(request(draw=draw) for draw in range(CALLS)))
    assert all(isinstance(error, Exception) for error in errors)
    assert isinstance(errors[0], RefusedRequest)
    assert len(provider.requests) <= 8 + CALLS


def test_a_bad_key_is_told_to_each_call_at_once() -> None:
    """A refusal that is not about the form does not wait for the first answer."""
    with Provider(lambda call: Reply.error(401, "No such key"), delay=DELAY) as provider:
        errors = asked(opened("openai", provider), *(request(draw=draw) for draw in range(CALLS)))
    assert all("No such key" in str(error) for error in errors)
    assert len(provider.requests) == CALLS
