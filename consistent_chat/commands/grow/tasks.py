"""The tasks of a model that extends a taxonomy, as generators of requests that drivers run like dialogues.

The prompts are in *.txt. The model's text is treated like a stranger's: it is cleaned, checked like the entries of a
file and compared with the existing ones. Entries that a taxonomy file cannot contain, or that would have no effect, are
left out.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from string import Template

from consistent_chat.dialogue import parse
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.dialogue.work import FRAME_TOKENS, Bill, Dialogue, FailedDraw, OutOfDraws, Steps
from consistent_chat.errors import RecipeError
from consistent_chat.plan import Plan, Spec
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.safe_yaml import Document
from consistent_chat.recipe.taxonomy import Category, Intent, Taxonomy, reader
from consistent_chat.recipe.taxonomy.types import MARKS, NO_TAGS, Tags
from consistent_chat.request import Request, Response, Schema
from consistent_chat.stats.sample import content, words

CHUNK = 20
"""Maximum number of entries that one request asks for."""
SPARE = 2
"""Number of additional requests, because some entries already exist, and some are unusable."""
SHOWN = 60
"""Maximum number of entries that a prompt shows."""
ENTRY_TOKENS = 96
"""Token limit for an entry: several times what models usually write."""
NO_CATEGORY = Category("", ())


@dataclass(frozen=True)
class Task:
    """A task: write `number` new entries of a kind ("topic", "category", "persona") for a part of a taxonomy."""

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
        """All existing topics of all categories, in lower case."""
        every = (topic for intent in self.whole.intents.values() for topic in intent.topics())
        return frozenset(topic.text.casefold() for topic in every)

    def known(self) -> Known:
        """Return the existing entries."""
        if self.intent is None:
            return Known([persona.text for persona in self.whole.personas])
        if self.kind == "category":
            return Known([category.name for category in self.intent.categories])
        return Known([topic.text for topic in self.category.topics])

    def prompt(self, known: Known, number: int) -> tuple[str, str]:
        """Return the system and user texts that ask for this many entries."""
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
    """Return what most topics of a category need, which is used for new topics without needs."""
    needs = [topic.needs - MARKS for topic in category.topics]
    return max(sorted(set(needs), key=sorted), key=needs.count, default=NO_TAGS)


def steps(recipe: Recipe, tasks: list[Task], index: int, failed: list[FailedDraw], first: int = 0) -> Steps:
    """Ask for the entries of one task until there are enough; return them as the answers of a dialogue.

    If a request gets no usable response, the task ends with the entries that it has.
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
        """Ask until a response is usable. Return its texts and the request's key, or None if no response is usable."""
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


MAX_ENTRY = 200
"""Maximum characters of a new entry. The longest built-in entry has about half of this."""
ALIKE = 0.6
"""The share of common words from which on an entry counts as an existing one."""
_ADULT = "adult"
_TAGGED = re.compile(r"(.*\S)\s*\[([^\[\]]*)\]")
_TAGS_ALONE = re.compile(r"\[[^\[\]]*\]")
_FRAME = re.compile(r"^(?:[-*\u2022]\s+|\(?\d{1,3}[.):]\s+)|[.\u3002]$|^[\"'\u201c\u201e\u00ab]|[\"'\u201d\u00bb]$")
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
"""Invisible characters that some scripts need within words."""


@dataclass(frozen=True)
class Entry:
    """A new entry; `tags` are the tags that it names."""

    text: str
    tags: Tags = NO_TAGS

    def __str__(self) -> str:
        return f"{self.text} [{', '.join(sorted(self.tags))}]" if self.tags else self.text


def read_entry(text: str, known: Tags) -> Entry | None:
    """Return the entry in a line of a model, with its known tags; None if the line cannot be an entry."""
    if any(unicodedata.category(sign) in _UNSEEN and sign not in _JOINERS for sign in text.strip()):
        return None
    found = _TAGGED.fullmatch(text.strip())
    line, tags = (found[1], re.split(r"[,;\s]+", found[2].lower())) if found else (text, [])
    while (shorter := _FRAME.sub("", line.strip()).strip()) != line:
        line = shorter
    if not any(map(str.isalpha, line)) or len(line) > MAX_ENTRY or _TAGS_ALONE.fullmatch(line):
        return None
    try:
        return Entry(reader.read_text(line, Document(None, "the response")), known & frozenset(tags))
    except RecipeError:
        return None


def persona_tags(whole: Taxonomy) -> Tags:
    """Return the tags that personas of a taxonomy have."""
    return NO_TAGS.union(*(persona.tags for persona in whole.personas))


def topic_tags(whole: Taxonomy) -> Tags:
    """Return the marks, and the tags that topics need, or those that personas have if no topic needs any."""
    needs = NO_TAGS.union(*(topic.needs for intent in whole.intents.values() for topic in intent.topics()))
    return (needs - MARKS or persona_tags(whole)) | MARKS


def as_topic(entry: Entry, default: Tags, whole: Taxonomy) -> Entry | None:
    """Return an entry as a topic that fits a persona, or None.

    Without tags it gets the category's, or is for adults.
    """
    needs = entry.tags or default
    if not needs - MARKS and any(_ADULT in persona.tags for persona in whole.personas):
        needs |= {_ADULT}
    if not any(m.fits(p, needs & MARKS) for p in whole.personas if p.fits(needs) for m in whole.manners):
        return None
    return Entry(entry.text, NO_TAGS if needs == default else needs)


@dataclass
class Known:
    """The existing entries, by their words. `shown` returns texts for a prompt."""

    texts: list[str]
    _words: list[frozenset[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._words = [_words(text) for text in self.texts]

    def takes(self, text: str) -> bool:
        """Add a text if it is unlike all others; return whether it was added."""
        found = _words(text)
        if not found or any(_share(found, other) >= ALIKE for other in self._words):
            return False
        self.texts.append(text)
        self._words.append(found)
        return True

    def shown(self, most: int) -> Sequence[str]:
        """Return some of the texts: an even sample and the latest ones."""
        step = max(1, -(-len(self.texts) // most))
        return self.texts[::-1][::step][::-1]


def _words(text: str) -> frozenset[str]:
    return frozenset(filter(None, map(content, words(text))))


def _share(one: frozenset[str], other: frozenset[str]) -> float:
    both = len(one & other)
    return both / ((len(one) + len(other) - both) or 1)


def listed(texts: Iterable[str]) -> str:
    """Return texts as a list for a prompt."""
    return "\n".join(f"- {text}" for text in texts) or "(none)"
