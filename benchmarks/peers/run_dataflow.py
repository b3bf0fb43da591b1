"""DataFlow's own operator, with its own prompts and its own serving of 100 threads."""

from __future__ import annotations

import json
import sys

from dataflow.operators.conversations import ConsistentChatGenerator
from dataflow.prompts.general_text import ConsistentChatPrompt
from dataflow.serving import APILLMServing_request
from dataflow.utils.storage import FileStorage


def main(url: str, dialogs: str, folder: str) -> None:
    """Run the operator, and write its conversations. Without `prompt_template` it fails."""
    serving = APILLMServing_request(api_url=f"{url}/v1/chat/completions", model_name="gpt-4o-mini", max_workers=100)
    operator = ConsistentChatGenerator(
        llm_serving=serving,
        num_dialogs_per_intent=int(dialogs) // 9,
        num_turns_per_dialog=6,
        temperature=0.9,
        prompt_template=ConsistentChatPrompt(),
    )
    storage = FileStorage("", cache_path=f"{folder}/cache", file_name_prefix="step", cache_type="jsonl")
    made = operator.run(storage.step())
    with open(f"{folder}/rows.jsonl", "w", encoding="utf-8") as file:
        for conversation in made["conversation"]:
            file.write(json.dumps([message["value"] for message in conversation]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
