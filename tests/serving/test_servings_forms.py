"""Test what servings learn about a server, which errors they treat as answers, and how often they can be used."""

from __future__ import annotations

import asyncio
import json
import warnings
from typing import Any

import pytest

from consistent_chat.dialogue import parse
from consistent_chat.errors import RefusedRequest, ServingError, TransportError
from consistent_chat.serving.cap import is_too_high, lowered
from consistent_chat.serving.http import Fault
from tests import servings
from tests.provider import Call, Provider, Reply
from tests.servings import NAMES, NEW, OLD, asked, opened, request, said

ASKED = 14336
"""Tokens, more than the models of these tests write."""


online, kind = servings.online, servings.kind


def limits(provider: Provider) -> list[int]:
    """Return the token limits of all requests in order."""
    return [call.body.get("max_tokens") or call.body["max_completion_tokens"] for call in provider.requests]


def capped(at: int, message: str) -> Any:
    """Return the script of a server that refuses token limits above `at` with this message."""

    def script(call: Call) -> Reply | None:
        sent = call.body.get("max_tokens") or call.body["max_completion_tokens"]
        return Reply.error(400, message.format(sent)) if sent > at else None

    return script


class TestSeveralRuns:
    """Tests of one serving that answers in several event loops in succession."""

    def test_a_serving_answers_again_after_its_close(self, kind: str) -> None:
        """A serving answers again after it was closed.

        Each run has its own event loop, in which four calls begin together.
        """
        with Provider() as provider:
            serving = opened(kind, provider)
            runs = [asked(serving, *(request(draw=draw) for draw in range(4))) for _ in range(3)]
        assert [response.finish for run in runs for response in run] == ["stop"] * 12
        assert serving._connection._client is None

    def test_a_run_in_which_nothing_was_answered_does_not_spoil_the_next(self, kind: str) -> None:
        """A run without an answer does not affect the next one.

        Its waiting calls belonged to an event loop that is gone.
        """
        with Provider(lambda call: Reply.error(503, "loading") if call.number < 4 else None) as provider:
            serving = opened(kind, provider)
            first, second = (asked(serving, *(request(draw=draw) for draw in range(4))) for _ in range(2))
        assert all(isinstance(error, TransportError) for error in first)
        assert [response.finish for response in second] == ["stop"] * 4

    def test_what_was_learnt_stays(self, kind: str) -> None:
        """A second run sends its first request in the form that the server accepted before."""

        def script(call: Call) -> Reply | None:
            asks = "output_config" in call.body or "response_format" in call.body
            return Reply.error(400, "response_format, output_config: no") if asks else None

        with Provider(script) as provider:
            serving = opened(kind, provider)
            asked(serving, request())
            before = len(provider.requests)
            asked(serving, request())
        assert before > 1
        assert len(provider.requests) == before + 1

    def test_what_was_learnt_of_one_model_is_not_held_against_another(self) -> None:
        """What is learnt about one model does not change requests to another.

        The older model still gets a temperature.
        """
        with Provider() as provider, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            serving = opened("anthropic", provider)
            asked(serving, request(NEW))
            asked(serving, request(OLD))
        assert ["temperature" in call.body for call in provider.requests] == [False, True]

    def test_a_close_without_an_answer_and_a_second_close_do_nothing(self, kind: str) -> None:
        """Closing a serving twice, or without an answer, has no effect."""

        async def close_twice(serving: Any) -> None:
            await serving.close()
            await serving.close()

        with Provider() as provider:
            asyncio.run(close_twice(opened(kind, provider)))


class TestCaps:
    """Tests of token limits above what a model can write."""

    def test_the_maximum_that_the_server_names_is_asked_for_from_then_on(self, kind: str) -> None:
        """The maximum that an error names is the limit of all later requests.

        One call finds it out, without a warning.
        """
        message = "max_tokens: {} > 8192, which is the maximum allowed number of output tokens for claude-3-5-haiku"
        with Provider(capped(8192, message)) as provider, warnings.catch_warnings():
            warnings.simplefilter("error")
            serving = opened(kind, provider)
            asked(serving, request(max_tokens=ASKED))
            asked(serving, request(max_tokens=ASKED), request(max_tokens=500))
        assert limits(provider)[:2] == [ASKED, 8192]
        assert sorted(limits(provider)[2:]) == [500, 8192]

    def test_without_a_number_the_limit_is_halved_until_it_is_taken(self, kind: str) -> None:
        """The limit is halved until the server accepts it if the error names no lower maximum."""
        with Provider(capped(4000, "max_tokens is too large: {}. At most 16384 tokens.")) as provider:
            (response,) = asked(opened(kind, provider), request(max_tokens=ASKED))
        assert limits(provider) == [ASKED, 7168, 3584]
        assert response.finish == "stop"

    def test_an_answer_that_the_cap_cuts_off_says_so(self, kind: str) -> None:
        """An answer that a lowered limit cuts off has the finish "length"."""

        def script(call: Call) -> Reply | None:
            return capped(8192, "max_tokens: {} > 8192")(call) or Reply.truncation()

        with Provider(script) as provider:
            assert asked(opened(kind, provider), request(max_tokens=ASKED))[0].finish == "length"

    def test_a_server_that_takes_no_limit_at_all_is_an_error_and_no_loop(self) -> None:
        """A server that accepts no limit causes an error after a request for 256 tokens, and no endless loop."""
        with Provider(capped(0, "max_tokens is too large: {}")) as provider:
            (error,) = asked(opened("anthropic", provider), request(max_tokens=1000))
        assert limits(provider) == [1000, 500, 256]
        assert type(error) is RefusedRequest
        assert "max_tokens is too large: 256" in str(error)

    def test_the_name_and_the_cap_of_a_limit_are_two_things(self) -> None:
        """A server may object first to the name of the limit and then to its value; both are corrected."""

        def script(call: Call) -> Reply | None:
            if "max_tokens" in call.body:
                said = "Unsupported parameter: 'max_tokens' is not supported with this model. "
                return Reply.error(400, said + "Use 'max_completion_tokens' instead.", code="unsupported_parameter")
            message = "max_completion_tokens is too large: {}. This model supports at most 8192 completion tokens"
            return capped(8192, message)(call)

        with Provider(script) as provider:
            asked(opened("openai", provider), request(max_tokens=ASKED))
        assert limits(provider) == [ASKED, ASKED, 8192]
        assert provider.requests[-1].body["max_completion_tokens"] == 8192

    @pytest.mark.parametrize(
        ("message", "cap"),
        [
            ("max_tokens: 14336 > 8192, which is the maximum allowed number of output tokens for claude-3", 8192),
            ("max_tokens is too large: 14336. This model supports at most 4096 completion tokens, whereas ...", 4096),
            ("max_tokens is too large: 14336. This model supports at most 16384 completion tokens", 7168),
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 14336. This model's maximum context length is "
                "8192 tokens and your request has 1000 input tokens (14336 > 8192 - 1000). (parameter=max_tokens)",
                7192,
            ),
            (
                "This model's maximum context length is 8192 tokens. However, you requested 15336 tokens (1000 in the "
                "messages, 14336 in the completion). Please reduce the length of the messages or completion.",
                7192,
            ),
            ("'max_tokens' is too large: 14336. ... 8192 tokens and 8100 input tokens (14336 > 8192 - 8100)", None),
            ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192),
            ("Range of max_tokens should be [1, 8,192]", 8192),
            ("`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens`", 8192),
            ('[{"loc": ["body", "max_tokens"], "msg": "Input should be less than or equal to 8192"}]', 8192),
            ("`inputs` tokens + `max_new_tokens` must be <= 8192. Given: 1000 and 14336", 8192),
            ("The maximum tokens you requested exceeds the model limit", 7168),
        ],
    )
    def test_the_words_of_many_servers_are_read(self, message: str, cap: int | None) -> None:
        """The new limit is the number in the error if that helps, and otherwise half of the old one.

        There is none if the prompt leaves no room.
        """
        fault = Fault(400, message, None)
        assert is_too_high(fault)
        assert lowered(fault, ASKED) == cap

    @pytest.mark.parametrize(
        "message",
        [
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            "Could not finish the message because max_tokens or model output limit was reached.",
            "max_tokens: must be greater than thinking.budget_tokens",
            '[{"loc": ["body", "response_format"], "input": {"max_tokens": 14336, "messages": [{"content": "> 9"}]}}]',
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 10000 tokens.",
        ],
    )
    def test_other_words_about_limits_are_left_alone(self, message: str) -> None:
        """Errors that a lower limit cannot correct do not change the limit."""
        assert not is_too_high(Fault(400, message, None))


class TestFilters:
    """Tests of providers whose filter rejects a single prompt."""

    @pytest.mark.parametrize(
        "error",
        [
            {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"},
            {"message": "Filtered: prompt format.", "code": "content_filter", "param": "prompt"},
            {"message": "Your request was rejected.", "code": "content_policy_violation"},
            {"message": "Filtered.", "code": "400", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
        ],
    )
    def test_it_is_a_refusal_like_a_models_own(self, kind: str, error: dict[str, Any]) -> None:
        """A filtered prompt gives a refusal in the provider's words after one call, and the run continues."""
        filtered = Reply.body(400, json.dumps({"type": "error", "error": error}))
        with Provider(lambda call: None if call.number else filtered) as provider:
            first, second = asked(opened(kind, provider), request(), request(draw=1))
        assert sorted([first.finish, second.finish]) == ["refusal", "stop"]
        assert error["message"] in (first.text, second.text)
        assert len(provider.requests) == 2

    def test_a_key_in_the_providers_words_is_taken_out(self, kind: str) -> None:
        """A key in the provider's words is removed, because the words are stored."""
        response = said(kind, Reply.error(400, "Blocked for sk-proj-****abcd", code="content_filter"))
        assert response.text == "Blocked for [key]"


class TestRefusalsWithoutTellingWords:
    """Tests of servers that reject a request without a reason, in the first calls of a run."""

    @pytest.mark.parametrize(
        "refusal", [Reply.body(400, "Bad Request"), Reply.error(422, "no"), Reply.error(501, "Not Implemented")]
    )
    @pytest.mark.parametrize("taken", ["json_object", None])
    def test_plainer_forms_are_tried(self, refusal: Reply, taken: str | None) -> None:
        """Plainer forms of a rejected request are tried. Of many calls that begin together, only one tries them."""

        def script(call: Call) -> Reply | None:
            asked_how = call.body.get("response_format", {})
            return None if asked_how in ({}, {"type": taken}) else refusal

        with Provider(script) as provider:
            responses = asked(opened("openai", provider), *(request(draw=draw) for draw in range(5)))
        assert all(len(parse.messages(response, NAMES)) == 2 for response in responses)
        assert len(provider.requests) == 5 + (2 if taken else 3)

    def test_if_none_helps_the_first_refusal_is_the_error_and_nothing_is_learnt(self) -> None:
        """The first refusal is the error if no form is accepted. The next run begins with the best form again."""

        def script(call: Call) -> Reply | None:
            return Reply.error(400, f"Bad Request {call.number}") if call.number < 7 else None

        with Provider(script) as provider:
            serving = opened("openai", provider)
            (error,) = asked(serving, request())
            asked(serving, request())
        assert "answered 400: Bad Request 0." in str(error)
        assert provider.requests[7].body["response_format"]["type"] == "json_schema"
        assert len(provider.requests) == 8

    def test_what_none_of_the_forms_helps_is_found_out_once(self, kind: str) -> None:
        """Only one of 200 calls tries all forms in vain; the calls that waited for it do not try them again."""
        with Provider(lambda call: Reply.error(400, "Bad Request")) as provider:
            first, *others = asked(opened(kind, provider), *(request(draw=draw) for draw in range(200)))
        assert type(first) is RefusedRequest
        assert all(isinstance(error, TransportError) for error in others)
        assert len(provider.requests) <= 8

    @pytest.mark.parametrize(
        "said",
        [
            "temperature must be between 0 and 0.5",
            "temperature exceeds the maximum of 0.5",
            "Input should be less than or equal to 0.5: body.temperature",
            "Invalid value for temperature: 0.9. Expected a value in [0, 0.5].",
            "invalid temperature: only 0.6 is allowed for this model",
        ],
    )
    def test_a_temperature_off_the_scale_stops_at_the_first_call(self, kind: str, said: str) -> None:
        """A temperature beyond the server's scale is an error after one call.

        The message says how to change the recipe.
        """

        def script(call: Call) -> Reply | None:
            return Reply.error(400, said) if call.body.get("temperature", 0.0) > 0.6 else None

        with Provider(script) as provider:
            (error,) = asked(opened(kind, provider), request())
        assert type(error) is ServingError
        assert "Set temperature= to a value that it accepts" in str(error)
        assert len(provider.requests) == 1

    def test_a_passing_fault_on_the_way_is_left_to_the_driver(self) -> None:
        """A temporary error while forms are tried is left to the driver, because it tells nothing about the form."""
        script = {0: Reply.error(400, "Bad Request"), 1: Reply.error(503, "Busy")}
        with Provider(lambda call: script.get(call.number)) as provider:
            serving = opened("openai", provider)
            (error,) = asked(serving, request())
            asked(serving, request())
        assert isinstance(error, TransportError)
        assert provider.requests[2].body["response_format"]["type"] == "json_schema"

    def test_after_an_answer_nothing_is_guessed(self) -> None:
        """After an accepted request, no other form is tried, because a refusal must have another reason."""
        with Provider(lambda call: Reply.error(400, "Bad Request") if call.number else None) as provider:
            serving = opened("openai", provider)
            asked(serving, request())
            (error,) = asked(serving, request())
        assert type(error) is RefusedRequest
        assert len(provider.requests) == 2
