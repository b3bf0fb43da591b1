"""The recipe field `seeds`: which data, which of its columns, and how many dialogues each source gets."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.fields import suggestion, type_error, whole
from consistent_chat.recipe.seeds import address, documents, rows, source
from consistent_chat.recipe.seeds.documents import Chunk, chunks
from consistent_chat.recipe.seeds.source import (
    COLUMN,
    COLUMNS,
    LONGEST,
    MAX_COLUMN,
    MAX_DOCUMENT,
    MAX_SOURCE,
    MAX_TURNS,
    WrongValue,
    turns,
    user_messages,
)

if TYPE_CHECKING:
    from consistent_chat.recipe.seeds.sources import Sources

logger = logging.getLogger(__name__)

MAIN = ("conversation", "source", "topic")
"""Every source must have the first of these fields that a recipe names."""
KEYS = ("data", "fields", "dialogs_per_seed", "chunk", "publish", "extend")
WITHHELD = "withheld"
"""The key in the seeds of a published recipe that names the columns which were left out."""
MAX_SOURCES = 5_000_000
"""Maximum number of rows or chunks. A table with this many takes about a gigabyte and a minute to read."""
MAX_CHARACTERS = 2_000_000_000
"""Maximum characters of all rows together, about 500 million tokens, since a small file can repeat a text millions of
times. The table takes 2 to 6 GB of disk under HF_HOME, which a laptop has, and half a minute to read. The memory for
reading does not grow with the number of characters.
"""
MAX_PER_SEED = 1000
MAX_WORDS = 10_000
NAMED = 5
"""Maximum number of rows that a warning names."""


@dataclass(frozen=True)
class Seeds:
    """Sources that were read, and the number of dialogues for each. Equal sources make equal seeds.

    `extend` is the number of turns that are added to given conversations, 0 if only their answers are made again.
    `private` are the fields, and columns that templates use, that are not published. They shape the data as others do.
    """

    sources: Sources
    dialogs_per_seed: int = 1
    private: tuple[str, ...] = ()
    extend: int = 0

    def __len__(self) -> int:
        return len(self.sources) * self.dialogs_per_seed

    @property
    def plain(self) -> dict[str, Any]:
        """The part that shapes the data, for the recipe's fingerprint: the sources' content, not their address."""
        more = {"extend": self.extend} if self.extend else {}
        return {"digest": self.sources.digest, "dialogs_per_seed": self.dialogs_per_seed, **more}

    def parts(self, shares: Mapping[str, int]) -> dict[str, Seeds]:
        """Divide the sources between splits. Raises RecipeError if a split gets none."""
        found = {name: replace(self, sources=part) for name, part in self.sources.parts(shares).items()}
        for name, part in found.items():
            if not len(part):
                raise RecipeError(
                    f"splits: {len(self.sources):,} sources are too few, and none is left for {name!r}: splits share "
                    f"no sources. Give more rows, fewer splits or larger shares."
                )
        return found


@dataclass(frozen=True)
class UnreadSeeds:
    """Seeds that are not read yet: the mapping, its checked address, and the options to open it.

    Which of its columns are read depends on the recipe's templates. `where` is the place of the field in its file.
    """

    place: str
    given: Mapping[str, Any]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    where: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """The columns by field."""
        return settings(self.given)[1]

    def read(self, columns: Sequence[str] = (), optional: Sequence[str] = ()) -> Seeds:
        """Read the sources, with these columns and the optional ones that the data has. Raises RecipeError."""
        try:
            return _read(self.place, self.given, self.options, columns, optional)
        except RecipeError as error:
            raise RecipeError(f"{self.where}: {error}" if self.where else str(error)) from None


def prepare(given: Any, options: Mapping[str, Any] | None = None) -> UnreadSeeds:
    """Check the seeds that a mapping describes. `options` are used to open its address. Raises RecipeError."""
    data, *_ = settings(given)
    address.check(data, options or {})
    return UnreadSeeds(data, given, options or {})


def load(given: Any, options: Mapping[str, Any] | None = None) -> Seeds:
    """Read the seeds that a mapping describes, without columns for templates. Raises RecipeError."""
    return prepare(given, options).read()


def _read(place: str, given: Any, options: Mapping[str, Any], further: Sequence[str], optional: Sequence[str]) -> Seeds:
    from consistent_chat.recipe.seeds.sources import gather  # needs Arrow, which takes 0.1 s to import

    _, fields, count, chunk = settings(given)
    extend = _extend(given.get("extend"), fields)
    name = address.name(place)
    if (path := address.folder(place)) is not None:
        folder = documents.Folder(path)
        fields = _with_columns(fields, further)
        read = _Reader(name, fields, chunk, extend, folder.paths)
        sources, repeats = gather(tuple(fields), read.sources(folder.rows(tuple(fields.values()))))
        read.unreadable = folder.unreadable
    else:
        with address.opened(place, options) as file:
            fields = _with_columns(fields, (*further, *rows.known(file, name, optional)))
            read = _Reader(name, fields, chunk, extend)
            sources, repeats = gather(tuple(fields), read.sources(rows.read(file, name, tuple(fields.values()))))
    read.warn(repeats)
    if not len(sources):
        raise RecipeError(f"{name} has no row with text in {fields[read.main]!r}. Check the column and the file.")
    return Seeds(sources, count, _private(given.get("publish"), fields), extend)


def _with_columns(fields: Mapping[str, str], columns: Sequence[str]) -> dict[str, str]:
    return {**fields, **{f"{COLUMN}{column}": column for column in sorted(columns)}}


def settings(given: Any) -> tuple[str, dict[str, str], int, Chunk | None]:
    """Return the data's address, the columns by field, the dialogues per source and the chunk size.

    Raises RecipeError.
    """
    if not isinstance(given, Mapping):
        raise type_error("seeds", given, "a mapping with data and fields")
    if given.get(WITHHELD):
        raise RecipeError(
            f"seeds lack columns that their publisher has withheld: {', '.join(map(str, given[WITHHELD]))}. No "
            f"dialogues can be made from them. Load the published rows, or ask the publisher for the data."
        )
    for key in given:
        if key not in KEYS:
            raise RecipeError(f"seeds must not have {key!r}.{suggestion(key, KEYS)}")
    data = given.get("data")
    if not isinstance(data, str) or not data.strip() or not data.isprintable():
        raise type_error("seeds must have data: it", data, "a path or an hf:// address")
    number = whole(1, MAX_PER_SEED)
    count = number("seeds must have a number in range: dialogs_per_seed", given.get("dialogs_per_seed", 1))
    fields = _fields(given.get("fields"))
    _extend(given.get("extend"), fields)
    return data, fields, int(count), _chunk(given.get("chunk"), fields)


def _fields(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping) or not given:
        raise type_error("seeds must have fields: they", given, "a mapping such as {topic: subject, source: body}")
    for field, column in given.items():
        if field not in COLUMNS:
            raise RecipeError(f"seeds must have known fields: there is no {field!r}.{suggestion(field, COLUMNS)}")
        if not isinstance(column, str) or not column:
            raise type_error(f"seeds must have names of columns: {field}", column, "text")
    if not set(MAIN) & set(given):
        raise RecipeError("seeds must have the field topic, source or conversation: what the dialogues are about.")
    if "conversation" in given and "persona" in given:
        raise RecipeError("seeds must not have persona with conversation, because the user messages are given.")
    return {field: given[field] for field in COLUMNS if field in given}


def _private(publish: Any, fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the fields whose columns are not published; empty if all are published."""
    if publish is None:
        return ()
    if not isinstance(publish, (list, tuple)) or not all(isinstance(column, str) for column in publish):
        raise type_error("seeds must have names of columns: publish", publish, "a list of texts")
    known = tuple(dict.fromkeys(fields.values()))
    for column in publish:
        if column not in known:
            raise RecipeError(f"seeds must publish columns that are used: not {column!r}.{suggestion(column, known)}")
    return tuple(name for name, column in fields.items() if column not in publish)


def _chunk(given: Any, fields: Mapping[str, str]) -> Chunk | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or not set(given) <= set(Chunk._fields) or "words" not in given:
        raise type_error("seeds must have a size of chunks: chunk", given, "a mapping such as {words: 800}")
    if "source" not in fields or "conversation" in fields:
        raise RecipeError(
            "seeds must have the field source, and not the field conversation, for chunk, which divides sources."
        )
    words = int(whole(1, MAX_WORDS)("seeds must have a number in range: chunk.words", given["words"]))
    overlap = whole(0, words - 1)("seeds must have a number in range: chunk.overlap", given.get("overlap", 0))
    return Chunk(words, int(overlap))


def _extend(given: Any, fields: Mapping[str, str]) -> int:
    """Return the number of turns that are added to given conversations. Raises RecipeError."""
    if given is None:
        return 0
    if "conversation" not in fields:
        raise RecipeError("seeds must have the field conversation for extend, which adds turns to given conversations.")
    return int(whole(1, MAX_TURNS)("seeds must have a number in range: extend", given))


def _clean(extend: int, field: str, value: Any, longest: int) -> str:
    if field == "conversation":
        value = turns(value, extend) if extend else user_messages(value)
    return source.clean(field, value, longest)


class _Reader:
    """Makes sources from rows, and counts the rows that are left out."""

    def __init__(
        self, name: str, fields: Mapping[str, str], chunk: Chunk | None, extend: int = 0, labels: Sequence[str] = ()
    ) -> None:
        self._labels = labels
        self.unreadable: Mapping[str, str] = {}
        self.main = next(field for field in MAIN if field in fields)
        self._clean = partial(_clean, extend) if "conversation" in fields else source.clean
        self._name, self._fields, self._chunk = name, fields, chunk
        longest = {**LONGEST, "source": MAX_DOCUMENT} if chunk else LONGEST
        self._longest = [longest.get(field, MAX_COLUMN) for field in fields]
        self._empty: list[int] = []
        self._rows = 0

    def sources(self, read: rows.Rows) -> Iterator[tuple[int, bytes, Sequence[str]]]:
        """Yield the number of the row, the digest and the texts of each source."""
        fields, main, made, size = tuple(self._fields), list(self._fields).index(self.main), 0, 0
        for number, values in read:
            self._rows = number
            try:
                texts = [self._clean(*one) for one in zip(fields, values, self._longest)]
                if not texts[main]:
                    self._note_empty(number)
                    continue
                for part in self._divided(texts, main):
                    made += 1
                    size += sum(map(len, part))
                    yield number, source.digest(fields, part), part
            except WrongValue as error:
                raise self._wrong(number, values, str(error)) from None
            if size > MAX_CHARACTERS:
                raise RecipeError(
                    f"{self._name} has more than {MAX_CHARACTERS:,} characters in all rows. Use fewer rows."
                )
            if made > MAX_SOURCES:
                raise RecipeError(f"{self._name} has more than {MAX_SOURCES:,} sources. Use fewer rows.")

    def _note_empty(self, number: int) -> None:
        self._empty.append(number)
        if len(self._empty) > MAX_SOURCES:
            raise RecipeError(f"{self._name} has more than {MAX_SOURCES:,} rows without text. Use fewer rows.")

    def warn(self, repeats: Sequence[int]) -> None:
        """Warn about the rows and files that were left out, with the reasons."""
        if self.unreadable:
            told = "".join(f"\n  {path}: {reason}" for path, reason in self.unreadable.items())
            logger.warning(
                "%s: %d files of %d are left out:%s", self._name, len(self.unreadable), len(self._labels), told
            )
        empty = f"no text in {self._fields[self.main]!r}"
        for numbers, reason in ((self._empty, empty), (repeats, "the same content as an earlier row")):
            if numbers:
                shown = ", ".join(map(self._label, numbers[:NAMED])) + (", ..." if len(numbers) > NAMED else "")
                logger.warning(
                    "%s: %d sources of %d rows are left out: they have %s (%s).",
                    *(self._name, len(numbers), self._rows, reason, shown),
                )

    def _label(self, number: int) -> str:
        return self._labels[number - 1] if self._labels else f"row {number}"

    def _wrong(self, number: int, values: Sequence[Any], reason: str) -> RecipeError:
        """Return the error for a row, with the first column that cannot be used."""
        advice = "Correct it, or leave the row out."
        for (field, column), value, longest in zip(self._fields.items(), values, self._longest):
            try:
                source.digest((field,), (self._clean(field, value, longest),))
            except WrongValue:
                if field == "source" and isinstance(value, str) and len(value) > MAX_SOURCE and self._chunk is None:
                    advice = "Shorten it, or divide sources with chunk: {words: 800}."
                return RecipeError(f"{self._name}, {self._label(number)}: {column!r} {reason}. {advice}")
        return RecipeError(f"{self._name}, {self._label(number)} {reason}. {advice}")

    def _divided(self, texts: list[str], main: int) -> Iterable[list[str]]:
        if self._chunk is None:
            return (texts,)
        return ([*texts[:main], part, *texts[main + 1 :]] for part in chunks(texts[main], self._chunk))
