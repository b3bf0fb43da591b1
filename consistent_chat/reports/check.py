"""Finds faults in the chats of any dataset without a model, and counts and writes them, for `consistent-chat check`.

It reads a file, a folder, a repo on the Hub, a response store or a recipe. Rows have a list of messages in one of the
layouts of `row.LAYOUTS`. It changes nothing and makes no calls.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from consistent_chat.dialogue import checks
from consistent_chat.dialogue.checks import Finding, language
from consistent_chat.dialogue.parse import Reason, is_empty
from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.output import Output, parse_output
from consistent_chat.recipe.file import ngrams
from consistent_chat.recipe.ngrams import Ngrams
from consistent_chat.recipe.rules import Rules, thresholds
from consistent_chat.recipe.rules import rules as checked_rules
from consistent_chat.reports import file_source, sources
from consistent_chat.row import LAYOUTS
from consistent_chat.text import Summarized, counted
from consistent_chat.text.sanitize import without_secrets

ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "customer"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "ai", "agent"), "assistant"),
}
"""The roles of the two sides in common datasets, in lower case. Messages of other roles (system, tool) are skipped."""
TOLD = ("system", "developer")
"""The roles of messages with instructions for the assistant."""
UNSAID = "Two."
"""Replaces empty messages, which are reported separately, so that the other messages keep their turns."""
QUOTABLE = ("topic", "persona")
"""Columns of `provenance` that a user message must not quote."""


@dataclass(repr=False)
class CheckReport(Summarized):
    """The number of chats, the number of chats with findings, and the findings counted by (reason, side)."""

    chats: int = 0
    flagged: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __str__(self) -> str:
        return f"{self.flagged:,} of {counted(self.chats, 'chat')} {'has' if self.flagged == 1 else 'have'} findings"


class _Turns(NamedTuple):
    users: list[str]
    answers: list[str]


def check_chats(
    source: str,
    output: str | os.PathLike[str] | None = None,
    language: str | None = None,
    checks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    rules: Any = None,
    decontaminate: Any = None,
) -> CheckReport:
    """Check every chat of a source. Write one JSON line for each row to `output`: its `id` and `reasons`.

    `language` is the English name of the chats' language; by default it is detected for each chat. `checks`, `rules`
    and `decontaminate` are as in a recipe. The id is the row's `id`, or the one in its `provenance`, or its number from
    1. Raises ConsistentChatError if the source has no chats.
    """
    chosen, own = thresholds("checks", checks), {} if rules is None else checked_rules("rules", rules)
    kept_out = () if decontaminate is None else ngrams(decontaminate, lambda name: (os.fspath(name), {}))
    place = None if output is None else findings_place(output, source, storage_options)
    report, lines = CheckReport(), []
    for number, row in enumerate(rows_of(source, storage_options), 1):
        found = chat_findings(row, chosen, language, f"{without_secrets(source)}, row {number}", own, kept_out)
        report.chats += 1
        report.flagged += bool(found)
        report.counts.update((each.reason, each.side) for each in found)
        if place is not None:
            line = {"id": _id(row, number), "reasons": [each._asdict() for each in found]}
            lines.append(json.dumps(line, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace"))
    if place is not None:
        with place.write() as file:
            file.writelines(line + b"\n" for line in lines)
    return report


def _id(row: Mapping[str, Any], number: int) -> Any:
    origin = row.get("provenance")
    name = row.get("id", origin.get("id") if isinstance(origin, dict) else None)
    return number if name is None else name


def chat_findings(
    row: Mapping[str, Any],
    chosen: Mapping[str, Any],
    spoken: str | None = None,
    where: str = "the row",
    own: Rules | None = None,
    kept_out: Sequence[Ngrams] = (),
) -> list[Finding]:
    """Return the findings in a row's chat. Raises ConsistentChatError if the row has no chat."""
    turns = turns_of(row, where)
    found = [*_empty(turns.users, "user"), *_empty(turns.answers, "assistant")]
    users, answers = ([UNSAID if is_empty(text, "") else text for text in side] for side in turns)
    origin = row.get("provenance")
    drawn = [origin[name] for name in QUOTABLE if isinstance(origin.get(name), str)] if isinstance(origin, dict) else []
    name = spoken or language.spoken([*users, *answers])
    found += checks.findings(users, answers, chosen, name, drawn)
    found += checks.rule_findings(users, answers, own or {}, name)
    return found + checks.contamination(users, answers, kept_out)


def _empty(texts: list[str], role: str) -> Iterator[Finding]:
    reason = Reason.UNANSWERED if role == "assistant" else Reason.EMPTY_MESSAGE
    for turn, text in enumerate(texts, 1):
        if is_empty(text, f"{role}_{turn}"):
            yield Finding(reason.value, checks.SIDES[role], turn, f"{role}_{turn} is empty")


def system_of(row: Mapping[str, Any]) -> str:
    """Return the instructions of a chat's assistant: the messages of the role system; empty if there are none."""
    for layout in LAYOUTS.values():
        said = row.get(layout.column)
        if isinstance(said, list):
            each = [one for one in said if isinstance(one, dict) and str(one.get(layout.role)).lower() in TOLD]
            return "\n\n".join(filter(None, (_text(one.get(layout.text)) for one in each)))
    return ""


def turns_of(row: Mapping[str, Any], where: str) -> _Turns:
    """Return a chat's messages by side.

    Consecutive messages of one side are joined, so that each turn has one of each.
    """
    turns, last = _Turns([], []), ""
    for role, text in _messages(row, where):
        side = turns.users if role == "user" else turns.answers
        if role == last:
            side[-1] = f"{side[-1]}\n\n{text}"
        elif role == "assistant" and not turns.users:
            continue  # a greeting before the first user message
        else:
            side.append(text)
        last = role
    return turns


def _messages(row: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    for layout in LAYOUTS.values():
        said = row.get(layout.column)
        if isinstance(said, list) and all(isinstance(each, dict) and layout.role in each for each in said):
            for each in said:
                if role := ROLES.get(str(each[layout.role]).lower()):
                    yield role, _text(each.get(layout.text))
            return
    columns = (f"{layout.column} ({layout.role}, {layout.text})" for layout in LAYOUTS.values())
    known = ", ".join(dict.fromkeys(columns))
    raise ConsistentChatError(f"{where} has no chat. It needs a list of messages in a column {known}.")


def _text(content: Any) -> str:
    """Return the text of a message: the content itself, or the texts of its parts."""
    if isinstance(content, list):
        content = "\n".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return content.strip() if isinstance(content, str) else ""


def rows_of(source: str, storage_options: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a file, a folder, a repo on the Hub, a response store or a recipe, in order."""
    if sources.is_recipe(source):
        yield from _of_report(source, storage_options)
        return
    _, fs, root = sources.located(source, storage_options)
    if file_source.has_marker(fs, root):
        yield from _of_report(source, storage_options)
        return
    found = file_source.files(fs, root)
    if not found:
        raise ConsistentChatError(
            f"There are no files with chats in {without_secrets(source)}. Pass a .jsonl, .json or .parquet file."
        )
    for file in found:
        yield from file.rows()


def _of_report(source: str, storage_options: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    for entry in sources.read(source, storage_options=storage_options).entries:
        if entry.row is not None:
            yield entry.row


def findings_place(output: str | os.PathLike[str], source: str, storage_options: Mapping[str, Any] | None) -> Output:
    """Return the output of the findings. Raises RecipeError if it cannot be written, or is the file of the chats."""
    place = parse_output(output, "--output", storage_options)
    if place.is_folder:
        raise RecipeError(f"--output {place.name} is a folder. Pass a file for the findings.")
    if source == output or place.identity == os.path.realpath(os.path.expanduser(source)):
        raise RecipeError(f"--output {place.name} is the file to check. Choose another name.")
    place.check()
    return place


CHECKED = 1_000
"""Only the first dialogues, up to this number, are checked. Each takes five milliseconds. `check` checks all."""


class AlarmCounter:
    """Runs all checks with their default thresholds on the first dialogues. `flagged` counts those with findings."""

    def __init__(self) -> None:
        self.checked = self.flagged = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        self._thresholds = thresholds("checks", None)

    def add(self, row: Mapping[str, Any]) -> None:
        """Check a row."""
        if self.checked == CHECKED:
            return
        found = chat_findings(row, self._thresholds)
        self.checked += 1
        self.flagged += bool(found)
        self.counts.update((each.reason, each.side) for each in found)

    @property
    def ranked(self) -> list[tuple[str, str, int]]:
        """The findings as (reason, side, number), the most frequent first."""
        counts = ((reason, side, number) for (reason, side), number in self.counts.items())
        return sorted(counts, key=lambda one: (-one[2], one[:2]))

    def __str__(self) -> str:
        among = f"the first {self.checked:,}" if self.checked == CHECKED else f"{self.checked:,}"
        return f"{self.flagged:,} of {among} dialogue{'s' * (self.checked != 1)}"
