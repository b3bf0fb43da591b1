"""`load_dataset("consistent_chat", ...)` accepts the documented parameters, tested with a local provider."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import load_dataset, load_dataset_builder

import consistent_chat
from tests.provider import Call, Provider, Reply

MODEL = "claude-sonnet-4-6"


pytestmark = pytest.mark.usefixtures("work")


def load(provider: Provider | None = None, serving: str = "anthropic", **given: Any) -> Any:
    """Load a dataset with the responses in the parent folder, calling the provider if one is given."""
    called = {}
    if provider is not None:
        url = provider.url if serving == "anthropic" else provider.openai_url
        called = {"serving": serving, "base_url": url, "api_key": "a-key"}
    return load_dataset(
        "consistent_chat", **{"model": MODEL, "responses": "../responses", "split": "train", **called, **given}
    )


def answered(provider: Provider) -> Counter[str]:
    """Count the requests that the provider has received, by their system text and messages."""
    return Counter(repr((call.body.get("system"), call.body["messages"])) for call in provider.requests)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("serving", ["anthropic", "openai"])
def test_the_documented_parameters_mean_what_they_say(provider: Provider, serving: str) -> None:
    """A build makes 9 times 20 dialogues of 6 turns, sends the temperature, and sends no request twice."""
    made = load(provider, serving, num_dialogs_per_intent=20, num_turns_per_dialog=6, temperature=0.9)
    assert len(made) == 180
    for row in made:
        assert [message["role"] for message in row["conversation"]] == ["user", "assistant"] * 6
        assert all(message["value"] for message in row["conversation"])
    assert Counter(row["intent"] for row in made["provenance"]) == dict.fromkeys(
        Counter(p["intent"] for p in made["provenance"]), 20
    )
    assert len(provider.requests) == 360
    assert set(answered(provider).values()) == {1}
    assert {call.body["temperature"] for call in provider.requests} == {0.9}
    assert all('"user_6"' in repr(call.body) for call in provider.requests if call.stage == "skeleton")
    assert provider.in_flight_peak <= 30


def test_a_second_build_asks_nothing_and_gives_the_same_bytes(provider: Provider, tmp_path: Path) -> None:
    """A second build needs no key, sends no request, and gives the same Arrow and Parquet bytes."""
    first = load(provider, num_dialogs_per_intent=3)
    first.to_parquet("first.parquet")
    asked = len(provider.requests)
    datasets.config.HF_DATASETS_CACHE = tmp_path / "another cache"
    again = load(num_dialogs_per_intent=3, mode="replay")
    again.to_parquet("again.parquet")
    assert len(provider.requests) == asked
    assert first.cache_files != again.cache_files
    one, other = (Path(made.cache_files[0]["filename"]).read_bytes() for made in (first, again))
    assert one == other
    assert Path("first.parquet").read_bytes() == Path("again.parquet").read_bytes()


def hard(call: Call) -> Reply | None:
    """Return one of several faulty or good replies in turn, as a difficult model would."""
    moods = [
        Reply.fenced(), Reply.in_prose(), Reply.wrong_count(), Reply.wrong_count(1), Reply.refusal(),
        Reply.truncation(), Reply.text("Sorry?"), Reply.text("[]"), Reply.text('{"a": {"b": 1}}'), Reply.text(""),
        Reply.no_usage(), None, None,
    ]  # fmt: skip
    return moods[call.number * 7 % len(moods)]


@pytest.mark.slow
@pytest.mark.parametrize("serving", ["anthropic", "openai"])
def test_a_difficult_model_costs_no_dialogue(serving: str) -> None:
    """Code fences, prose, wrong counts, refusals and truncation do not reduce the number of complete dialogues."""
    with Provider(hard) as provider:
        made = load(provider, serving, num_dialogs_per_intent=6, max_draws=6)
        assert [len(row["conversation"]) for row in made] == [12] * 54
        assert [row["index"] for row in made["provenance"]] == list(range(54))
        asked = len(provider.requests)
        again = load(num_dialogs_per_intent=6, mode="replay", download_mode="force_redownload")
        assert again[:] == made[:]
        assert len(provider.requests) == asked


def test_rows_are_category_conversation_and_provenance(provider: Provider) -> None:
    """Rows have the documented columns, and `provenance=False` leaves out that column alone."""
    made = load(provider, num_dialogs_per_intent=1, num_turns_per_dialog=2)
    assert made.column_names == ["category", "conversation", "provenance"]
    assert set(made[0]["provenance"]) == {
        "id", "index", "language", "intent", "topic", "information_flow", "persona", "manner", "mood", "outcome",
        "ending", "answer_length", "message_length", "sensitive", "model", "draws", "request_keys",
        "input_tokens", "output_tokens",
    }  # fmt: skip
    bare = load(num_dialogs_per_intent=1, num_turns_per_dialog=2, provenance=False)
    assert bare.column_names == ["category", "conversation"]
    assert bare["conversation"][:] == made["conversation"][:]


@pytest.mark.parametrize(
    ("layout", "column", "first"),
    [
        ("messages", "messages", {"role": "user", "content": "question"}),
        ("sharegpt", "conversations", {"from": "human", "value": "question"}),
    ],
)
def test_layouts_rename_and_ask_nothing(provider: Provider, layout: str, column: str, first: dict[str, str]) -> None:
    """Another layout is built from the same responses without a call."""
    load(provider, num_dialogs_per_intent=1)
    made = load(num_dialogs_per_intent=1, layout=layout)
    assert list(made[0][column][0]) == list(first)
    assert next(iter(made[0][column][0].values())) == first[next(iter(first))]


def test_bare_rows_have_messages_alone(provider: Provider) -> None:
    """The layout `bare` has only the column `messages`, with the same messages as the layout `messages`."""
    made = load(provider, num_dialogs_per_intent=1, layout="messages")
    bare = load(num_dialogs_per_intent=1, layout="bare")
    assert bare.column_names == ["messages"]
    assert bare["messages"][:] == made["messages"][:]


def test_an_id_belongs_to_a_dialogue_wherever_its_row_stands(provider: Provider) -> None:
    """A dialogue has the same unique id in another layout and in a larger dataset."""
    few = load(provider, num_dialogs_per_intent=1)["provenance"]
    more = load(provider, num_dialogs_per_intent=2, layout="messages")["provenance"]
    ids = [row["id"] for row in more]
    assert [row["id"] for row in few] == ids[: len(few)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in ids)


@pytest.mark.parametrize("name", ["emotional_support", "transaction"])
def test_each_intent_is_a_config(provider: Provider, name: str) -> None:
    """`load_dataset("consistent_chat", "emotional_support", ...)` builds only that intent."""
    made = load(provider, name=name, num_dialogs_per_intent=2)
    assert {row["intent"] for row in made["provenance"]} == {name}
    assert len(made) == 2


def test_a_recipe_file_and_a_keyword_that_wins(provider: Provider) -> None:
    """`data_files=` accepts a recipe file, and keyword arguments override its fields."""
    Path("my.consistent_chat.yaml").write_text(f"model: {MODEL}\nnum_dialogs_per_intent: 3\nintents: [simulation]\n")
    assert len(load(provider, model=None, data_files="my.consistent_chat.yaml")) == 3
    assert len(load(provider, model=None, data_files="my.consistent_chat.yaml", num_dialogs_per_intent=4)) == 4


def test_a_folder_with_a_recipe_is_a_dataset(provider: Provider) -> None:
    """`load_dataset("folder")` recognizes the recipe by its extension."""
    Path("folder").mkdir()
    Path("folder", "my.consistent_chat.yaml").write_text(f"model: {MODEL}\nnum_dialogs_per_intent: 1\n")
    made = load_dataset(
        "folder", serving="anthropic", base_url=provider.url, api_key="a-key", responses="../responses", split="train"
    )
    assert len(made) == 9


def test_two_recipes_are_two_splits(provider: Provider) -> None:
    """Each split has its own recipe."""
    for split, count in (("train", 2), ("test", 1)):
        Path(f"{split}.consistent_chat.yaml").write_text(
            f"model: {MODEL}\nnum_dialogs_per_intent: {count}\nseed: {count}\n"
        )
    files = {split: f"{split}.consistent_chat.yaml" for split in ("train", "test")}
    made = load(provider, model=None, data_files=files, split=None)
    assert {split: len(rows) for split, rows in made.items()} == {"train": 18, "test": 9}


def test_streaming_gives_the_same_rows(provider: Provider) -> None:
    """Streaming gives the rows of the built dataset in the same order."""
    made = load(provider, num_dialogs_per_intent=2)
    assert list(load(num_dialogs_per_intent=2, streaming=True)) == made.to_list()


def test_streaming_shows_the_first_row_long_before_the_last(provider: Provider) -> None:
    """Reading the first of 900 streamed rows sends at most 20 requests."""
    stream = load(provider, num_dialogs_per_intent=100, streaming=True, max_concurrency=2)
    next(iter(stream))
    assert len(provider.requests) <= 20


@pytest.mark.slow
@pytest.mark.parametrize("num_proc", [2, 4])
def test_several_processes_give_the_same_rows_and_keep_the_limit(num_proc: int) -> None:
    """Several processes share the concurrency limit and give the rows in the same order."""
    with Provider(delay=0.02) as provider:
        made = load(provider, num_dialogs_per_intent=4, num_proc=num_proc, max_concurrency=4)
        assert provider.in_flight_peak <= 4
        assert len(provider.requests) == 72
        again = load(num_dialogs_per_intent=4, download_mode="force_redownload")
        assert again[:] == made[:]


def test_the_shape_is_known_without_a_call() -> None:
    """`load_dataset_builder(...).info` gives the columns without a model."""
    info = load_dataset_builder("consistent_chat").info
    assert list(info.features) == ["category", "conversation", "provenance"]


def test_operational_fields_are_no_part_of_the_identity(provider: Provider) -> None:
    """Operational fields do not change the directory of the cache, but every recipe field does."""

    def cache(**given: Any) -> str:
        return load_dataset_builder("consistent_chat", **{"model": MODEL, **given}).cache_dir

    same = {
        cache(), cache(responses="elsewhere"), cache(api_key="k"), cache(serving="openai"), cache(base_url="http://x"),
        cache(max_concurrency=3), cache(max_calls=1), cache(mode="replay"), cache(timeout=9.0), cache(max_draws=9),
    }  # fmt: skip
    assert len(same) == 1
    shaping = [
        {"model": "other"}, {"seed": 1}, {"temperature": 0.8}, {"language": "Thai"}, {"num_turns_per_dialog": 5},
        {"num_dialogs_per_intent": 21}, {"intents": ["simulation"]}, {"layout": "messages"}, {"provenance": False},
        {"taxonomy": {"personas": ["a diver"]}},
    ]  # fmt: skip
    assert len(same | {cache(**given) for given in shaping}) == 1 + len(shaping)


def test_growing_keeps_the_old_rows_and_asks_only_for_new_ones(provider: Provider) -> None:
    """Doubling the number of dialogues keeps the old rows and sends requests only for the new ones."""
    small = load(provider, num_dialogs_per_intent=2)
    asked = len(provider.requests)
    grown = load(provider, num_dialogs_per_intent=4)
    assert grown.select(range(18))[:] == small[:]
    assert len(provider.requests) == 2 * asked


def test_a_folder_full_of_files_is_not_scanned(provider: Provider) -> None:
    """A call without files ignores the current folder, which has 2,000 files and an unreadable folder."""
    for number in range(2000):
        Path(f"{number}.csv").touch()
    os.mkdir("forbidden", 0)
    assert len(load(provider, num_dialogs_per_intent=1)) == 9


def test_direct_use_works_without_registration(provider: Provider, tmp_path: Path) -> None:
    """`ConsistentChat(...).download_and_prepare()` builds without `load_dataset`."""
    builder = consistent_chat.ConsistentChat(
        cache_dir=str(tmp_path / "direct"), serving="anthropic", base_url=provider.url, api_key="a-key", model=MODEL,
        num_dialogs_per_intent=1, responses="../responses",
    )  # fmt: skip
    builder.download_and_prepare()
    assert len(builder.as_dataset(split="train")) == 9


def test_refresh_supersedes_without_being_told_twice(provider: Provider) -> None:
    """`mode="refresh"` rebuilds a dataset that is already in the cache, with new requests."""
    load(provider, num_dialogs_per_intent=1)
    asked = len(provider.requests)
    load(provider, num_dialogs_per_intent=1, mode="refresh")
    assert len(provider.requests) == 2 * asked


def test_the_key_is_nowhere_in_what_is_written(provider: Provider, tmp_path: Path) -> None:
    """The API key is not written to the store or the dataset's cache, and not shown in the config's repr."""
    key = "sk-ant-very-secret-0123456789"
    load(provider, api_key=key, num_dialogs_per_intent=1)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if key.encode() in path.read_bytes()]
    builder = load_dataset_builder("consistent_chat", model=MODEL, api_key=key)
    assert key not in repr(builder.config)


def test_values_of_numpy_are_values_of_python() -> None:
    """NumPy values of recipe and operational fields give the same dataset as the equivalent Python values."""
    import numpy as np

    shape = {
        "serving": np.str_("rehearsal"),
        "num_dialogs_per_intent": np.int32(1),
        "intents": np.array(["simulation"]),
    }
    how = {
        "max_concurrency": np.int64(3),
        "max_calls": np.uint8(9),
        "timeout": np.float32(9),
        "streaming": np.bool_(True),
    }
    fields = {"provenance": np.bool_(True), "checks": {"repeats": np.float64(0.5), "broken_off": np.bool_(False)}}
    made = load_dataset_builder("consistent_chat", **shape, **how, **fields)
    plain = load_dataset_builder(
        "consistent_chat", serving="rehearsal", num_dialogs_per_intent=1, intents=["simulation"],
        provenance=True, checks={"repeats": 0.5, "broken_off": False},
    )  # fmt: skip
    assert made.recipes == plain.recipes
    assert made.cache_dir == plain.cache_dir
    assert [type(value) for value in (made.config.max_concurrency, made.config.timeout, made.config.streaming)] == [
        int, float, bool,
    ]  # fmt: skip
