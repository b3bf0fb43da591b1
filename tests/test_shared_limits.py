"""`max_calls` and `max_cost` bound a whole run: all parts of a stream, all splits, all processes together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import load_dataset

from consistent_chat.drive import Limits
from consistent_chat.errors import BudgetSpent, RecipeError
from tests.provider import Provider

MODEL = "claude-sonnet-4-6"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and a cache of its own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider of models that answers well."""
    with Provider() as running:
        yield running


def load(provider: Provider, **given: Any) -> Any:
    """Load with calls to the provider."""
    called = {"serving": "anthropic", "base_url": provider.url, "api_key": "a-key", "responses": "responses"}
    return load_dataset("consistent_chat", **called, **given)


def test_a_stream_keeps_to_max_calls_over_all_its_parts(provider: Provider) -> None:
    """One budget for the stream, not one for each part; iterating again goes on, without a second request."""
    stream = load(provider, model=MODEL, num_dialogs_per_intent=2, max_calls=20, streaming=True, split="train")
    with pytest.raises(BudgetSpent, match="max_calls=20 is reached"):
        list(stream)
    assert len(provider.requests) == 20
    assert len(list(stream)) == 18
    assert len(provider.requests) == 36


def test_a_stream_keeps_to_max_cost_over_all_its_parts(provider: Provider) -> None:
    """What a part has paid is missing to the next."""
    given = {"num_dialogs_per_intent": 20, "num_turns_per_dialog": 1, "streaming": True, "split": "train"}
    stream = load(provider, model=MODEL, max_cost=0.1, **given)
    with pytest.raises(BudgetSpent, match=r"max_cost=0\.1 is reached: \$0\.0\d+ is spent or in flight"):
        list(stream)
    assert 0 < len(provider.requests) < 360


def test_splits_share_what_may_be_called(provider: Provider) -> None:
    """Two splits of one call each are two calls too many for a limit of two."""
    for seed, split in enumerate(("train", "test")):
        Path(f"{split}.consistent_chat.yaml").write_text(
            f"model: {MODEL}\nnum_dialogs_per_intent: 1\nintents: [simulation]\nseed: {seed}\n"
        )
    files = {split: f"{split}.consistent_chat.yaml" for split in ("train", "test")}
    with pytest.raises(BudgetSpent):
        load(provider, data_files=files, max_calls=2)
    assert len(provider.requests) == 2
    assert load(provider, data_files=files, max_calls=2).num_rows == {"train": 1, "test": 1}
    assert len(provider.requests) == 4


def test_too_few_calls_for_so_many_processes_is_said() -> None:
    """A share of no calls would stop at once, however often it is run again."""
    with pytest.raises(RecipeError, match="max_calls=3 cannot be divided between 4 processes"):
        Limits(max_calls=3).divided(4)
    assert Limits(max_calls=0).divided(4).max_calls == 0


@pytest.mark.parametrize("name", ["max_requests_per_minute", "max_tokens_per_minute"])
def test_processes_share_what_may_be_asked_in_a_minute(name: str) -> None:
    """All shares together are no more than the limit; a share of nothing is said, and no limit stays none."""
    assert getattr(Limits(**{name: 100}).divided(3), name) == 33
    with pytest.raises(RecipeError, match=f"{name}=3 cannot be divided between 4 processes"):
        Limits(**{name: 3}).divided(4)
    assert getattr(Limits().divided(3), name) is None
