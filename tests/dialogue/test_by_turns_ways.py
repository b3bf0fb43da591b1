"""Test that turn-by-turn dialogues are the same with several processes, with shards, after kills and as a stream."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from typing import Any

import pytest
from datasets import load_dataset

import consistent_chat
from tests import ROOT, forked
from tests.dialogue.turns import in_turn
from tests.provider import Provider

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("folder")]
BOTH = {"users": "turn_by_turn", "answers": "turn_by_turn", "num_turns_per_dialog": 3}
RECIPE: dict[str, Any] = {"model": "claude-sonnet-4-6", "num_dialogs_per_intent": 2, **BOTH}
SCRIPT = (
    "import consistent_chat; from datasets import load_dataset; import sys, json\n"
    "load_dataset('consistent_chat', split='train', **json.loads(sys.argv[1]))"
)


def rows(store: str, **given: Any) -> list[dict[str, Any]]:
    """Return the rows of a new build with a response store."""
    return list(load_dataset("consistent_chat", split="train", responses=store, **{**RECIPE, **given}))


def test_processes_shards_and_streams() -> None:
    """Builds with two processes, with two shards and as a stream give the same rows as a build in one process."""
    made = {"model": "rehearsal", "serving": "rehearsal"}
    first = rows("one", **made)
    assert len(first) == 18
    assert all(len(row["conversation"]) == 6 for row in first)
    assert rows("several", num_proc=2, **made) == first
    for shard in ("1/2", "2/2"):
        consistent_chat.warm(shard=shard, responses="shards", **{**RECIPE, **made})
    assert rows("shards", model="rehearsal", download_mode="force_redownload") == first
    assert rows("one", model="rehearsal", streaming=True) == first


@pytest.mark.parametrize("seed", range(2))
def test_a_build_that_is_killed_and_resumed(seed: int) -> None:
    """A build that is killed three times with `kill -9` repeats only the calls in flight and gives the same rows."""
    moments = random.Random(seed)
    with Provider(in_turn, delay=0.01) as provider:
        called = {"serving": "anthropic", "base_url": provider.url, "api_key": "k", "max_concurrency": 4}
        given = json.dumps({**RECIPE, **called, "responses": "killed", "cache_dir": "cache"})
        for _ in range(3):
            stop = len(provider.requests) + moments.randrange(1, 30)
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            running = forked.start([sys.executable, "-c", SCRIPT, given], environment)
            while len(provider.requests) < stop and running.poll() is None:
                time.sleep(0.002)
            running.send_signal(signal.SIGKILL)
            running.wait()
        made = rows("killed", **called)
        assert len(provider.requests) <= 18 * 6 + 3 * 4
        assert made == rows("undisturbed", download_mode="force_redownload", **called)
