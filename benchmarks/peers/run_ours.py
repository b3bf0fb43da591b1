"""Our own: `load_dataset` against an OpenAI-compatible server, with all checks on."""

from __future__ import annotations

import json
import sys

import datasets

import consistent_chat  # noqa: F401  teaches `datasets` the builder


def main(url: str, dialogs: str, folder: str) -> None:
    """Build the dataset, and write its conversations."""
    datasets.disable_progress_bars()
    fields = {"model": "gpt-4o-mini", "num_dialogs_per_intent": int(dialogs) // 9, "num_turns_per_dialog": 6}
    called = {"serving": "openai", "base_url": f"{url}/v1", "api_key": "a-key", "max_concurrency": 100}
    kept = {"responses": f"{folder}/responses", "cache_dir": f"{folder}/cache"}
    made = datasets.load_dataset("consistent_chat", split="train", **fields, **called, **kept)
    with open(f"{folder}/rows.jsonl", "w", encoding="utf-8") as file:
        for conversation in made["conversation"]:
            file.write(json.dumps([message["value"] for message in conversation]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
