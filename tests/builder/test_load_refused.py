"""Invalid input raises one clear error, before any call if possible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consistent_chat.errors import ConsistentChatError, MissingResponse, RecipeError, ServingError, StoreError
from tests.builder.test_load import load
from tests.provider import Provider

pytestmark = pytest.mark.usefixtures("work")


def test_a_taxonomy_that_is_too_small_is_said_up_front(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    """A taxonomy that is too small logs a warning with the numbers, and each dialogue still has its own requests."""
    category = {"Knots": ["a bowline that slips in new rope"]}
    intent = {"title": "Craft", "purpose": "learning", "flows": ["time_sequence"], "categories": category}
    taxonomy = {"intents": {"craft": intent}, "personas": ["a sailor"], "manners": {"terse": "short"}}
    made = load(provider, taxonomy=taxonomy, num_dialogs_per_intent=3)
    assert "After 1 of 3 dialogues, the intent 'craft' repeats combinations of topic, flow" in caplog.text
    assert len({row["request_keys"][0] for row in made["provenance"]}) == 3


BAD_INPUT = [
    ({"num_turns_per_dialog": 0}, "num_turns_per_dialog must be a whole number from 1 to 100, not 0"),
    ({"num_dialogs_per_intent": "many"}, "num_dialogs_per_intent must be a whole number"),
    ({"temperature": 3}, "temperature must be a number from 0 to 2, not 3"),
    ({"intents": ["problem_solvin"]}, "there is no intent 'problem_solvin'. Did you mean 'problem_solving'?"),
    ({"serving": "antropic"}, "There is no serving 'antropic'. Did you mean 'anthropic'?"),
    ({"temprature": 0.5}, "takes no 'temprature'. Did you mean 'temperature'?"),
    ({"mode": "reply"}, "there is no mode 'reply'. Did you mean 'replay'?"),
    ({"max_concurrency": 0}, "max_concurrency must be a whole number of at least 1, not 0"),
    (
        {"layout": "chatml"},
        "layout must be one of conversation, messages, sharegpt, bare, preference, kto, not",
    ),
    ({"language": ""}, "language must be one line of text"),
    ({"model": None}, "No model is set. Pass model="),
]


@pytest.mark.parametrize(("given", "message"), BAD_INPUT, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_input_is_one_clear_message_before_any_call(
    provider: Provider, given: dict[str, Any], message: str
) -> None:
    """Invalid input raises an error before any request, and no store is created."""
    with pytest.raises(RecipeError) as caught:
        load(provider, **given)
    assert message in str(caught.value)
    assert provider.requests == []
    assert not Path("../responses").exists()


def test_a_typo_in_a_recipe_file_names_its_line(provider: Provider) -> None:
    """The error for an unknown field names the file, the line and the nearest field name."""
    Path("my.consistent_chat.yaml").write_text("model: m\nnum_dialogs_per_intnt: 3\n")
    with pytest.raises(RecipeError, match=r"my\.consistent_chat\.yaml, line 2 .*Did you mean 'num_dialogs_per_intent'"):
        load(provider, model=None, data_files="my.consistent_chat.yaml")


def test_a_missing_key_is_said_before_any_call(provider: Provider) -> None:
    """A missing API key raises an error that names the environment variable, before any request."""
    with pytest.raises(ServingError, match="ANTHROPIC_API_KEY"):
        load(provider, api_key=None, num_dialogs_per_intent=1)
    assert provider.requests == []


def test_an_unwritable_store_is_said_before_any_call(provider: Provider) -> None:
    """A store location that is a file raises an error before any request."""
    Path("taken").write_text("not a folder")
    with pytest.raises(StoreError, match=r"taken.*cannot be"):
        load(provider, responses="taken", num_dialogs_per_intent=1)
    assert provider.requests == []


@pytest.mark.parametrize(
    ("given", "message"),
    [({"model": "no-such-model"}, "no-such-model"), ({"api_key": "wrong-key"}, "The key was refused")],
)
def test_what_the_provider_refuses_stops_at_once(provider: Provider, given: dict[str, str], message: str) -> None:
    """A rejected model or key stops the build after at most 6 requests, with one message that does not show the key."""
    with pytest.raises(ServingError, match=message) as caught:
        load(provider, **given, num_dialogs_per_intent=20, max_concurrency=5)
    assert "wrong-key" not in str(caught.value)
    assert len(provider.requests) <= 6  # five at once, and one that shows what is at fault


def test_without_a_serving_no_calls_are_made() -> None:
    """A missing response without a serving raises an error that says to pass `serving=`."""
    with pytest.raises(MissingResponse, match="Pass serving="):
        load(num_dialogs_per_intent=1)


@pytest.mark.slow
def test_errors_reach_the_user_unwrapped_from_other_processes(provider: Provider) -> None:
    """Errors of other processes reach the user without "An error occurred while generating the dataset"."""
    with pytest.raises(ConsistentChatError, match="no-such-model"):
        load(provider, model="no-such-model", num_proc=2)
