"""Makes a file of hashed n-grams from texts: `consistent-chat ngrams`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.files import atomic_write
from consistent_chat.recipe.ngrams import WORDS, Ngrams
from consistent_chat.recipe.seeds import rows

LINES = (".txt", ".md")
"""Files with one text per line."""


def ngrams(
    sources: Sequence[str], output: str, columns: Sequence[str] = (), words: int = WORDS, name: str | None = None
) -> Ngrams:
    """Write the hashed n-grams of the texts in files, and return them. Raises RecipeError.

    Each line of a .txt file is a text. Of a table (.jsonl, .csv, .parquet) all texts in the columns are taken, also
    those within lists and objects. The name is by default the output's.
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
                raise RecipeError(f"{source} is a table: name its columns with texts, such as --column question.")
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
