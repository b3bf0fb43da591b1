"""Streams that are split between nodes, stopped and resumed give every row exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from datasets import IterableDataset, load_dataset
from datasets.distributed import split_dataset_by_node

MOST = 70
"""More dialogues than a stream has parts, so that some parts have one row and some have two: those of 10 and 11."""

Open = Callable[..., IterableDataset]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Return a function that opens a replaying stream; fewer dialogues are always a prefix of more."""
    responses: Path = tmp_path_factory.mktemp("streaming") / "responses"
    recipe = {"model": "rehearsal", "intents": ["simulation"], "num_turns_per_dialog": 1, "provenance": False}
    given = {**recipe, "responses": str(responses), "split": "train"}

    def opened(count: int = MOST) -> IterableDataset:
        return load_dataset("consistent_chat", num_dialogs_per_intent=count, streaming=True, **given)

    load_dataset("consistent_chat", num_dialogs_per_intent=MOST, serving="rehearsal", **given)
    return opened


@pytest.fixture(scope="module")
def rows(stream: Open) -> list[dict[str, Any]]:
    """Return all rows in order, which all differ."""
    made = list(stream())
    assert len(in_any_order(made)) == len(set(in_any_order(made))) == MOST
    return made


def in_any_order(made: Iterable[dict[str, Any]]) -> list[str]:
    """Return the rows as sorted JSON, so that their order does not matter."""
    return sorted(map(json.dumps, made))


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("nodes", [2, 3])
@pytest.mark.parametrize("count", [1, 7, MOST])
def test_nodes_divide_the_rows_between_them(stream: Open, rows: list[dict[str, Any]], count: int, nodes: int) -> None:
    """The nodes together get every row exactly once, even if the parts cannot be divided evenly."""
    shares = [list(split_dataset_by_node(stream(count), rank=rank, world_size=nodes)) for rank in range(nodes)]
    assert in_any_order(row for share in shares for row in share) == in_any_order(rows[:count])
    assert max(map(len, shares)) < count or count == 1


@pytest.mark.parametrize("stop", [0, 1, 10, 11, 12, MOST - 1, MOST])
def test_a_resumed_stream_gives_the_rest(stream: Open, rows: list[dict[str, Any]], stop: int) -> None:
    """A stream resumes between two parts and within one, from a state that was saved as JSON."""
    first, again = stream(), stream()
    seen = list(islice(first, stop))
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert seen == rows[:stop]
    assert list(again) == rows[stop:]


@pytest.mark.parametrize("nodes", [2, 3])
def test_a_nodes_share_is_resumed_too(stream: Open, nodes: int) -> None:
    """Each node resumes where it stopped."""
    whole, first, again = (split_dataset_by_node(stream(), rank=1, world_size=nodes) for _ in range(3))
    seen = list(islice(first, 11))
    again.load_state_dict(first.state_dict())
    assert seen + list(again) == list(whole)


def test_a_shuffled_stream_has_the_same_rows(stream: Open, rows: list[dict[str, Any]]) -> None:
    """Shuffling keeps the rows and changes their order, which is the same for the same seed."""
    shuffled, same = (list(stream().shuffle(seed=1, buffer_size=10)) for _ in range(2))
    assert in_any_order(shuffled) == in_any_order(rows)
    assert shuffled != rows
    assert shuffled == same
