"""Shows the dialogues of a dataset one by one on the terminal and reads marks, for `consistent-chat review`.

A line of input is a command: `x the second answer is wrong`. The marks are written to a review file after each change,
so that nothing is lost when the terminal closes. The report's page saves the same kind of file, and recipes read it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.recipe.review import Mark
from consistent_chat.reports import marks, sources
from consistent_chat.reports.marks import Marks
from consistent_chat.reports.records import ReportRow
from consistent_chat.text.console import screen, shown, tell

INDENT = 6
"""Number of columns of indentation: of answers on the left, of user messages on the right."""
HELP = (
    "Enter or j: next; k: previous; a: keep; x REASON: reject; n NOTE: note; e MESSAGE [TEXT]: edit, such as "
    "e assistant_2 (without TEXT in your editor); u: remove the mark; q: quit."
)


def review(
    source: str | None = None,
    output: str | None = None,
    export: str | None = None,
    records: str | None = None,
    **options: Any,
) -> str:
    """Read marks of the dialogues of a source and return a summary; with `export` or `records`, show no dialogues.

    `source` and `options` are those of a report. `output` is the review file, by default NAME.review.yaml in the
    current folder; existing marks in it, or in the recipe's review, are kept. `export` writes the dialogues with their
    marks as records of Argilla; `records` reads the marks from such a file. Raises RecipeError, ConsistentChatError.
    """
    reading = sources.read(source, **options)
    path = output or f"{_file_name(reading.title)}.review.yaml"
    if os.path.isdir(path):
        raise RecipeError(f"--output {path} is a folder. Pass a file for the review.")
    made = marks.read(path, reading.review)
    entries = (entry for entry in reading.entries if entry.row is not None and entry.answers_key)
    if export is not None:
        return marks.write_records(entries, made, export)
    if records is not None:
        said = marks.read_records(records, made, {entry.answers_key: entry.origin["request_keys"] for entry in entries})
        marks.write(path, made)
        return f"{said} They are in {path}."
    session = Session(entries, made, lambda: marks.write(path, made), screen())
    session.run(sys.stdin.readline)
    return f"{len(made.review.marks):,} marks are in {path}. Name it in a recipe: review: {os.path.basename(path)}"


class Session:
    """A review session. `save` is called after each change of a mark."""

    def __init__(self, entries: Iterator[ReportRow], made: Marks, save: Callable[[], None], console: Console) -> None:
        self._entries, self._made, self._save, self._console = entries, made, save, console
        self._seen: list[ReportRow] = []
        self._place = -1

    def run(self, read: Callable[[], str]) -> None:
        """Show the first dialogue without a mark, and execute the lines that are read until `q` or the end of input.

        Raises ConsistentChatError if no dialogue has request keys.
        """
        self._begin()
        while (line := self._line(read)) is not None:
            name, _, text = line.strip().partition(" ")
            act = self._acts.get(name or "j")
            try:
                tell(HELP) if act is None else act(text.strip())
            except RecipeError as error:
                tell(error)

    def _line(self, read: Callable[[], str]) -> str | None:
        self._console.print(Text("review (? for help): ", "dim"), end="")
        line = read()
        return None if not line or line.strip() == "q" else line

    @property
    def _acts(self) -> dict[str, Callable[[str], None]]:
        return {
            "j": lambda _: self._go(1),
            "k": lambda _: self._go(-1),
            "a": lambda _: self._change(verdict="keep", reason=None),
            "x": lambda reason: self._change(verdict="reject", reason=reason or self._mark.reason, edits=None),
            "n": lambda note: self._change(note=note),
            "e": self._edit,
            "u": lambda _: self._remove(),
        }

    def _begin(self) -> None:
        while self._has(self._place + 1):
            self._place += 1
            if self._made.of(self._entry.answers_key) is None:
                break
        if self._place < 0:
            raise ConsistentChatError(
                "There are no dialogues with request keys, which marks need. Build with provenance=True."
            )
        self._show()

    def _has(self, place: int) -> bool:
        with contextlib.suppress(StopIteration):
            while len(self._seen) <= place:
                self._seen.append(next(self._entries))
        return 0 <= place < len(self._seen)

    @property
    def _entry(self) -> ReportRow:
        return self._seen[self._place]

    @property
    def _mark(self) -> Mark:
        return self._made.of(self._entry.answers_key) or Mark(())

    def _go(self, step: int) -> None:
        if not self._has(self._place + step):
            tell("That was the last dialogue." if step > 0 else "This is the first dialogue.")
            return
        self._place += step
        self._show()

    def _change(self, **change: Any) -> None:
        self._made.change(self._entry.answers_key, self._entry.origin["request_keys"], **change)
        self._save()
        self._console.print(_of_mark(self._mark))

    def _remove(self) -> None:
        self._made.remove(self._entry.answers_key)
        self._save()
        self._show()

    def _edit(self, given: str) -> None:
        name, _, text = given.partition(" ")
        messages = dict(_named(self._entry))
        if name not in messages:
            raise RecipeError(f"there is no message {name!r} to edit. Use: {', '.join(messages)}.")
        edits = dict(self._mark.edits)
        said = text.strip() or (_in_editor(edits.get(name, messages[name])) or "").strip()
        if not said or said == edits.get(name, messages[name]).strip():
            tell("Nothing has changed.")
            return
        self._change(verdict="keep", reason=None, edits={**edits, name: said})
        self._show()

    def _show(self) -> None:
        entry, edits = self._entry, dict(self._mark.edits)
        values = {**entry.row, **entry.origin} if entry.row is not None else {}
        self._console.print(Rule(f"{self._place + 1}", style="dim", align="left"))
        self._console.print(shown(str(values.get("topic") or values.get("category") or "")), style="bold")
        for name, text in _named(entry):
            _message(self._console, f"{name} (edited)" if name in edits else name, edits.get(name, text))
        self._console.print()
        self._console.print(_of_mark(self._mark))


def _named(entry: ReportRow) -> list[tuple[str, str]]:
    """Return the messages of both sides by the names that edits use."""
    turns = {"user": 0, "assistant": 0}
    named = []
    for role, text in entry.messages:
        if role in turns:
            turns[role] += 1
            named.append((f"{role}_{turns[role]}", text))
    return named


def _message(console: Console, name: str, text: str) -> None:
    is_user = name.startswith("user")
    style, padding = ("bold cyan", (1, INDENT, 0, 0)) if is_user else ("bold green", (1, 0, 0, INDENT))
    console.print(Padding(Text.assemble((f"{name}\n", style), shown(text, lines=True)), padding, expand=False))


def _of_mark(mark: Mark) -> Text:
    said = [f"reason: {mark.reason}" if mark.reason else "", f"note: {mark.note}" if mark.note else ""]
    said += [f"edited: {', '.join(name for name, _ in mark.edits)}" if mark.edits else ""]
    verdict = mark.verdict if mark.keys else "none"
    return Text.assemble(("mark: ", "dim"), shown("; ".join([verdict, *filter(None, said)])))


def _in_editor(text: str) -> str | None:
    """Return a text after the user has edited it, or None if it was not saved. Raises RecipeError without an editor."""
    import click

    try:
        return click.edit(text)
    except click.ClickException as error:
        raise RecipeError(
            f"the editor cannot be opened: {error.format_message()}. Write the text after its name."
        ) from None


def _file_name(title: str) -> str:
    """Return the first part of a review file's name, the same as on the report's page."""
    name = re.sub(r"(\.consistent_chat)?\.(ya?ml|jsonl?|parquet)$", "", PurePath(title).name)
    stem = re.sub(r"[^\w-]+", "-", name).strip("-")
    return stem or "dataset"
