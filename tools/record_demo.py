"""Records hand-written dialogues as the responses of the demos: `python tools/record_demo.py`.

demo_dialogues.yaml has those of the demo, demo_languages.yaml those in other languages and with code. Run it after a
change of the prompts or of the dialogues. It writes the journals byte for byte the same whenever nothing has changed;
a test holds the two together.

To write new dialogues:

1. Change a demo's recipe (consistent_chat/demo/demo.consistent_chat.yaml): its taxonomy, seed, turns and shape.
2. `python tools/record_demo.py --show` prints both prompts of every spec. Write the messages and answers that they ask
   for into the demo's file here: an entry has the `category` of its spec, which it is found by, or the `topic` as well
   where several specs are of one category; `users` and `answers` with as many texts as the spec has turns; and
   `failed_draws` with unusable responses (text, finish) of either stage, if there are any.
3. Run the tool. What the parser or a check refuses is not recorded as a dialogue; the tests of the demo tell which.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from consistent_chat.dialogue import prompts
from consistent_chat.dialogue.at_once import fill
from consistent_chat.plan.plan import Plan, Spec
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store.journal import HEADER
from consistent_chat.store.location import MARKER, STORE_FORMAT
from consistent_chat.store.record import Record, to_line

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "consistent_chat"
DEMOS = {"demo": "demo_dialogues.yaml", "demo_languages": "demo_languages.yaml"}
"""The folders of the demos, and the files with what was written for each."""


def main(responses: Path, demo: str) -> None:
    """Write a demo's response store into a folder."""
    entries = yaml.safe_load((HERE / DEMOS[demo]).read_text("utf-8"))
    lines = [
        line
        for recipe in recipes(demo)
        for index, spec in enumerate(Plan(recipe))
        for line in record(recipe, Plan(recipe), index, find(entries, spec))
    ]
    (responses / "journals").mkdir(parents=True, exist_ok=True)
    (responses / "journals" / "demo.jsonl").write_bytes(HEADER + b"".join(lines))
    (responses / MARKER).write_text(json.dumps({"consistent_chat_store": STORE_FORMAT}) + "\n", "utf-8")


def recipes(demo: str) -> list[Recipe]:
    """Return a demo's recipes, by their names."""
    return [Recipe.from_file(str(path)) for path in sorted((PACKAGE / demo).glob("*.consistent_chat.yaml"))]


def find(entries: list[dict[str, Any]], spec: Spec) -> dict[str, Any]:
    """Return what was written for a spec: the entry of its category and topic."""
    return next(one for one in entries if (one["category"], one["topic"]) == (spec.category, spec.topic))


def show() -> None:
    """Print the two prompts of every spec of the demos; the messages are written between them."""
    for recipe in itertools.chain.from_iterable(map(recipes, DEMOS)):
        for spec in Plan(recipe):
            asked, answered = prompts.skeleton(spec, recipe.language), prompts.answers(spec, [], recipe.language)
            print(f"=== {recipe.language}, {spec.index} ===\n{asked[1]}\n\n{answered[1]}\n")
        print(f"=== {recipe.language}, all ===\n{asked[0]}\n\n{answered[0]}\n")


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
    if sys.argv[1:] == ["--show"]:
        show()
    else:
        for name in DEMOS:
            main(PACKAGE / name / "responses", name)
