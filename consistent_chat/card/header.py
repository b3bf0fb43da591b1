"""The input of a card (the published dataset and the figures of its dialogues), and the header that the Hub filters by.

The header is the YAML metadata at the top of a card.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from huggingface_hub import DatasetCardData
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from consistent_chat.dialogue.work import Dialogue
from consistent_chat.errors import ConsistentChatError
from consistent_chat.prices import Tokens, price_of
from consistent_chat.recipe import Recipe
from consistent_chat.stats import DialogueSample, Distribution, Statistics
from consistent_chat.text import languages
from consistent_chat.text.sanitize import sanitize

SAMPLES = 3
"""Number of dialogues shown in a card, each the first of a different intent."""


@dataclass(frozen=True)
class About:
    """What is published and where.

    Args:
        name: the name for `load_dataset` and `consistent-chat verify`: "user/repo", "buckets/user/name/path".
        url: the same place as a URL for fsspec: "hf://datasets/user/repo".
        title: the title of a new card; a title in the previous card is kept.
        recipes: the recipe of each split.
        files: the recipe file of each split, as a path from `url`.
        configs: the entries under `configs` in the header: {"config_name", "data_files", ...}, the default one first.
            An entry with an empty list of files removes that config.
        licence: the licence as the Hub names it, or None.
        withheld: the columns of the seeds that are not published, without which the rows cannot be rebuilt.
    """

    name: str
    url: str
    title: str
    recipes: Mapping[str, Recipe]
    files: Mapping[str, str]
    configs: Sequence[Mapping[str, Any]] = ()
    licence: str | None = None
    withheld: Sequence[str] = ()

    @property
    def titles(self) -> dict[str, str]:
        """The titles of all intents by their keys."""
        taxonomies = [recipe.full_taxonomy for recipe in self.recipes.values()]
        return {key: intent.title for taxonomy in taxonomies for key, intent in taxonomy.intents.items()}


MODEL = "model:"


class Seen:
    """The figures of a dataset's dialogues for its card; call `see` with each dialogue, in order.

    `rows` are by split, `tokens` by split and by the recipe's field that names their model, or by the model
    of one of several judges and of the other answers of pairs ("model:NAME"). Tokens are those billed for all recorded
    responses. `edited` counts the dialogues that a review has edited.
    """

    def __init__(self) -> None:
        self.statistics = Statistics()
        self.samples: list[DialogueSample] = []
        self.rows: dict[str, int] = defaultdict(int)
        self.edited = 0
        self.scores: dict[str, Distribution] = {}
        self.tokens: dict[tuple[str, str], Tokens] = defaultdict(Tokens)

    def see(self, split: str, dialogue: Dialogue) -> None:
        """Add a dialogue of a split."""
        talk = DialogueSample.of(dialogue)
        if len(self.samples) < SAMPLES and talk.intent not in self.statistics.intents:
            self.samples.append(talk)
        self.statistics.add(talk)
        self.rows[split] += 1
        self.edited += bool(dialogue.edited)
        for name, score in dialogue.scores.items():
            self.scores.setdefault(name, Distribution())[score] += 1
        for field, tokens in _billed(dialogue):
            if any(tokens):
                self.tokens[split, field] = self.tokens[split, field].plus(tokens)

    def cost(self, recipes: Mapping[str, Recipe]) -> float | None:
        """Return the cost of the tokens in US dollars, or None if the price of a model is unknown."""
        total = 0.0
        for (split, field), tokens in self.tokens.items():
            _, is_named, model = field.partition(MODEL)
            price = price_of(model if is_named else getattr(recipes[split], field) or "")
            if price is None:
                return None
            total += price.of(tokens)
        return total


def _billed(dialogue: Dialogue) -> list[tuple[str, Tokens]]:
    """Return the billed tokens of a dialogue by the field that names the model, or by model if no field names it."""
    written, judged = dialogue.billed
    judges, others = (
        [(f"{MODEL}{model}", tokens) for model, tokens in named]
        for named in (dialogue.billed_judges, dialogue.billed_alternatives)
    )
    return [("model", written), *(judges or [("judge_model", judged)]), *others, ("user_model", dialogue.billed_users)]


OWNED = ("configs", "size_categories", "language", "license")
"""Keys that each build sets again, if it has a value for them. Other keys keep their first value."""

Values = Mapping[str, Any]
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # as YAML counts lines


class _Dumper(yaml.SafeDumper):
    """Writes YAML without aliases, which the Hub does not read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def split(card: str) -> tuple[str, str]:
    """Return a card's header, without its `---` lines, and its body."""
    block = REGEX_YAML_BLOCK.search(card)
    return ("", card) if block is None else (block[2], card[block.end() :])


def metadata(about: About, seen: Seen) -> Values:
    """Return the metadata of a build."""
    names = sorted({name for recipe in about.recipes.values() for name in recipe.languages})
    codes = sorted(filter(None, map(languages.code, names)))
    data = DatasetCardData(
        pretty_name=" ".join(sanitize(about.title).split()),
        license=about.licence,
        language=codes or None,
        multilinguality="monolingual" if len(names) == 1 else "multilingual",
        task_categories=["text-generation"],
        size_categories=[size(sum(seen.rows.values()))],
        language_creators=["machine-generated"],
        annotations_creators=["machine-generated"],
        source_datasets=["original"],
        tags=["synthetic", "datasets", "multi-turn", "consistent_chat"],
        configs=[dict(config) for config in about.configs] or None,
    )
    values: Values = data.to_dict()  # type: ignore[no-untyped-call]
    return values


def size(count: int) -> str:
    """Return the Hub's size category for a number of rows."""
    if count < 1_000:
        return "n<1K"
    bounds = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    power = len(str(count)) - 4
    return f"{bounds[power]}<n<{bounds[power + 1]}" if power + 1 < len(bounds) else "n>1T"


def has_licence(head: str) -> bool:
    """Return whether a header names a licence, by this package or by a user."""
    return bool(_parse(head).get("license"))


def has_configs(head: str, configs: Sequence[Values]) -> bool:
    """Return whether a header's configs start with these, and no other config shares a name with them or is a default.

    `datasets` loads all configs with the builder of the first one, and uses the last of two configs of the same name.
    """
    there = _parse(head).get("configs")
    wanted = [dict(config) for config in configs if config["data_files"] != []]
    if not isinstance(there, list) or there[: len(wanted)] != wanted:
        return False
    others, taken = there[len(wanted) :], {config["config_name"] for config in configs}
    return all(
        isinstance(each, dict) and each.get("config_name", "default") not in taken and not each.get("default")
        for each in others
    )


def has_info(head: str, names: Collection[str]) -> bool:
    """Return whether a header describes the columns of these configs under `dataset_info`."""
    info = _parse(head).get("dataset_info")
    entries = info if isinstance(info, list) else [] if info is None else [info]
    return any(not isinstance(each, dict) or each.get("config_name", "default") in names for each in entries)


def merged(previous: str, values: Values) -> str:
    """Return the previous header with new and `OWNED` values set; all other lines stay unchanged.

    Configs are replaced by name, and configs of other names stay. Entries for our configs under `dataset_info` are
    removed, since they describe files that are replaced. Raises ConsistentChatError if the header is not valid YAML.
    """
    before = _parse(previous)
    names = {config["config_name"] for config in values.get("configs", ())}
    kept = {key: value for key, value in before.items() if key != "dataset_info" or not names}
    if others := _others(before.get("dataset_info"), names):
        kept["dataset_info"] = others
    after = {**kept, **{key: value for key, value in values.items() if key not in before or key in OWNED}}
    if names:
        own = [config for config in values["configs"] if config.get("data_files") != []]
        after["configs"] = [*own, *_others(before.get("configs"), names)]
    if after == before:
        return previous
    lines = _lines(previous, before)
    text = "\n".join(lines[key] if _same(key, lines, before, after) else _dump({key: after[key]}) for key in after)
    return text if _is(text, after) else _dump(after)


def _same(key: str, lines: Mapping[str, str], before: Values, after: Values) -> bool:
    return key in lines and before[key] == after[key]


def _others(entries: Any, names: Collection[str]) -> list[Any]:
    """Return the entries of all other configs. An entry without a name belongs to the config "default"."""
    entries = entries if isinstance(entries, list) else [entries]
    return [each for each in entries if isinstance(each, dict) and each.get("config_name", "default") not in names]


def _parse(text: str) -> Values:
    try:
        values = yaml.safe_load(text) or {}
        if not isinstance(values, dict):
            raise ValueError("it is not a mapping of keys to values")
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConsistentChatError(
            f"The metadata at the top of README.md cannot be read: {reason}. Correct it."
        ) from None
    return values


def _lines(text: str, values: Values) -> dict[str, str]:
    """Return the lines of each key with the comments above it, or {} if several keys share a line."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = node.value if isinstance(node, yaml.MappingNode) and not node.flow_style else []
    lines = _LINE_BREAK.split(text)
    starts = [_with_comments(lines, key.start_mark.line) for key, _ in pairs]
    parts = ["\n".join(lines[start:end]) for start, end in zip(starts, [*starts[1:], len(lines)])]
    return dict(zip(values, parts)) if len(pairs) == len(values) else {}


def _with_comments(lines: Sequence[str], start: int) -> int:
    while start and lines[start - 1].startswith("#"):
        start -= 1
    return start


def _dump(values: Values) -> str:
    return str(yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True)).rstrip()


def _is(text: str, values: Values) -> bool:
    try:
        return bool(yaml.safe_load(text) == values)
    except yaml.YAMLError:
        return False
