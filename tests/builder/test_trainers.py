"""Transformers' chat templates, TRL and a torch DataLoader can use the rows.

The tests need torch, transformers and trl (`nox -s trainers`). They make the tokenizer and the model and download
nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import load_dataset

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
trl = pytest.importorskip("trl")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.utils.data import DataLoader
from trl import data_utils

from consistent_chat.errors import BudgetSpent
from tests.provider import Provider

END = "<|end|>"
STRICT = (
    "{% for message in messages %}"
    "{% if message['role'] != ['user', 'assistant'][loop.index0 % 2] %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|{{ message['role'] }}|>"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + end }}{% endgeneration %}"
    "{% else %}{{ message['content'] + end }}{% endif %}"
    "{% endfor %}"
).replace("end }}", f"'{END}' }}}}")
"""A chat template as strict as any: roles take turns, the user begins. It marks what a model is to learn."""

OPEN = "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] + '<|end|>' }}{% endfor %}"
"""A chat template that takes any role, as most do."""

Rows = Any
Tokens = Any


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a separate cache for each test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def rows() -> Rows:
    """Return the demo in the layout that trainers of chat models read."""
    return load_dataset("consistent_chat", "demo", layout="messages", split="train")


@pytest.fixture
def tokenizer(rows: Rows) -> Tokens:
    """Return a tokenizer of a few hundred tokens that decodes every text unchanged."""
    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|user|>", "<|assistant|>", END],
        show_progress=False,
    )
    fast.train_from_iterator((message["content"] for row in rows for message in row["messages"]), trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast, eos_token=END, pad_token=END, chat_template=STRICT
    )


def written_out(row: dict[str, Any]) -> str:
    """Return the text that the chat template makes of a row."""
    return "".join(f"<|{message['role']}|>{message['content']}{END}" for message in row["messages"])


def test_chat_templates_take_every_row_as_it_is(rows: Rows, tokenizer: Tokens) -> None:
    """A strict chat template accepts every row, and decoding the tokens gives back the exact text."""
    for row in rows:
        assert tokenizer.apply_chat_template(row["messages"], tokenize=False) == written_out(row)
        tokens = tokenizer.apply_chat_template(row["messages"], return_dict=True)
        assert tokenizer.decode(tokens["input_ids"]) == written_out(row)


def test_exactly_the_answers_are_learnt(rows: Rows, tokenizer: Tokens) -> None:
    """The tokens that a template marks for training are exactly the assistant's messages."""
    for row in rows:
        tokens = tokenizer.apply_chat_template(row["messages"], return_dict=True, return_assistant_tokens_mask=True)
        learnt = [token for token, mask in zip(tokens["input_ids"], tokens["assistant_masks"]) if mask]
        answers = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
        assert tokenizer.decode(learnt) == "".join(f"{answer}{END}" for answer in answers)


def test_trl_recognises_the_rows_as_conversations(rows: Rows, tokenizer: Tokens) -> None:
    """TRL's helpers accept the rows unchanged and give the same text as the template."""
    for row in rows:
        assert data_utils.is_conversational(row)
        assert data_utils.apply_chat_template(row, tokenizer) == {"text": written_out(row)}
        assert data_utils.maybe_apply_chat_template(row, tokenizer) == {"text": written_out(row)}
        assert written_out(data_utils.maybe_convert_to_chatml(copy.deepcopy(row))) == written_out(row)
    mapped = rows.map(data_utils.maybe_apply_chat_template, fn_kwargs={"processing_class": tokenizer})
    assert mapped["text"][:] == [written_out(row) for row in rows]


def test_a_system_prompt_is_the_first_message_of_a_conversation(tokenizer: Tokens) -> None:
    """A chat template that accepts system messages puts the system prompt before the user's first message."""
    tokenizer.chat_template = OPEN
    made = load_dataset(
        "consistent_chat", "simulation", serving="rehearsal", num_dialogs_per_intent=2, layout="messages",
        system_prompt="You are the ship's cook.\nBe brief.", split="train",
    )  # fmt: skip
    for row in made:
        assert written_out(row).startswith(f"<|system|>You are the ship's cook.\nBe brief.{END}<|user|>")
        assert tokenizer.apply_chat_template(row["messages"], tokenize=False) == written_out(row)
        assert data_utils.is_conversational(row)
        assert data_utils.apply_chat_template(row, tokenizer) == {"text": written_out(row)}


@pytest.mark.parametrize("layout", ["conversation", "sharegpt"])
def test_trl_does_not_recognise_the_other_layouts(layout: str) -> None:
    """TRL does not recognize these layouts as conversations, which is why the layout `messages` exists."""
    row = load_dataset("consistent_chat", "demo", layout=layout, split="train")[0]
    assert not data_utils.is_conversational(row)


@pytest.mark.parametrize("streaming", [False, True], ids=["built", "streamed"])
def test_trl_trains_on_the_dataset_as_it_is(tokenizer: Tokens, tmp_path: Path, streaming: bool) -> None:
    """TRL trains on built and streamed rows without column changes, with the loss on the answers only."""
    rows = load_dataset("consistent_chat", "demo", layout="messages", split="train", streaming=streaming)
    texts = [written_out(row) for row in rows]
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_positions=8192, n_embd=8, n_layer=1, n_head=1)
    trainer = trl.SFTTrainer(
        model=transformers.GPT2LMHeadModel(config),
        train_dataset=rows,
        processing_class=tokenizer,
        args=trl.SFTConfig(
            output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=1, max_length=None, use_cpu=True,
            bf16=False, assistant_only_loss=True, report_to=[], save_strategy="no", disable_tqdm=True,
        ),
    )  # fmt: skip
    assert [tokenizer.decode(row["input_ids"]) for row in trainer.train_dataset] == texts
    assert trainer.train().training_loss > 0


def test_a_data_loaders_workers_divide_the_rows() -> None:
    """Any number of workers together give every row exactly once."""
    stream = load_dataset("consistent_chat", "demo", split="train", streaming=True)
    expected = list(stream)
    for workers in (0, 2, 3):
        made = list(DataLoader(stream, batch_size=None, num_workers=workers))
        assert sorted(made, key=lambda row: row["provenance"]["index"]) == expected


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Run a provider that answers after 20 ms, so that calls overlap."""
    with Provider(delay=0.02) as running:
        yield running


def live(provider: Provider, responses: Path, **given: Any) -> Any:
    """Open a live stream of 192 dialogues, three per part."""
    return load_dataset(
        "consistent_chat", serving="anthropic", base_url=provider.url, api_key="a-key", model="claude-sonnet-4-6",
        intents=["simulation"], num_dialogs_per_intent=192, num_turns_per_dialog=1, responses=str(responses),
        split="train", streaming=True, **given,
    )  # fmt: skip


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_workers_of_a_live_stream_share_its_limits(provider: Provider, tmp_path: Path, start: str) -> None:
    """Each worker runs its own driver with its share of the concurrency, and no request is sent twice."""
    stream = live(provider, tmp_path, max_concurrency=4)
    made = list(DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context=start))
    assert sorted(row["provenance"]["index"] for row in made) == list(range(192))
    assert len(provider.requests) == 384
    assert 2 < provider.in_flight_peak <= 4


def test_the_workers_of_a_live_stream_share_its_budget(provider: Provider, tmp_path: Path) -> None:
    """Two workers together stay within `max_calls`."""
    stream = live(provider, tmp_path, max_calls=20)
    with pytest.raises(BudgetSpent, match="rerun to resume"):
        list(DataLoader(stream, batch_size=None, num_workers=2))
    assert len(provider.requests) <= 20


def test_trl_trains_on_pairs_of_two_answers(tokenizer: Tokens, tmp_path: Path) -> None:
    """TRL's DPO trainer accepts the rows of the layout `preference` unchanged."""
    rows = load_dataset(
        "consistent_chat", "simulation", serving="rehearsal", num_dialogs_per_intent=2, layout="preference",
        judge_model="rehearsal", preferences={"temperature": 1.2}, responses=str(tmp_path / "store"), split="train",
    )  # fmt: skip
    tokenizer.chat_template = OPEN
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_positions=8192, n_embd=8, n_layer=1, n_head=1)
    model = transformers.GPT2LMHeadModel(config)
    trainer = trl.DPOTrainer(
        model=model,
        ref_model=copy.deepcopy(model),  # otherwise TRL loads it by the model's name, which a new model lacks
        train_dataset=rows,
        processing_class=tokenizer,
        args=trl.DPOConfig(
            output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=1, max_length=None, use_cpu=True,
            bf16=False, report_to=[], save_strategy="no", disable_tqdm=True,
        ),
    )  # fmt: skip
    assert trainer.train().training_loss > 0
    assert all(data_utils.is_conversational(row) for row in rows)
