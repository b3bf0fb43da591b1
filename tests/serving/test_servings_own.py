"""Test what is specific to each serving, over real sockets too."""

from __future__ import annotations

import asyncio
import json
import time
import warnings
from email.utils import formatdate
from typing import Any

import pytest

from consistent_chat.dialogue import parse
from consistent_chat.errors import ServingError, TransportError
from consistent_chat.request import Response, canonical_json
from consistent_chat.serving.anthropic import Anthropic
from consistent_chat.serving.anthropic_messages import takes_temperature
from consistent_chat.serving.http import retry_after
from consistent_chat.serving.huggingface import HuggingFace
from consistent_chat.serving.openai import OpenAI
from tests.provider import Call, Provider, Reply
from tests.servings import KEY, NAMES, NEW, OLD, asked, opened, request, said


def chat(content: Any, finish: str | None = "stop", **fields: Any) -> Reply:
    """Return a chat completion with this message."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **fields}, "finish_reason": finish}
    return Reply.body(200, json.dumps({"choices": [choice]}))


def message(content: Any, stop_reason: str | None = "end_turn", **fields: Any) -> Reply:
    """Return a message of Anthropic's protocol."""
    return Reply.body(200, json.dumps({"type": "message", "content": content, "stop_reason": stop_reason, **fields}))


class TestAnthropic:
    """Tests of what is specific to Anthropic."""

    @pytest.mark.parametrize(
        ("model", "taken"),
        [
            ("claude-2.1", True),
            ("claude-instant-1.2", True),
            ("claude-3-opus-20240229", True),
            ("claude-3-5-sonnet-20241022", True),
            ("claude-3-7-sonnet-latest", True),
            ("claude-sonnet-4-20250514", True),
            ("claude-opus-4-1-20250805", True),
            ("claude-haiku-4-5@20251001", True),
            ("claude-sonnet-4-6", True),
            ("claude-opus-4-7", False),
            ("claude-opus-4-7-20260401", False),
            ("claude-opus-4-10", False),
            ("claude-opus-5", False),
            ("claude-opus-5-20260801", False),
            ("claude-haiku-5-5", False),
            ("claude-5-5-haiku-20260901", False),
            ("us.anthropic.claude-sonnet-5-5-v1:0", False),
            ("anthropic/claude-sonnet-4.6", True),
            ("anthropic/claude-sonnet-5.5", False),
            ("claude-sonnet-latest", True),
            ("gpt-5.5", True),
            ("qwen-9", True),
        ],
    )
    def test_the_rule_of_temperatures(self, model: str, taken: bool) -> None:
        """Claude models from 4.7 on take no temperature, in either order of their names and with any date."""
        assert takes_temperature(model) is taken

    def test_an_older_model_is_asked_in_the_version_that_knows_temperatures(self) -> None:
        """An older model is called with the API version that accepts temperatures.

        The SDK's own version refuses them.
        """
        with Provider() as provider:
            asked(opened("anthropic", provider), request(OLD))
        assert provider.requests[0].headers["anthropic-version"] == "2023-06-01"

    def test_a_newer_model_is_asked_without_a_temperature_and_one_warning_says_so(self) -> None:
        """A newer model is called without a temperature and in the SDK's own API version, with one warning.

        No call is refused first.
        """
        with Provider() as provider, pytest.warns(UserWarning, match="temperature") as seen:
            asked(opened("anthropic", provider), *(request(NEW, draw=draw) for draw in range(3)))
        assert len(provider.requests) == 3
        assert all("temperature" not in call.body for call in provider.requests)
        assert provider.requests[0].headers["anthropic-version"] > "2023-06-01"
        assert len(seen) == 1
        assert str(seen[0].message) == (
            "The model 'claude-haiku-5-5' is called without the recipe's temperature of 0.9: Claude models from 4.7 "
            "on do not accept one. It samples at its default temperature; variety comes from the prompts. To set a "
            "temperature, "
            "choose a model that accepts one."
        )

    def test_the_system_text_is_marked_for_caching(self) -> None:
        """The system text is marked for caching, because all calls of a stage share it."""
        with Provider() as provider:
            asked(opened("anthropic", provider), request())
        assert provider.requests[0].body["system"][0]["cache_control"] == {"type": "ephemeral"}

    def test_a_refused_schema_is_left_out_for_the_rest_of_the_run(self) -> None:
        """A refused schema is omitted for the rest of the run after one call."""

        def script(call: Call) -> Reply | None:
            return Reply.error(400, "output_config.format: not supported") if "output_config" in call.body else None

        async def one_after_another(serving: Any) -> None:
            for draw in range(3):
                await serving.answer(request(draw=draw))
            await serving.close()

        with Provider(script) as provider:
            asyncio.run(one_after_another(opened("anthropic", provider)))
        assert ["output_config" in call.body for call in provider.requests] == [True, False, False, False]

    @pytest.mark.parametrize(
        ("reason", "finish"),
        [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("refusal", "refusal"),
            ("pause_turn", "pause_turn"),
            (None, "stop"),
        ],
    )
    def test_stop_reasons(self, reason: str | None, finish: str) -> None:
        """Known stop reasons are translated to the package's words; others are returned unchanged."""
        response = said("anthropic", message([{"type": "text", "text": "x"}], reason))
        assert (response.text, response.finish, response.finish_reason) == ("x", finish, reason or "")

    def test_a_refusal_may_have_no_content(self) -> None:
        """A refusal without content is a response with an empty text."""
        response = said("anthropic", Reply.refusal())
        assert (response.text, response.finish) == ("", "refusal")

    def test_only_text_is_read(self) -> None:
        """The text of a response is the text of all text blocks, without thinking."""
        blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        assert said("anthropic", message(blocks)).text == "ab"

    def test_cached_tokens_are_tokens(self) -> None:
        """Cached tokens are included in the input tokens, although the API counts them separately."""
        cached = {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 10}
        usage = {"input_tokens": 5, "output_tokens": 7, **cached}
        response = said("anthropic", message([{"type": "text", "text": "x"}], usage=usage))
        assert (response.input_tokens, response.output_tokens) == (115, 7)

    def test_bytes_that_are_not_utf_8_are_kept_for_the_parser_to_refuse(self) -> None:
        """Bytes that are not UTF-8 do not crash the run, and the parser refuses the message."""
        body = b'{"content": [{"type": "text", "text": "{\\"user_1\\": \\"a\xff\\"}"}], "stop_reason": "end_turn"}'
        response = said("anthropic", Reply.body(200, body))
        canonical_json(response.plain())
        with pytest.raises(parse.Unusable, match="bad_character"):
            parse.messages(response, ("user_1",))

    def test_a_token_from_the_environment_serves_as_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """ANTHROPIC_AUTH_TOKEN is used if no key is given."""
        monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token-from-environment")
        with Provider() as provider:
            asked(opened("anthropic", provider, api_key=None), request())
        assert provider.requests[0].headers["authorization"] == "Bearer token-from-environment"

    def test_the_address_from_the_environment_is_used_and_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The address in ANTHROPIC_BASE_URL is used, as with the SDK alone, and errors name it."""
        with Provider(lambda call: Reply.error(400, "no")) as provider:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.url)
            (error,) = asked(Anthropic(api_key=KEY), request())
        assert str(error).startswith(f"The server at {provider.url} answered 400: no.")


class TestOpenAI:
    """Tests of what is specific to the Chat Completions protocol."""

    @staticmethod
    def asked_how(call: Call) -> str:
        """Return how a call asks for JSON."""
        asked = call.body.get("response_format")
        return "nothing" if asked is None else asked["type"] + ("+schema" if "schema" in asked else "")

    @pytest.mark.parametrize(
        ("taken", "refusal"),
        [
            ("json_schema", Reply.error(400, "unused")),
            ("json_object+schema", Reply.error(500, "[{'type': 'literal_error', 'loc': ('body', 'response_format')}]")),
            ("json_object", Reply.error(422, "response_format: extra fields not permitted")),
            ("nothing", Reply.error(400, "This model does not support this", param="response_format")),
        ],
    )
    def test_the_ladder_of_schemas_is_walked_once(self, taken: str, refusal: Reply) -> None:
        """The forms of asking for JSON are tried once.

        Of many calls that begin together, one tries them and the others use its result.
        """
        rungs = ["json_schema", "json_object+schema", "json_object", "nothing"]
        with Provider(lambda call: None if self.asked_how(call) == taken else refusal) as provider:
            responses = asked(opened("openai", provider), *(request(draw=draw) for draw in range(8)))
        assert all(len(parse.messages(response, NAMES)) == 2 for response in responses)
        steps = rungs.index(taken)
        assert [self.asked_how(call) for call in provider.requests] == rungs[:steps] + [taken] * 8

    def test_an_ordinary_500_says_nothing_about_schemas(self) -> None:
        """An ordinary error 500 is a temporary error and causes no request in another form."""
        with Provider(lambda call: Reply.error(500, "CUDA out of memory")) as provider:
            (error,) = asked(opened("openai", provider), request())
        assert isinstance(error, TransportError)
        assert len(provider.requests) == 1

    def test_an_explorer_that_fails_lets_the_next_one_explore(self) -> None:
        """After a temporary error of the first call, the next call tries the forms, and the others are answered."""
        with Provider(lambda call: Reply.error(503, "loading") if call.number == 0 else None) as provider:
            first, *others = asked(opened("openai", provider), *(request(draw=draw) for draw in range(4)))
        assert isinstance(first, TransportError)
        assert all(isinstance(response, Response) for response in others)

    def test_openai_itself_is_asked_with_the_newer_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Requests to OpenAI use `max_completion_tokens`, because its newer models refuse the older name."""
        serving = OpenAI(api_key=KEY)
        assert serving._negotiator.about("gpt-5.5").form.limit == "max_completion_tokens"

    def test_the_limit_goes_by_the_name_that_the_server_knows(self) -> None:
        """A refused name of the limit is replaced by the other one for the rest of the run.

        An error that names both concerns the one that was sent.
        """

        def script(call: Call) -> Reply | None:
            if "max_tokens" in call.body:
                return Reply.error(400, "'max_tokens' is not supported. Use 'max_completion_tokens' instead.")
            return None

        with Provider(script) as provider:
            asked(opened("openai", provider), *(request(draw=draw) for draw in range(3)))
        assert ["max_tokens" in call.body for call in provider.requests] == [True, False, False, False]
        assert provider.requests[-1].body["max_completion_tokens"] == 4096

    def test_an_error_that_repeats_the_request_is_read_from_its_beginning(self) -> None:
        """An error that quotes the whole request concerns only the field that it names first."""

        def script(call: Call) -> Reply | None:
            if "response_format" not in call.body:
                return None
            detail = [{"loc": ["body", "response_format"], "msg": "extra", "input": dict(call.body)}]
            return Reply.body(422, json.dumps({"detail": detail}))

        with Provider(script) as provider, warnings.catch_warnings():
            warnings.simplefilter("error")
            asked(opened("openai", provider), request())
        assert provider.requests[-1].body["temperature"] == 0.9

    def test_a_server_of_ones_own_needs_no_key(self) -> None:
        """A server at another address needs no key; the client sends the word "none" instead."""
        with Provider() as provider:
            asked(opened("openai", provider, api_key=None), request())
        assert provider.requests[0].headers["authorization"] == "Bearer none"

    @pytest.mark.parametrize(
        ("reply", "text", "finish"),
        [
            (Reply.refusal(), "I cannot help with that.", "refusal"),
            (chat("x", "content_filter"), "x", "refusal"),
            (chat("x", "length"), "x", "length"),
            (chat("x", None), "x", "stop"),
            (chat("x", "tool_calls"), "x", "tool_calls"),
            (chat(None), "", "stop"),
            (chat("x", reasoning_content="hm"), "x", "stop"),
            (chat([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]), "ab", "stop"),
        ],
    )
    def test_messages_of_all_kinds_are_read(self, reply: Reply, text: str, finish: str) -> None:
        """Refusals, parts and empty messages are read; reasoning is not part of the text."""
        response = said("openai", reply)
        assert (response.text, response.finish) == (text, finish)


class TestHuggingFace:
    """Tests of what is specific to Hugging Face."""

    def test_ones_token_is_never_sent_to_another_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An address needs its own key, so that the user's token is never sent to another server.

        The client would send it.
        """
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        with pytest.raises(ServingError, match='that needs no key, use serving="openai"'):
            HuggingFace(base_url="http://localhost:8000/v1")

    def test_the_token_is_found_where_the_hub_keeps_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The token of the Hub is used if no `api_key` is given."""
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        assert HuggingFace()._peer.key == "hf_mine"

    def test_another_providers_key_is_refused_with_a_hint(self) -> None:
        """The key of another provider is refused, because the router accepts only Hugging Face tokens."""
        with pytest.raises(ServingError, match="those begin with hf_"):
            HuggingFace(api_key=KEY)

    def test_offline_mode_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In offline mode the error names HF_HUB_OFFLINE, and the call is not retried without end."""
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        error = said("huggingface")
        assert type(error) is ServingError
        assert str(error).startswith("HF_HUB_OFFLINE is set")


class TestRetryAfter:
    """Tests of the headers in which a server asks for a pause."""

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, None),
            ({"retry-after": "12"}, 12.0),
            ({"retry-after": "0.5"}, 0.5),
            ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
            ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
            ({"retry-after": "-3"}, 0.0),
            ({"retry-after": "nan"}, None),
            ({"retry-after": "inf"}, None),
            ({"retry-after": "soon"}, None),
            ({"retry-after": ""}, None),
            ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
            ({"retry-after": "Wed, 99 Oct 99999 07:28:00 GMT"}, None),
        ],
    )
    def test_forms_and_nonsense(self, headers: dict[str, str], seconds: float | None) -> None:
        """Seconds, milliseconds and dates are read; invalid values are ignored."""
        assert retry_after(headers) == seconds

    def test_a_date_is_a_pause_until_then(self) -> None:
        """A date is read as a pause until that time."""
        pause = retry_after({"retry-after": formatdate(time.time() + 30, usegmt=True)})
        assert pause is not None
        assert 25 < pause <= 30
