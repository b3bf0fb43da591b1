"""What is asked of a model that extends a taxonomy, as generators of requests: drivers run them like dialogues."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from string import Template

from consistent_chat.commands.grow.entries import Entry, Known, as_topic, listed, persona_tags, read_entry, topic_tags
from consistent_chat.dialogue import parse
from consistent_chat.dialogue.bill import Bill
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.dialogue.work import FRAME_TOKENS, Dialogue, FailedDraw, OutOfDraws, Steps
from consistent_chat.plan import Plan, Spec
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import Category, Intent, Taxonomy
from consistent_chat.recipe.taxonomy.types import MARKS, NO_TAGS, Tags
from consistent_chat.request import Request, Response, Schema

CHUNK = 20
"""Entries that one request asks for, at most."""
SPARE = 2
"""Requests beyond those for the number of entries: some entries exist already, and some are unusable."""
SHOWN = 60
"""Entries that a prompt shows, at most."""
ENTRY_TOKENS = 96
"""Limit of tokens for an entry: several times what models usually write."""
NO_CATEGORY = Category("", ())


@dataclass(frozen=True)
class Task:
    """`number` new entries of a kind ("topic", "category", "persona") for a place in a taxonomy."""

    kind: str
    number: int
    whole: Taxonomy
    intent: Intent | None = None
    category: Category = NO_CATEGORY

    @functools.cached_property
    def tags(self) -> Tags:
        """The tags that a new entry may have."""
        return persona_tags(self.whole) if self.kind == "persona" else topic_tags(self.whole)

    @functools.cached_property
    def all_topics(self) -> frozenset[str]:
        """All topics that are there, whatever their category, in lower case."""
        every = (topic for intent in self.whole.intents.values() for topic in intent.topics())
        return frozenset(topic.text.casefold() for topic in every)

    def known(self) -> Known:
        """Return the entries that are there."""
        if self.intent is None:
            return Known([persona.text for persona in self.whole.personas])
        if self.kind == "category":
            return Known([category.name for category in self.intent.categories])
        return Known([topic.text for topic in self.category.topics])

    def prompt(self, known: Known, number: int) -> tuple[str, str]:
        """Return system and user text that ask for so many entries."""
        tags = sorted(self.tags)
        blanks: Mapping[str, object] = {
            "intent": self.intent.title if self.intent else "",
            "purpose": self.intent.purpose if self.intent else "",
            "category": self.category.name,
            "tags": ", ".join(tags) or "(none)",
            "example": ", ".join(tags[:2]) or "tag",
            "known": listed(known.shown(SHOWN)),
            "number": number,
        }
        return _text("system").substitute(blanks), _text(self.kind).substitute(blanks)

    def entry(self, text: str) -> Entry | None:
        """Return the entry in a text, or None if it is unusable."""
        found = read_entry(text, self.tags)
        if found is None or self.kind == "persona":
            return found
        if self.kind == "category":
            return Entry(found.text)
        is_there = found.text.casefold() in self.all_topics
        return None if is_there else as_topic(found, _default(self.category), self.whole)


def _default(category: Category) -> Tags:
    """Return what most topics of a category need: what a new one needs that says nothing of it."""
    needs = [topic.needs - MARKS for topic in category.topics]
    return max(sorted(set(needs), key=sorted), key=needs.count, default=NO_TAGS)


def steps(recipe: Recipe, tasks: list[Task], index: int, failed: list[FailedDraw], first: int = 0) -> Steps:
    """Ask for the entries of one task until there are enough; return them as the answers of a dialogue.

    Where a request gets no usable response, the task ends with what it has.
    """
    work = _Work(recipe, tasks[index], index, failed, Bill())
    known, found, keys = work.task.known(), list[Entry](), list[str]()
    for repeat in range(-(-work.task.number // CHUNK) + SPARE):
        wanted = min(CHUNK, work.task.number - len(found))
        said = (yield from work.ask(known, wanted, repeat)) if wanted else None
        if said is None:
            break
        texts, key = said
        entries = (work.task.entry(text) for text in texts)
        found += [entry for entry in entries if entry is not None and known.takes(entry.text)]
        keys.append(key)
    lines = tuple(map(str, found[: work.task.number]))
    return Dialogue(work.spec, (), lines, tuple(keys), work.draws, 0, 0, tuple(failed), billed=work.bill.tokens)


@dataclass
class _Work:
    recipe: Recipe
    task: Task
    index: int
    failed: list[FailedDraw]
    bill: Bill
    draws: int = 0

    @functools.cached_property
    def spec(self) -> Spec:
        return replace(Plan(self.recipe)[0], index=self.index)

    def ask(
        self, known: Known, number: int, repeat: int
    ) -> Generator[Request, Response, tuple[tuple[str, ...], str] | None]:
        """Ask until a response is usable; return its texts and the request's key, or None if there is none."""
        names = tuple(f"{self.task.kind}_{place}" for place in range(1, number + 1))
        prompt = self.task.prompt(known, number)
        for draw in itertools.count():
            request = self._request(prompt, names, repeat, draw)
            try:
                response = yield request
            except OutOfDraws:
                return None
            self.draws += 1
            self.bill.add(response, request.stage)
            try:
                return parse.messages(response, names), request.key
            except Unusable as error:
                details = (self.spec, request.stage, draw, request.key, error.reason, error.detail, response)
                self.failed.append(FailedDraw(*details))
                if error.reason is Reason.REFUSED:
                    return None
        raise AssertionError("unreachable: draws are counted without end")

    def _request(self, prompt: tuple[str, str], names: tuple[str, ...], repeat: int, draw: int) -> Request:
        return Request(
            model=self.recipe.model or "",
            system=prompt[0],
            messages=({"role": "user", "content": prompt[1]},),
            temperature=self.recipe.temperature,
            schema=_schema(names),
            seed=self.recipe.seed,
            repeat=repeat,
            draw=draw,
            max_tokens=FRAME_TOKENS + ENTRY_TOKENS * len(names),
            stage=f"grow {self.task.kind}",
        )


def _schema(names: tuple[str, ...]) -> Schema:
    properties = {name: {"type": "string"} for name in names}
    return Schema({"type": "object", "properties": properties, "required": [*names], "additionalProperties": False})


@functools.lru_cache(maxsize=4)
def _text(name: str) -> Template:
    return Template(resources.files("consistent_chat.commands.grow").joinpath(f"{name}.txt").read_text("utf-8").strip())
