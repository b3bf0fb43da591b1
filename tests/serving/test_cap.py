"""Test small contexts: the token limit is computed from the prompt and from what is known about the server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.errors import RefusedRequest, ServingError
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.serving import openai
from consistent_chat.serving.cap import fewest_tokens, limit, prompt_tokens
from consistent_chat.serving.openai_chat import Form
from consistent_chat.serving.settings import Abilities
from tests.faults import run
from tests.provider import Call, Provider, Reply, Script
from tests.servings import opened, request

DEFAULT = Recipe(model="some-model", num_dialogs_per_intent=1)
"""Six turns, and everything else as it is where nothing is said."""
WORDS = {
    "vllm": "'max_tokens' or 'max_completion_tokens' is too large: {asked}. This model's maximum context length is "
    "{context} tokens and your request has {prompt} input tokens ({asked} > {context} - {prompt}).",
    "older vllm": "This model's maximum context length is {context} tokens. However, you requested {total} tokens "
    "({prompt} in the messages, {asked} in the completion).",
    "sglang": "Requested token count exceeds the model's maximum context length of {context} tokens. You requested a "
    "total of {total} tokens: {prompt} tokens from the input messages and {asked} tokens for the completion.",
    "another": "requested {total} tokens but the model supports {context}",
}


def counted(call: Call) -> int:
    """Return the tokens of a prompt by the usual estimate for English: one token for four bytes."""
    said = [call.body.get("system", ""), call.body["messages"]]
    return len(json.dumps(said, ensure_ascii=False).encode()) // 4


def asked(call: Call) -> int:
    """Return the token limit of a request."""
    limit: int = call.body.get("max_tokens") or call.body["max_completion_tokens"]
    return limit


def strict(context: int, words: str) -> Script:
    """Return the script of a server that refuses requests whose prompt and token limit together exceed its context."""

    def script(call: Call) -> Reply | None:
        prompt, most = counted(call), asked(call)
        if prompt + most <= context:
            return None
        said = words.format(asked=most, prompt=prompt, context=context, total=prompt + most)
        return Reply.error(400, said)

    return script


@pytest.mark.parametrize("context", [4096, 8192])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_the_default_recipe_runs_in_a_small_context_that_is_stated(kind: str, context: int, tmp_path: Path) -> None:
    """The default recipe runs in a small context without a refused request if `context_tokens` is given."""
    with Provider(strict(context, WORDS["vllm"])) as provider:
        serving = opened(kind, provider, abilities=Abilities(context_tokens=context))
        made = run(str(tmp_path / "responses"), DEFAULT, serving)
    assert len(made) == len(Plan(DEFAULT))
    assert len(provider.requests) == 2 * len(made)
    assert all(counted(call) + asked(call) <= context for call in provider.requests)
    assert min(map(asked, provider.requests)) > 1500, "answers have room"


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_context_is_read_from_the_first_refusal(kind: str, words: str, tmp_path: Path) -> None:
    """The first refusal tells the size of the context and the density of prompts, so that longer prompts fit too."""
    with Provider(strict(4096, words)) as provider:
        made = run(str(tmp_path / "responses"), DEFAULT, opened(kind, provider))
    assert len(made) == len(Plan(DEFAULT))
    assert len(provider.requests) <= 2 * len(made) + 2


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_recipe_that_cannot_fit_is_refused_before_the_first_call(kind: str, tmp_path: Path) -> None:
    """A recipe that cannot fit into the context is refused before the first call, with a hint what to change."""
    recipe = Recipe(model="some-model", num_turns_per_dialog=20)
    with Provider() as provider:
        serving = opened(kind, provider, abilities=Abilities(context_tokens=2048))
        with pytest.raises(ServingError, match=r"Set num_turns_per_dialog= to \d+ or less") as seen:
            run(str(tmp_path / "responses"), recipe, serving)
    assert "context_tokens=" in str(seen.value)
    assert provider.requests == []


def test_a_prompt_that_leaves_no_room_is_refused_without_a_call() -> None:
    """A prompt that fills the context is refused without a call.

    The error concerns this request only, since others may be shorter.
    """
    long = request(messages=({"role": "user", "content": "bread " * 4000},))
    with pytest.raises(RefusedRequest, match="do not fit into a context of 2,048 tokens"):
        limit(long, Form("max_tokens", context=2048))


@pytest.mark.parametrize(
    ("text", "most"),
    [("Wie weit ist es zum Bahnhof? " * 40, 400), ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35" * 100, 1200)],
    ids=["German", "Thai"],
)
def test_a_prompt_is_bounded_in_any_script(text: str, most: int) -> None:
    """The estimate of a prompt's tokens covers older tokenizers.

    They need one token for three Latin letters and two tokens for a Thai letter.
    """
    said = request(system="", messages=({"role": "user", "content": text},))
    assert fewest_tokens(said) < most / 2 < most < 1.2 * prompt_tokens(said)


def test_the_servers_own_count_replaces_the_bound() -> None:
    """The token density that the server reports replaces the estimate, with a margin of a tenth."""
    said: Any = request(system="", messages=({"role": "user", "content": "x" * 3000},))
    assert prompt_tokens(said, 0.25) == 842
    assert limit(said, Form("max_tokens", context=2048, density=0.25)) == 2048 - 842


def listed(**fields: Any) -> Reply:
    """Return a list of models in which the tested model has these fields."""
    others = [{"id": "other", "max_model_len": 2048}, "no entry", {"id": 1}]
    return Reply.body(200, json.dumps({"object": "list", "data": [*others, {"id": "some-model", **fields}]}))


@pytest.mark.slow_after(2)
@pytest.mark.parametrize(
    "models",
    [
        listed(max_model_len=4096),  # vLLM, SGLang
        listed(n_ctx=4096, meta={"n_ctx_train": 131072}),
        listed(meta={"n_ctx": 4096, "n_ctx_train": 131072}),
        listed(meta={"n_ctx_train": 4096}),  # llama.cpp
        listed(context_length=4096),  # OpenRouter, Together
        listed(context_window=4096),  # Groq
        Reply.body(200, '{"data": [{"id": "/models/any.gguf", "meta": {"n_ctx_train": 4096}}]}'),  # the only model
        listed(max_model_len=0, context_length=4096),
    ],
)
def test_a_context_is_read_from_the_list_of_models(models: Reply, tmp_path: Path) -> None:
    """One request for the list of models tells the context before any call is refused.

    Keys and rows are those of any other run.
    """
    with Provider(strict(4096, WORDS["vllm"])) as provider:
        provider.models = models
        made = run(str(tmp_path / "responses"), DEFAULT, opened("openai", provider))
    assert len(provider.requests) == 2 * len(made) == 2 * len(Plan(DEFAULT))
    assert provider.listed == 1
    with Provider() as provider:
        assert run(str(tmp_path / "unlisted"), DEFAULT, opened("openai", provider)) == made


@pytest.mark.slow_after(4)
@pytest.mark.parametrize(
    "models",
    [
        None,
        *(listed(max_model_len=value) for value in (0, 1, -4096, True, None, "4096", 4096.0, [4096], 10**30, {})),
        *(Reply.body(200, body) for body in ("", "null", "[]", "{", "<html>", '{"data": {}}', '{"data": [[]]}')),
        Reply.body(200, '{"data": [{"id": "some-model", "max_model_len": NaN}]}'),
        Reply.body(200, '{"data": [{"id": "a", "n_ctx": 2048}, {"id": "b", "n_ctx": 2048}]}'),
        Reply.body(200, "[" * 100_000),
        Reply.body(200, b" " * (17 << 20)),
        Reply.error(500, "no list"),
        Reply.error(401, "no list"),
        Reply.body(302, "", {"location": "http://127.0.0.1:1/"}),
        Reply.hang(),
    ],
)
def test_a_list_that_tells_nothing_changes_nothing(
    models: Reply | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of models that is missing, hostile or late does not change the calls."""
    monkeypatch.setattr(openai, "SECONDS", 0.2)
    few = replace(DEFAULT, intents=("simulation",))
    with Provider() as provider:
        provider.models = models
        made = run(str(tmp_path / "responses"), few, opened("openai", provider))
    with Provider() as other:
        run(str(tmp_path / "other"), few, opened("anthropic", other))  # does not request the list
    assert list(map(asked, provider.requests)) == list(map(asked, other.requests))
    assert (len(provider.requests), len(made), provider.listed) == (2, 1, 1)


def test_what_is_stated_is_not_asked_for(tmp_path: Path) -> None:
    """The list of models is not requested if the context is given, or from a server of Anthropic's protocol."""
    few = replace(DEFAULT, intents=("simulation",))
    with Provider() as provider:
        provider.models = listed(max_model_len=2048)
        run(str(tmp_path / "a"), few, opened("openai", provider, abilities=Abilities(context_tokens=8192)))
        run(str(tmp_path / "b"), few, opened("anthropic", provider))
    assert provider.listed == 0


def test_a_listed_context_that_is_too_small_is_said_before_the_first_call(tmp_path: Path) -> None:
    """A listed context that is too small is an error before the first call.

    The message names the option for a list that is wrong.
    """
    with Provider() as provider:
        provider.models = listed(max_model_len=1024)
        with pytest.raises(ServingError, match=r"the context of the model 'some-model' has 1,024\..*context_tokens="):
            run(str(tmp_path / "responses"), DEFAULT, opened("openai", provider))
    assert provider.requests == []
