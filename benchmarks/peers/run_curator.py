"""Curator (bespokelabs-curator): two classes of prompts, one for each stage, through its own OpenAI backend."""

from __future__ import annotations

import sys
from typing import Any

import prompts
from bespokelabs import curator
from datasets import Dataset
from litellm.litellm_core_utils import default_encoding  # noqa: F401  has the tokenizer's table, which is else fetched


class Skeletons(curator.LLM):
    """Asks for the user's messages."""

    def prompt(self, input: dict[str, Any]) -> list[dict[str, str]]:
        """Return the messages for a row."""
        return [{"role": "system", "content": input["system"]}, {"role": "user", "content": input["user"]}]

    def parse(self, input: dict[str, Any], response: str) -> dict[str, Any]:
        """Return the row of a response."""
        return {"asked": prompts.texts(response, "user")}


class Answers(curator.LLM):
    """Asks for the answers to them."""

    def prompt(self, input: dict[str, Any]) -> list[dict[str, str]]:
        """Return the messages for a row."""
        asking = prompts.answering(input["asked"])
        return [{"role": "system", "content": prompts.SYSTEM}, {"role": "user", "content": asking}]

    def parse(self, input: dict[str, Any], response: str) -> dict[str, Any]:
        """Return the row of a response."""
        return {"asked": input["asked"], "answered": prompts.texts(response, "assistant")}


def main(url: str, dialogs: str, folder: str) -> None:
    """Run both stages. The limits a minute are so high that 100 calls in flight are the only bound."""
    given = {
        "model_name": "gpt-4o-mini",
        "backend": "openai",
        "generation_params": {"temperature": 0.9},
        "backend_params": {
            "base_url": f"{url}/v1",
            "api_key": "a-key",
            "max_concurrent_requests": 100,
            "max_requests_per_minute": 1_000_000,
            "max_tokens_per_minute": 10_000_000_000,
            "require_all_responses": False,
        },
    }
    asked = _rows(Skeletons(**given)(Dataset.from_list(prompts.read(int(dialogs))), working_dir=f"{folder}/first"))
    whole = Dataset.from_list([row for row in asked if row["asked"]])
    answered = _rows(Answers(**given)(whole, working_dir=f"{folder}/second"))
    prompts.save(folder, [(row["asked"], row["answered"]) for row in answered])


def _rows(response: Any) -> Any:
    """Return the rows of a call: newer versions put the dataset into a response."""
    return getattr(response, "dataset", response)


if __name__ == "__main__":
    main(*sys.argv[1:])
