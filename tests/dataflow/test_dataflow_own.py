"""The package's versions of DataFlow's storage and serving: the same parameters, the same files, for any server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consistent_chat.dataflow import APILLMServing_request, FileStorage
from consistent_chat.dataflow.storage import WRITERS
from consistent_chat.errors import ConsistentChatError, RecipeError, ServingError
from tests import dataflow_parts
from tests.dataflow_parts import (
    TheirPrompt,
    good,
    is_exact,
    made,
    operator,
)
from tests.provider import Provider, Reply

no_pauses = dataflow_parts.no_pauses


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet", "pickle"])
def test_a_file_lies_where_dataflow_has_it(kind: str, tmp_path: Path) -> None:
    """The only file has the name that DataFlow gives to the step. The next step reads it, except for pickle."""
    storage = FileStorage("", str(tmp_path), "dataflow_cache_step", kind)
    frame = operator("rehearsal", tmp_path / "responses").run(storage.step())
    files = [path.name for path in tmp_path.iterdir() if path.is_file()]
    assert files == [f"dataflow_cache_step_step1.{kind}"]
    then = storage.step()
    if kind == "pickle":
        with pytest.raises(RecipeError, match="is not read here"):
            then.read()
    else:
        assert then.get_keys_from_dataframe() == ["category", "conversation"]
        assert list(then.read()["category"]) == list(frame["category"])
        assert len(then.read("dict")) == 18


def test_the_first_step_reads_its_file_or_nothing(tmp_path: Path) -> None:
    """The first step reads the given file, or nothing if no file is given, as in DataFlow."""
    (tmp_path / "first.jsonl").write_text('{"a": 1}\n')
    assert FileStorage(str(tmp_path / "first.jsonl")).step().read("dict") == [{"a": 1}]
    assert FileStorage("").step().get_keys_from_dataframe() == []
    with pytest.raises(RecipeError, match="no cache_type 'jsnl'"):
        FileStorage("", cache_type="jsnl")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves the old file unchanged, and a write that succeeds replaces it."""
    storage = FileStorage("", str(tmp_path)).step()
    path = Path(storage.write([{"a": 1}]))
    assert storage.write([{"a": 2}]) == str(path)

    def half(frame: Any, file: Any) -> None:
        file.write(b'{"a"')
        raise OSError("No space left on device")

    monkeypatch.setitem(WRITERS, "jsonl", half)
    with pytest.raises(ConsistentChatError, match="No space"):
        storage.write([{"a": 3}])
    assert path.read_text() == '{"a":2}\n'
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the key in DataFlow's environment variable."""
    monkeypatch.setenv("DF_API_KEY", "sk-of-dataflow")


def api(provider: Provider, **fields: Any) -> APILLMServing_request:
    """Return this package's APILLMServing_request, which calls the local server."""
    return APILLMServing_request(api_url=f"{provider.openai_url}/chat/completions", model_name="gpt-4o", **fields)


def test_their_serving_by_its_parameters_is_ours(key: None, tmp_path: Path) -> None:
    """The serving accepts DataFlow's form of the address and its variable for the key.

    It uses the operator's temperature, retries failed calls, and makes at most `max_workers` calls at once.
    """
    with Provider(lambda call: Reply.error(500, "Busy") if call.number == 3 else None, delay=0.01) as provider:
        assert is_exact(made(api(provider, max_workers=4), tmp_path, temperature=0.4))
        assert len(provider.requests) == 37
        assert provider.in_flight_peak <= 4
    assert {call.body["temperature"] for call in provider.requests} == {0.4}
    assert {call.headers["authorization"] for call in provider.requests} == {"Bearer sk-of-dataflow"}


def test_their_serving_takes_prompt_objects(key: None, tmp_path: Path) -> None:
    """Prompt objects work through the method that all of DataFlow's servings have, and requests have no schema."""

    def script(call: Any) -> Reply:
        system, user = (message["content"] for message in call.body["messages"])
        return Reply.text(good(user, system))

    with Provider(script) as provider:
        assert is_exact(made(api(provider), tmp_path, prompt_template=TheirPrompt(), temperature=0.4), 4)
    assert len(provider.requests) == 8
    assert {call.body["temperature"] for call in provider.requests} == {0.4}
    assert not any("response_format" in call.body for call in provider.requests)


REFUSALS = {"a bad request": 400, "a filter": 403, "a template": 500}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between attempts."""
    monkeypatch.setattr("consistent_chat.drivers.retry.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("consistent_chat.drivers.retry.LONGEST_PAUSE", 0.01)


@pytest.mark.parametrize("status", REFUSALS.values(), ids=REFUSALS)
def test_prompts_are_answered_in_their_order_and_none_where_refused(status: int, key: None, quick: None) -> None:
    """Answers have the order of the prompts, with None only for the refused prompt, as in DataFlow."""

    def script(call: Any) -> Reply:
        text = call.body["messages"][1]["content"]
        return Reply.error(status, "I do not like it") if text == "b" else Reply.text(text.upper())

    with Provider(script) as provider:
        assert api(provider).generate_from_input(["a", "b", "c"]) == ["A", None, "C"]
        assert provider.requests[0].body["messages"][0]["content"] == "You are a helpful assistant"


@pytest.mark.parametrize("status", REFUSALS.values(), ids=REFUSALS)
def test_a_prompt_of_a_prompt_object_that_is_refused_is_replaced(
    status: int, key: None, quick: None, tmp_path: Path
) -> None:
    """A refused prompt is replaced by another prompt of the same intent, and a replay gives the same rows."""
    refused: list[str] = []

    def script(call: Any) -> Reply:
        system, user = (message["content"] for message in call.body["messages"])
        refused[:] = refused or [user]
        if user == refused[0]:
            return Reply.error(status, "I do not like it")
        return Reply.text(good(user, system) if "exactly" in system else "It rained.")

    given: dict[str, Any] = {"prompt_template": TheirPrompt(), "num_dialogs_per_intent": 1}
    with Provider(script) as provider:
        frame = made(api(provider), tmp_path, **given)
    assert is_exact(frame, 2)
    assert made(None, tmp_path, model="gpt-4o", **given).equals(frame)


def test_a_wrong_key_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A refused key raises one error at the first call, and a missing key one when the serving is constructed."""
    monkeypatch.delenv("DF_API_KEY", raising=False)
    with pytest.raises(ValueError, match="no key in the environment variable DF_API_KEY"):
        APILLMServing_request()
    monkeypatch.setenv("MY_KEY", "wrong-key")
    with Provider() as provider:
        for template in (None, TheirPrompt()):
            with pytest.raises(ServingError, match="The key was refused"):
                made(api(provider, key_name_of_api_key="MY_KEY"), tmp_path, prompt_template=template)


WRONG_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "an address": ({"api_url": "localhost:8000"}, "must be an address"),
    "a query": ({"api_url": "http://localhost/chat/completions?v=1"}, "has a query"),
    "no text": ({"api_url": None}, "api_url must be an address"),
    "workers": ({"max_workers": 0}, "max_workers must be"),
    "seconds": ({"read_timeout": -1}, "read_timeout must be"),
    "a setting": ({"top_p": 0.9}, "cannot send 'top_p'"),
    "no model": ({"model_name": ""}, "needs the model_name"),
}


@pytest.mark.parametrize(("given", "message"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_a_wrong_setting_is_said_at_once(given: dict[str, Any], message: str, key: None) -> None:
    """A wrong setting raises an error in the constructor, in terms of DataFlow's parameters."""
    with pytest.raises(RecipeError, match=message):
        APILLMServing_request(**given)


def test_no_address_is_openais_or_the_environments(key: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty `api_url`, as in the documented example, means OPENAI_BASE_URL."""
    with Provider() as provider:
        monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
        assert is_exact(made(APILLMServing_request(api_url="", model_name="gpt-4o", max_workers=30), tmp_path))
