"""Scores the chats of any dataset with judges, for `consistent-chat judge`. Responses are stored, so a rerun is free.

It reads the same sources as `check`, and changes nothing. A chat that cannot be judged has the reason instead of
scores.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from consistent_chat import drivers
from consistent_chat.builder.progress import told_if_stopped
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue import prompts
from consistent_chat.dialogue.checks import language as languages
from consistent_chat.dialogue.judge import CRITERIA, FAULT, Judgement
from consistent_chat.dialogue.work import Bill, Dialogue, FailedDraw, SpecFailed, Steps, Work, is_low
from consistent_chat.drivers import RunStats, Usage
from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.plan import Plan, Spec
from consistent_chat.recipe import Recipe
from consistent_chat.reports.check import findings_place, rows_of, system_of, turns_of
from consistent_chat.stats import Distribution
from consistent_chat.text import Summarized, counted
from consistent_chat.text.sanitize import without_secrets

MAX_CHARACTERS = 400_000
"""Maximum characters of a chat: about 100,000 tokens, the context of most models."""
DEFAULT = {"criteria": dict.fromkeys(CRITERIA, True)}
"""The criteria if none are given: the three built-in ones, in the form in which a judge says whose fault a flaw is."""


class Chat(NamedTuple):
    """A chat for a judge, with one answer per user message. `fault` is the reason why it cannot be judged, or ""."""

    id: Any
    users: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    system: str | None = None
    fault: str = ""


class Verdict(NamedTuple):
    """The result for a chat; without a judgement, `error` is the reason. `passes` is None without minimum scores."""

    chat: Chat
    judgement: Judgement | None
    keys: tuple[str, ...] = ()
    error: str = ""
    passes: bool | None = None

    def plain(self) -> dict[str, Any]:
        """Return the verdict as a line of the output."""
        said: dict[str, Any] = {"id": self.chat.id}
        if self.judgement is None:
            return {**said, "error": self.error}
        told = self.judgement.plain()
        several: dict[str, Any] = {name: value for name, value in told.items() if name in ("agreement", "judges")}
        return {
            **said,
            "score": self.judgement.score,
            "scores": self.judgement.scores,
            "reasons": {name: reason for name, (_, reason) in self.judgement.said.items()},
            FAULT: self.judgement.fault,
            **({} if self.passes is None else {"passes": self.passes}),
            **several,
            "model": told["model"],
            "request_keys": list(self.keys),
        }


@dataclass(repr=False)
class JudgeReport(Summarized):
    """The number of chats, of those without a judgement and of those that pass; scores by criterion; whose fault."""

    chats: int = 0
    unjudged: int = 0
    passed: int | None = None
    scores: dict[str, Distribution] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    stats: RunStats = field(default_factory=RunStats)

    def add(self, verdict: Verdict) -> None:
        """Count a verdict."""
        self.chats += 1
        if verdict.judgement is None:
            self.unjudged += 1
            return
        for name, score in verdict.judgement.scores.items():
            self.scores.setdefault(name, Distribution())[score] += 1
        self.faults[verdict.judgement.fault] += 1
        if verdict.passes is not None:
            self.passed = (self.passed or 0) + verdict.passes

    def __str__(self) -> str:
        lines = [f"{name}: {seen.mean:.2f} on average, at least {min(seen)}" for name, seen in self.scores.items()]
        faults = ", ".join(f"{side} {number:,}" for side, number in sorted(self.faults.items()))
        passed = "" if self.passed is None else f", {self.passed:,} pass"
        unjudged = f", {self.unjudged:,} could not be judged" if self.unjudged else ""
        return "\n".join(
            [*lines, f"at fault: {faults or 'not known'}", f"{counted(self.chats, 'chat')}{passed}{unjudged}"]
        )


Judging = Callable[[Iterable[Chat], "str | None"], Iterator[Verdict]]
"""Yields the verdict of each chat, in order; the language is detected if it is None."""


def judge(
    source: str,
    output: str | os.PathLike[str] | None = None,
    language: str | None = None,
    **options: Any,
) -> JudgeReport:
    """Have every chat of a source scored; write one JSON line for each to `output`: id, scores, reasons, whose fault.

    `source` and `language` are as for `check_chats`. `options` are those of a build for judges (`judge_model`, `judge`,
    `min_score`), the serving, the store and limits. Without `serving` no calls are made. Raises RecipeError before any
    call, and the errors of a build; in that case nothing is written.
    """
    storage_options = options.get("storage_options")
    place = None if output is None else findings_place(output, source, storage_options)
    verdicts, report = opened(options)
    rows = enumerate(rows_of(source, storage_options), 1)
    name = without_secrets(source)
    chats = (_chat(row, number, f"{name}, row {number}") for number, row in rows)
    lines, errors = list[bytes](), list[str]()
    for verdict in verdicts(chats, language):
        report.add(verdict)
        errors += [verdict.error] if verdict.error else []
        if place is not None:
            line = json.dumps(verdict.plain(), ensure_ascii=False, default=str)
            lines.append(line.encode("utf-8", "backslashreplace") + b"\n")
    if report.unjudged == report.chats:
        why = f"No chat of {name} could be judged: {errors[0]}" if errors else f"There are no chats in {name}"
        raise ConsistentChatError(f"{why.rstrip('.')}.")
    if place is not None:
        with place.write() as file:
            file.writelines(lines)
    return report


def opened(options: Mapping[str, Any]) -> tuple[Judging, JudgeReport]:
    """Return a function that judges chats as the options say, and an empty report with its counts of calls."""
    builder = open_builder(None, **_judges(options))
    (recipe,) = builder.recipes.values()
    report = JudgeReport()
    execution = builder.execution

    def verdicts(chats: Iterable[Chat], language: str | None) -> Iterator[Verdict]:
        queue, asked, known = _Queue(chats), _lenient(recipe), dict[int, Verdict]()
        begin = partial(_steps, asked, Plan(asked).spec(0), queue.held, language)
        opener, limits = execution.opener(asked), execution.limits
        made = drivers.run(asked, queue.numbers(), execution.store(), opener, limits, report.stats, Usage(), begin)
        with told_if_stopped(lambda: [report.stats]):
            for dialogue in made:
                number = dialogue.spec.index
                known[number] = _verdict(queue.held.pop(number), dialogue, recipe)
                yield from queue.finished(known)
        yield from queue.finished(known)

    return verdicts, report


def _judges(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a build that judges. Raises RecipeError if they name no judge, or another driver."""
    given = {name: value for name, value in options.items() if value is not None}
    given["judge"] = _with_criteria(given.get("judge"))
    given.pop("model", None)  # which writes dialogues
    if given.get("driver", "online") != "online":
        raise RecipeError("Chats are judged by single calls, not by batches. Leave out driver=.")
    serving = given.get("serving")
    if (serving.get("judge") if isinstance(serving, Mapping) else serving) == "rehearsal":
        given.setdefault("judge_model", None if "model" in given["judge"] else "rehearsal")
    if given.get("judge_model") is None and "model" not in given["judge"]:
        raise RecipeError("No judge is set. Pass judge_model= (and serving= to call it), or serving='rehearsal'.")
    return given


def _with_criteria(given: Any) -> Any:
    return {**DEFAULT, **given} if isinstance(given, Mapping) else DEFAULT if given is None else given


def _lenient(recipe: Recipe) -> Recipe:
    """Return the recipe without minimum scores, because low scores would be drawn again. The requests are the same."""
    criteria = (recipe.judge or {}).get("criteria", {})
    free = {name: {**fields, "least": None} for name, fields in criteria.items()}
    judged = {**(recipe.judge or {}), "criteria": free}
    return replace(recipe, model=recipe.judges[0], min_score=None, judge=judged, checks=False, provenance=True)


class _Queue:
    """Chats in order. Equal chats are judged once, because two calls could differ, and a replay has only one result."""

    def __init__(self, chats: Iterable[Chat]) -> None:
        self.held: dict[int, Chat] = {}
        self._chats, self._waiting, self._first = chats, deque[tuple[Chat, int]](), dict[Any, int]()

    def numbers(self) -> Iterator[int]:
        """Yield the number of the first of each set of equal chats. The chat is held until its verdict is known."""
        for number, chat in enumerate(self._chats):
            digest = hashlib.sha256(repr(chat[1:]).encode()).digest()
            first = self._first.setdefault(digest, number)
            self._waiting.append((chat, first))
            if first == number:
                self.held[number] = chat
                yield number

    def finished(self, known: Mapping[int, Verdict]) -> Iterator[Verdict]:
        """Yield the known verdicts of the next chats, in order."""
        while self._waiting and self._waiting[0][1] in known:
            chat, first = self._waiting.popleft()
            yield known[first]._replace(chat=chat)


def _steps(
    recipe: Recipe,
    spec: Spec,
    held: Mapping[int, Chat],
    language: str | None,
    index: int,
    failed: list[FailedDraw],
    first: int = 0,
) -> Steps:
    """Have one chat judged. If that fails, the dialogue has no judgement."""
    chat, spec = held[index], replace(spec, index=index)
    work, judgement, keys = Work(recipe, spec, failed, Bill(), []), None, tuple[str, ...]()
    if not chat.fault:
        spoken = language or languages.spoken([*chat.users, *chat.answers]) or Recipe.language
        prompt = prompts.judge(spec, chat.users, chat.answers, spoken, chat.system, recipe.rubric)
        try:
            judgement, keys = yield from work.scored(prompt)
        except SpecFailed:
            judgement = None
    return work.finished(work.dialogue(chat.users, chat.answers, keys, judgement))


def _verdict(chat: Chat, dialogue: Dialogue, recipe: Recipe) -> Verdict:
    if dialogue.judgement is None:
        said = dialogue.failed[-1] if dialogue.failed else None
        why = "no judgement" if said is None else f"{said.reason.value}: {said.detail}"
        return Verdict(chat, None, error=chat.fault or why)
    judgement = replace(dialogue.judgement, rubric=recipe.rubric)
    return Verdict(chat, judgement, dialogue.keys, passes=not is_low(judgement, recipe) if recipe.rejects else None)


def _chat(row: Mapping[str, Any], number: int, where: str) -> Chat:
    name = number if row.get("id") is None else row["id"]
    try:
        turns = turns_of(row, where)
    except ConsistentChatError as error:
        return Chat(name, fault=str(error))
    users, answers = ([_encodable(text) for text in side] for side in turns)
    system = _encodable(system_of(row)) or None
    if not answers:
        return Chat(name, fault="no user message has an answer")
    if sum(map(len, (*users, *answers, system or ""))) > MAX_CHARACTERS:
        return Chat(name, fault=f"the chat has more than {MAX_CHARACTERS:,} characters")
    return Chat(name, tuple(users[: len(answers)]), tuple(answers), system)


def _encodable(text: str) -> str:
    """Return a text that can be sent: NUL and lone surrogates are replaced by their escapes."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
