"""Records the hand-written dialogues of demo_dialogues.yaml as the demo's responses: `python tools/record_demo.py`.

Run it after a change of the prompts or of the dialogues. It writes the demo's journal byte for byte the same
whenever nothing has changed; a test holds the two together.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from consistent_chat.dialogue.at_once import fill
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store.journal import HEADER
from consistent_chat.store.location import MARKER, STORE_FORMAT
from consistent_chat.store.record import Record, to_line

HERE = Path(__file__).parent
DEMO = HERE.parent / "consistent_chat" / "demo"


def main(responses: Path) -> None:
    """Write the demo's response store into a folder."""
    recipe = Recipe.from_file(str(DEMO / "demo.consistent_chat.yaml"))
    written = {entry["category"]: entry for entry in yaml.safe_load((HERE / "demo_dialogues.yaml").read_text("utf-8"))}
    plan = Plan(recipe)
    lines = [line for index, spec in enumerate(plan) for line in record(recipe, plan, index, written[spec.category])]
    (responses / "journals").mkdir(parents=True, exist_ok=True)
    (responses / "journals" / "demo.jsonl").write_bytes(HEADER + b"".join(lines))
    (responses / MARKER).write_text(json.dumps({"consistent_chat_store": STORE_FORMAT}) + "\n", "utf-8")


def record(recipe: Recipe, plan: Plan, index: int, entry: dict[str, Any]) -> Iterator[bytes]:
    """Yield the journal's lines of one dialogue, failed first draws included."""
    steps = fill(recipe, plan, index)
    request = steps.send(None)  # type: ignore[arg-type]  # None starts a generator
    try:
        while True:
            response = answer(request, entry)
            yield to_line(Record.of(request, response))
            request = steps.send(response)
    except StopIteration:
        return


def answer(request: Request, entry: dict[str, Any]) -> Response:
    """Return what was written for a request: a failed draw where there is one, else the messages as JSON."""
    role = next(iter(request.schema["properties"])).rpartition("_")[0]
    stage = {"user": "users", "assistant": "answers"}[role]
    failed = entry.get("failed_draws", {}).get(stage, [])
    if request.draw < len(failed):
        return Response(**failed[request.draw])
    numbered = {f"{role}_{number}": text for number, text in enumerate(entry[stage], 1)}
    return Response(json.dumps(numbered, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO / "responses")
