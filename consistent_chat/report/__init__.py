"""What people look at: a dataset's numbers on the terminal, and all of it as one HTML file.

reading.py    what is it? A recipe (replaying.py), files (files.py), a store by itself (responses.py)
entry.py      what all of them give: a row and its failed draws
summary.py    the numbers
terminal.py   as a table on the terminal
page.py       as a page: sections.py above page.html, page.css, page.js, and the dialogues, packed
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from consistent_chat.errors import ConsistentChatError
from consistent_chat.output import parse_output
from consistent_chat.report.page import writing
from consistent_chat.report.sources import read
from consistent_chat.report.summary import Summary

__all__ = ["Summary", "report"]


def report(source: str | None = None, html: str | os.PathLike[str] | None = None, **options: Any) -> Summary:
    """Read a dataset, a response store or a recipe's replay, and return its numbers; write a page to `html` as well.

    `source` is a .parquet or .jsonl file, a folder of them, a Hub repo "user/name", any URL of these, a response
    store, a recipe file, "demo", or None for the default store. `html` is a path, a URL or "-" for the standard
    output. `options`: `recipe`, with whose replay a store is read; `failures`, a file of failed draws beside a dataset;
    `storage_options`; and with a recipe what a build takes. Makes no calls. Raises RecipeError for a source of none of
    these kinds, ConsistentChatError for one that cannot be read.
    """
    place = None if html is None else parse_output(html, "--html", options.get("storage_options"))
    reading = read(source, **options)
    summary = Summary(reading.title, reading.titles, notes=reading.notes)
    with writing(place, summary) if place else contextlib.nullcontext() as pages:
        for entry in reading.entries:
            summary.add(entry)
            if pages is not None:
                pages.add(entry)
        if not summary.statistics.intents:
            raise ConsistentChatError(
                " ".join([f"There are no dialogues in {source or reading.title}.", *summary.notes])
            )
    return summary
