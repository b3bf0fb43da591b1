"""Writes the files of a recipe.

`consistent-chat init` writes a recipe, a taxonomy and the schema for editors; `consistent-chat taxonomy` counts a
taxonomy or makes one from a table; `consistent-chat ngrams` hashes texts that dialogues must not contain.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from consistent_chat.errors import RecipeError
from consistent_chat.files import atomic_write
from consistent_chat.recipe import EXTENSION, file, safe_yaml
from consistent_chat.recipe.description import RECIPE, Field, json_schema
from consistent_chat.recipe.fields import suggestion
from consistent_chat.recipe.ngrams import WORDS, Ngrams
from consistent_chat.recipe.seeds import rows
from consistent_chat.recipe.taxonomy import Taxonomy, builtin, load
from consistent_chat.text import counted

SCHEMA = "recipe.schema.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_IN_USE = ("model", "num_dialogs_per_intent", "num_turns_per_dialog", "temperature", "taxonomy")
"""Fields that a new recipe sets; it lists the others as comments."""
_OPTION = re.compile(r"--([a-z-]+)")
_MODEL = "claude-sonnet-4-6"


def init(name: str, folder: str | Path = ".") -> list[Path]:
    """Write NAME.consistent_chat.yaml, NAME.taxonomy.yaml and the schema; return their paths.

    Raises RecipeError, before anything is written, if the name cannot be a file name or if a file already exists. An
    existing schema is replaced, because it belongs to the installed version.
    """
    if not _NAME.fullmatch(name):
        raise RecipeError(f"{name!r} must be a name of letters, digits, '.', '_' and '-'. Choose another name.")
    recipe, taxonomy = Path(folder, f"{name}{EXTENSION}"), Path(folder, f"{name}.taxonomy.yaml")
    for path in (recipe, taxonomy):
        if path.exists():
            raise RecipeError(f"{path} exists already. Move it away, or choose another name.")
    texts = {
        recipe: _recipe(name, taxonomy.name),
        taxonomy: resources.files(__package__).joinpath("templates/taxonomy.yaml").read_text("utf-8"),
        Path(folder, SCHEMA): json.dumps(json_schema(), indent=2) + "\n",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(text.encode("utf-8"))
    return list(texts)


def _recipe(name: str, taxonomy: str) -> str:
    values = {"model": _MODEL, "taxonomy": taxonomy}
    used = [_entry(field, values.get(field.name, field.default)) for field in RECIPE if field.name in _IN_USE]
    others = [_entry(field, field.default, "# ") for field in RECIPE if field.name not in _IN_USE]
    return "\n".join(
        [
            f"# yaml-language-server: $schema={SCHEMA}",
            "# A recipe: everything that shapes the data. Look at a few dialogues before you build the whole:",
            f"#   consistent-chat preview {name}{EXTENSION} --serving anthropic",
            "",
            *used,
            "# All other fields, with their defaults:",
            "",
            *others,
        ]
    )


def _entry(field: Field, value: object, prefix: str = "") -> str:
    """Return the lines of a field: its help as a comment, and its value in YAML (JSON is YAML)."""
    shown = "" if value is None else f" {value if isinstance(value, str) else json.dumps(value)}"
    default = f" (default: {field.default_text})" if prefix and value is None and field.default_text else ""
    return f"# {_OPTION.sub(_key, field.help)}{default}\n{prefix}{field.name}:{shown}\n"


def _key(option: re.Match[str]) -> str:
    """Return the recipe file's key for a command-line option that a help text names."""
    return option[1].replace("-", "_")


COLUMNS = ("intent", "category", "topic")
OPTIONAL = ("needs",)
FLOWS = ("diagnosis_to_solution", "needs_to_solutions", "facts_change", "in_pieces")
"""Flows of an intent that a table adds; a person can edit them in the written file."""


@dataclass(frozen=True)
class Counts:
    """The content of a taxonomy: categories and topics by intent, and the names of all flows."""

    intents: Mapping[str, tuple[int, int]]
    flows: tuple[str, ...]
    personas: int
    manners: int

    def __str__(self) -> str:
        topics = sum(topics for _, topics in self.intents.values())
        whole = (len(self.intents), "intent"), (topics, "topic"), (self.personas, "persona"), (self.manners, "manner")
        rows = [f"{key}: {_joined((own[0], 'category'), (own[1], 'topic'))}" for key, own in self.intents.items()]
        return "\n".join([*rows, f"flows: {', '.join(self.flows)}", _joined(*whole)])


def _joined(*counts: tuple[int, str]) -> str:
    return ", ".join(counted(number, noun) for number, noun in counts)


def count(url: str | os.PathLike[str] | None = None, storage_options: Mapping[str, Any] | None = None) -> Counts:
    """Check a taxonomy file (path or URL; None for the built-in one) and count its content. Raises RecipeError."""
    whole = builtin() if url is None else load(file.read(os.fspath(url), storage_options or {}))
    return _counts(whole)


def convert(table: str | os.PathLike[str], output: str | os.PathLike[str]) -> Counts:
    """Write the taxonomy of a CSV file with the columns intent, category, topic and, optionally, needs (tags).

    A built-in intent gets the categories in addition to its own; any other intent is added with general flows. The file
    at `output` is YAML that a person can edit. Raises RecipeError, which names the wrong row.
    """
    data = {"extend": {"intents": _intents(_rows(Path(table)))}}
    text = "# Made from a table. Edit titles, purposes and flows as you like.\n" + yaml.safe_dump(
        data, sort_keys=False, allow_unicode=True, width=120
    )
    counts = _counts(load(safe_yaml.parse(text, os.path.basename(table))))
    if Path(output).exists():
        raise RecipeError(f"{output} exists already. Move it away, or choose another name.")
    with atomic_write(output) as written:
        written.write(text.encode("utf-8"))
    return counts


def _counts(whole: Taxonomy) -> Counts:
    flows = dict.fromkeys(flow.key for intent in whole.intents.values() for flow in intent.all_flows())
    sizes = {key: (len(one.categories), sum(1 for _ in one.topics())) for key, one in whole.intents.items()}
    return Counts(sizes, tuple(flows), len(whole.personas), len(whole.manners))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table with their line numbers, all values without white space around them."""
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        _check_columns(path.name, reader.fieldnames or ())
        for row in reader:
            yield reader.line_num, {name: (value or "").strip() for name, value in row.items() if name}
    except csv.Error as error:
        raise RecipeError(f"{path.name}, line {reader.line_num}: {error}. Correct the CSV file.") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as table:
            content = table.read(safe_yaml.MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{path} cannot be read ({error.strerror}). Check the path.") from None
    if len(content) > safe_yaml.MAX_BYTES:
        raise RecipeError(f"{path.name} is larger than {safe_yaml.MAX_BYTES // 2**20} MiB. Divide it.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RecipeError(f"{path.name} is not UTF-8 text. Save it as UTF-8.") from None


def _check_columns(name: str, found: Any) -> None:
    known = (*COLUMNS, *OPTIONAL)
    for column in found:
        if column not in known:
            raise RecipeError(f"{name} has an unknown column {column!r}.{suggestion(column, known)}")
    for column in COLUMNS:
        if column not in found:
            raise RecipeError(f"{name} has no column {column!r}. A table needs: {', '.join(COLUMNS)}.")
    if len(set(found)) < len(found):
        raise RecipeError(f"{name} has a column twice. Remove one.")


def _intents(rows: Iterator[tuple[int, dict[str, str]]]) -> dict[str, Any]:
    known = builtin().intents
    intents: dict[str, Any] = {}
    for line, row in rows:
        if missing := [column for column in COLUMNS if not row.get(column)]:
            raise RecipeError(f"line {line} of the table has no {missing[0]}. Fill it in, or remove the line.")
        key = row["intent"].lower().replace(" ", "_").replace("-", "_")
        intent = intents.setdefault(key, {"categories": {}} if key in known else _new(row["intent"]))
        needs = row.get("needs", "").replace(",", " ").split()
        topic: Any = {row["topic"]: needs} if needs else row["topic"]
        intent["categories"].setdefault(row["category"], []).append(topic)
    if not intents:
        raise RecipeError("The table has no rows. Give a row for each topic.")
    return intents


def _new(title: str) -> dict[str, Any]:
    return {"title": title, "purpose": f"what people bring up under {title}", "flows": list(FLOWS), "categories": {}}


LINES = (".txt", ".md")
"""Files with one text per line."""


def ngrams(
    sources: Sequence[str], output: str, columns: Sequence[str] = (), words: int = WORDS, name: str | None = None
) -> Ngrams:
    """Write the hashed n-grams of the texts in files, and return them. Raises RecipeError.

    Each line of a .txt file is a text. For a table (.jsonl, .csv, .parquet), all texts in the columns are used, also
    those within lists and objects. The name is by default that of the output.
    """
    texts = (text for source in sources for text in _texts(source, columns))
    made = Ngrams.of(texts, name or Path(output).name.partition(".")[0], words)
    with atomic_write(output) as file:
        file.write(made.text.encode("ascii"))
    return made


def _texts(source: str, columns: Sequence[str]) -> Iterator[str]:
    try:
        with open(source, "rb") as file:
            if source.lower().endswith(LINES):
                yield from (line.decode("utf-8-sig", "replace") for line in file)
                return
            if not columns:
                raise RecipeError(f"{source} is a table. Name its columns with texts, such as --column question.")
            for _, values in rows.read(file, source, columns):
                yield from _within(list(values))
    except OSError as error:
        raise RecipeError(f"{source} cannot be read: {error.strerror}. Check the path.") from None


def _within(value: Any) -> Iterator[str]:
    """Yield the texts within a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _within(part)
