"""What peers without prompts of their own ask: the skeletons' prompts of a plan, and then the answers to messages.

compare.py's peers are in environments without this project, so the prompts come from a file that `write` makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TURNS = 6
FILE = Path(__file__).parent / "prompts.jsonl"
SYSTEM = "You are the assistant of a conversation. You write all of your answers at once."


def write(dialogs: int, path: Path = FILE) -> None:
    """Write the prompts of so many dialogues, one a line: its system text and its user text."""
    from consistent_chat.dialogue import prompts
    from consistent_chat.plan import Plan
    from consistent_chat.recipe import Recipe

    plan = Plan(Recipe(model="gpt-4o-mini", num_dialogs_per_intent=dialogs // 9, num_turns_per_dialog=TURNS))
    with open(path, "w", encoding="utf-8") as file:
        for spec in plan:
            system, user = prompts.skeleton(spec, "English")
            file.write(json.dumps({"system": system, "user": user}) + "\n")


def read(dialogs: int) -> list[dict[str, str]]:
    """Return the prompts of so many dialogues."""
    with open(FILE, encoding="utf-8") as file:
        return [json.loads(line) for _, line in zip(range(dialogs), file)]


def answering(questions: list[str]) -> str:
    """Return the prompt for the answers to user messages."""
    listed = json.dumps({f"user_{number}": text for number, text in enumerate(questions, 1)}, indent=0)
    return (
        f"These are the user's messages:\n{listed}\n\nAnswer with one JSON object and nothing else: the keys "
        f'"assistant_1" to "assistant_{len(questions)}", in this order, each with the text of one answer as a string.'
    )


def texts(response: Any, role: str) -> list[str]:
    """Return the texts of a response, none where it cannot be read: that is what peers leave to their users."""
    try:
        told = json.loads(response)
        return [told[f"{role}_{number}"] for number in range(1, TURNS + 1)]
    except (ValueError, TypeError, KeyError):
        return []


def save(folder: str, conversations: list[tuple[list[str], list[str]]]) -> None:
    """Write the conversations that have questions and answers: user and assistant in turn."""
    with open(Path(folder, "rows.jsonl"), "w", encoding="utf-8") as file:
        for asked, answered in conversations:
            if asked and answered:
                file.write(json.dumps([text for pair in zip(asked, answered) for text in pair]) + "\n")


if __name__ == "__main__":
    import sys

    write(int(sys.argv[1]) if len(sys.argv) > 1 else 1800)
