"""Has a model extend a taxonomy, for `consistent-chat grow`.

Runs the tasks of tasks.py with a response store and a serving, and writes the results as a file that a person can read
and edit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from consistent_chat import drivers
from consistent_chat.builder import ConsistentChat
from consistent_chat.builder.progress import told_if_stopped
from consistent_chat.commands.estimate import FRAME_TOKENS, TOKENS_PER_CHARACTER, TOKENS_PER_WORD
from consistent_chat.commands.grow.tasks import CHUNK, Entry, Task, read_entry, steps
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import RunStats, Usage
from consistent_chat.drivers.replay import walk
from consistent_chat.errors import RecipeError
from consistent_chat.files import atomic_write
from consistent_chat.prices import Tokens, price_of
from consistent_chat.recipe import Recipe, file, safe_yaml, taxonomy
from consistent_chat.recipe.fields import suggestion
from consistent_chat.recipe.taxonomy import Taxonomy

__all__ = ["Growth", "estimate", "grow"]


KINDS = ("topics", "categories", "personas")
TOPICS = 10
"""Number of topics of a new category."""
ENTRY_WORDS = 12
"""Mean words of an entry, for estimates."""
HEAD = "# New entries were written by a model ({model}). Read them, and edit or remove entries as you like.\n"


@dataclass(frozen=True)
class Growth:
    """The result: new topics by intent and category, new personas, and the counts of the run."""

    topics: Mapping[tuple[str, str], Sequence[Entry]]
    personas: Sequence[Entry]
    stats: RunStats

    def __str__(self) -> str:
        count = sum(map(len, self.topics.values()))
        added = f"{count:,} new topics in {len(self.topics):,} categories" if self.topics else "0 new topics"
        return f"{f'{len(self.personas):,} new personas' if self.personas else added} ({_calls(self.stats)})"


def _calls(stats: RunStats) -> str:
    return str(stats).partition(", ")[2]


@dataclass(frozen=True)
class GrowthEstimate:
    """The calls that are not recorded yet, and their estimated tokens."""

    calls: int
    tokens: Tokens
    model: str

    def __str__(self) -> str:
        price = price_of(self.model)
        cost = "price not known" if price is None else f"about ${price.of(self.tokens):.4f}"
        tokens = f"{self.tokens.input:,.0f} tokens in, {self.tokens.output:,.0f} out"
        return f"to do: {self.calls:,} calls, about {tokens}; {cost}"


def grow(
    source: str | None,
    output: str | os.PathLike[str],
    add: str = "topics",
    number: int = 10,
    categories: Sequence[str] | None = None,
    **options: Any,
) -> Growth:
    """Have a model write `number` more topics for each category, categories for each intent, or personas.

    `source` is a taxonomy file, or None for the built-in one. `output` is the file to write, with the content of
    `source` and the new entries. `options` are those of a build for the model, the serving, the store and limits. The
    same responses give the same file. Raises RecipeError, and the errors of a build; in that case nothing is written.
    """
    if Path(output).exists():
        raise RecipeError(f"{output} exists already. Move it away, or choose another name.")
    text, whole = _read(source, options.get("storage_options"))
    builder, recipe = _opened(source, options)
    stats, spent = RunStats(), Usage()
    tasks = _tasks(whole, add, number, categories, recipe)
    with told_if_stopped(lambda: [stats]):
        found = _run(builder, recipe, tasks, stats, spent)
        if add == "categories":
            tasks = [_of_new(task, name) for task, names in zip(tasks, found) for name in names]
            found = _run(builder, recipe, tasks, stats, spent)
    grown = Growth(_topics(tasks, found), found[0] if add == "personas" else (), stats)
    written = _document(text, grown, recipe.model or "")
    taxonomy.load(safe_yaml.parse(written, os.path.basename(output)))
    with atomic_write(output) as target:
        target.write(written.encode("utf-8"))
    return grown


def estimate(
    source: str | None,
    add: str = "topics",
    number: int = 10,
    categories: Sequence[str] | None = None,
    **options: Any,
) -> GrowthEstimate:
    """Return an estimate of what `grow` with these arguments would still request. Makes no calls.

    New categories are counted with their topics. Unusable entries, which are requested again, are not counted.
    """
    _, whole = _read(source, options.get("storage_options"))
    builder, recipe = _opened(source, options)
    tasks = _tasks(whole, add, number, categories, recipe)
    if add == "categories":
        tasks += [_of_new(task, Entry(f"category {n}")) for task in tasks for n in range(number)]
    calls, tokens, store = 0, Tokens(), builder.store()
    for index, task in enumerate(tasks):
        step = walk(lambda failed: steps(recipe, tasks, index, failed), store).step  # noqa: B023  # called at once
        if not isinstance(step, Dialogue):
            calls += (more := -(-task.number // CHUNK))
            said = task.number * (ENTRY_WORDS * TOKENS_PER_WORD + FRAME_TOKENS)
            asked = len(step.system) + sum(len(message["content"]) for message in step.messages)
            tokens = tokens.plus(Tokens(more * asked * TOKENS_PER_CHARACTER, said))
    return GrowthEstimate(calls, tokens, recipe.model or "")


def _opened(source: str | None, options: Mapping[str, Any]) -> tuple[ConsistentChat, Recipe]:
    """Return a builder for the options, and the recipe of the requests. Raises RecipeError without a model."""
    builder = open_builder(None, taxonomy=source, **options)
    recipe = next(iter(builder.recipes.values()))
    if recipe.model is None:
        raise RecipeError("No model is set. Pass model= (and serving= to call it), or serving='rehearsal'.")
    return builder, replace(recipe, checks=False)


def _read(source: str | None, storage_options: Mapping[str, Any] | None) -> tuple[str, Taxonomy]:
    """Return the text of a taxonomy file and its content; the built-in taxonomy has no text."""
    if source is None:
        return "", taxonomy.builtin()
    text, name = file.read_text(source, storage_options or {})
    return text, taxonomy.load(safe_yaml.parse(text, name))


def _tasks(whole: Taxonomy, add: str, number: int, names: Sequence[str] | None, recipe: Recipe) -> list[Task]:
    if add not in KINDS:
        raise RecipeError(f"A model cannot add {add!r}.{suggestion(add, KINDS)}")
    if add == "personas":
        return [Task("persona", number, whole)]
    intents = [whole.intents[key] for key in recipe.intents or whole.intents if key in whole.intents]
    if add == "categories":
        return [Task("category", number, whole, intent) for intent in intents]
    known = {category.name for intent in intents for category in intent.categories}
    for name in names or ():
        if name not in known:
            raise RecipeError(f"There is no category {name!r}.{suggestion(name, tuple(sorted(known)))}")
    chosen = set(names or known)
    pairs = ((intent, category) for intent in intents for category in intent.categories)
    return [Task("topic", number, whole, intent, category) for intent, category in pairs if category.name in chosen]


def _of_new(task: Task, name: Entry) -> Task:
    return replace(task, kind="topic", number=TOPICS, category=taxonomy.Category(name.text, ()))


def _run(
    builder: ConsistentChat, recipe: Recipe, tasks: list[Task], stats: RunStats, spent: Usage
) -> list[list[Entry]]:
    """Run all tasks; return the new entries of each. Raises the errors of a build."""
    execution, begin = builder.execution, partial(steps, recipe, tasks)
    opener = execution.opener(recipe)
    made = drivers.run(recipe, range(len(tasks)), execution.store(), opener, execution.limits, stats, spent, begin)
    return [[*_entries(task, dialogue.answers)] for task, dialogue in zip(tasks, made)]


def _entries(task: Task, lines: Iterable[str]) -> Iterator[Entry]:
    read = (read_entry(line, task.tags) for line in lines)
    return (entry for entry in read if entry is not None)


def _topics(tasks: Sequence[Task], found: Sequence[Sequence[Entry]]) -> dict[tuple[str, str], Sequence[Entry]]:
    topics: dict[tuple[str, str], Sequence[Entry]] = {}
    for task, entries in zip(tasks, found):
        if task.intent is not None and entries:
            topics.setdefault((task.intent.key, task.category.name), entries)
    return topics


def _document(text: str, grown: Growth, model: str) -> str:
    """Return the file: the given text with the new entries under `extend`. Comments are kept if it had no `extend`."""
    given = safe_yaml.parse(text, "the taxonomy").data or {}
    own = given.get("extend") or {}
    extend = _with_personas(_with_topics(own, grown.topics), grown.personas)
    kept = text.rstrip() + "\n\n" if text.strip() and "extend" not in given else ""
    others = {} if kept else {name: value for name, value in given.items() if name != "extend"}
    head = HEAD.format(model=" ".join(model.split()))
    return kept + head + _dumped({**others, "extend": extend})


def _with_topics(extend: Any, topics: Mapping[tuple[str, str], Sequence[Entry]]) -> dict[str, Any]:
    intents = {key: {**intent} for key, intent in (extend.get("intents") or {}).items()}
    for (key, name), entries in topics.items():
        intent = intents.setdefault(key, {})
        intent["categories"] = {**(intent.get("categories") or {})}
        intent["categories"][name] = _longer(intent["categories"].get(name), [_plain(entry) for entry in entries])
    return {**extend, "intents": intents} if intents else {**extend}


def _longer(category: Any, topics: list[Any]) -> Any:
    """Return a category with more topics. It may be missing, a list, a block of lines, or a mapping with either."""
    if isinstance(category, dict):
        return {**category, "topics": _longer(category["topics"], topics)}
    return [*taxonomy.as_topics(category), *topics] if category else topics


def _with_personas(extend: Mapping[str, Any], personas: Sequence[Entry]) -> dict[str, Any]:
    if not personas:
        return {**extend}
    return {**extend, "personas": [*(extend.get("personas") or ()), *map(_plain, personas)]}


def _plain(entry: Entry) -> Any:
    return {entry.text: sorted(entry.tags)} if entry.tags else entry.text


class _Tags(list[str]):
    """Tags, which are written on one line."""


def _with_tags(data: Any) -> Any:
    """Return plain data in which the tags of entries are marked as such."""
    if isinstance(data, dict):
        return {key: _with_tags(value) for key, value in data.items()}
    if not isinstance(data, list):
        return data
    return [
        {key: _Tags(tags) if isinstance(tags, list) else tags for key, tags in one.items()}
        if isinstance(one, dict)
        else one
        for one in data
    ]


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(_Tags, lambda dumper, tags: dumper.represent_sequence("tag:yaml.org,2002:seq", tags, True))


def _dumped(data: Any) -> str:
    return yaml.dump(_with_tags(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
