"""Compares the three forms of making dialogues: the same specs, at once, answers turn by turn, and both turn by turn.

    python benchmarks/forms.py                                        # rehearsed: no calls, shows what is printed
    python benchmarks/forms.py --serving anthropic --model claude-haiku-4-5 --dialogs 5 --judge-model claude-sonnet-4-6
    python benchmarks/forms.py --serving openai --base-url http://127.0.0.1:8000/v1 --model my-model

All responses are kept below --folder, so that a second run makes no calls. Columns: the mean words of a message of
each side and their coefficient of variation; the share of three-word runs of the answers that are different (1.0: none
is repeated); words of an answer that the user says first in a later message, in percent (answers that know the future
take up words before they are said); the judge's mean score; calls and dollars.
"""

from __future__ import annotations

import argparse
import itertools
import re
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from consistent_chat.commands.estimate_notes import FORMS
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue import Dialogue
from consistent_chat.drivers import RunStats

COLUMNS = ("users", "answers", "words", "cv", "words", "cv", "different", "ahead %", "score", "calls", "dollars")
RARE = 6
"""Letters from which a word counts as one of content, in any language with an alphabet."""


def main() -> None:
    """Build in each form and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogs", type=int, default=2, help="dialogues for each intent")
    parser.add_argument("--folder", default="", help="where the responses are kept")
    for name in ("--serving", "--model", "--user-model", "--base-url", "--judge-model"):
        parser.add_argument(name)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    number, folder = given.pop("dialogs"), given.pop("folder") or tempfile.mkdtemp()
    given.setdefault("serving", "rehearsal")
    print("| " + " | ".join(COLUMNS) + " |", "|---|---|" + "--:|" * (len(COLUMNS) - 2), sep="\n")
    for users, answers in FORMS:
        stats, made = build(folder, number, {**given, "users": users, "answers": answers})
        print("| " + " | ".join([users, answers, *figures(made), *totals(stats)]) + " |")


def build(folder: str, number: int, given: dict[str, Any]) -> tuple[RunStats, list[Dialogue]]:
    """Make the same specs in one form."""
    one_model = given["users"] == given["answers"] == "at_once"
    options = {name: value for name, value in given.items() if not (one_model and name == "user_model")}
    builder = open_builder(None, responses=str(Path(folder, "responses")), num_dialogs_per_intent=number, **options)
    stats = RunStats()
    return stats, list(builder.dialogues("train", range(len(builder.plans()["train"])), stats))


def figures(made: Sequence[Dialogue]) -> Iterator[str]:
    """Yield the figures of the dialogues of one form."""
    for side in ("user_messages", "answers"):
        lengths = [len(text.split()) for each in made for text in getattr(each, side)]
        mean = statistics.fmean(lengths)
        yield f"{mean:.1f}"
        yield f"{statistics.pstdev(lengths) / mean:.2f}"
    runs = [run for each in made for text in each.answers for run in zip(*(text.split()[n:] for n in range(3)))]
    yield f"{len(set(runs)) / max(1, len(runs)):.2f}"
    yield f"{100 * statistics.fmean(ahead(each) for each in made):.1f}"
    scores = [score for each in made for score in each.scores.values()]
    yield f"{statistics.fmean(scores):.2f}" if scores else ""


def ahead(dialogue: Dialogue) -> float:
    """Return the share of the content words in the answers that only a later user message says first."""
    users = [content(text) for text in dialogue.user_messages]
    said: set[str] = set()
    early = total = 0
    for turn, answer in enumerate(map(content, dialogue.answers)):
        said |= users[turn]
        later = set(itertools.chain.from_iterable(users[turn + 1 :]))
        early, total = early + len((answer & later) - said), total + len(answer)
        said |= answer
    return early / max(1, total)


def content(text: str) -> set[str]:
    """Return the long words of a text."""
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) >= RARE}


def totals(stats: RunStats) -> tuple[str, str]:
    """Return the calls and dollars of a run."""
    return str(stats.calls), "" if stats.cost is None else f"{stats.cost:.4f}"


if __name__ == "__main__":
    main()
