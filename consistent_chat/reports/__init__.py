"""Reports on a dataset: its statistics on the terminal, and its statistics and dialogues as one HTML file.

reviewing.py    marks on the terminal; marks.py the review with the marks, and records of Argilla
sources.py      detects the kind of a source; reads a recipe's replay
file_source.py  reads files of rows; store_source.py a store without a recipe
records.py what they all yield: a row and its failed draws
summary.py      the statistics
paraphrases.py dialogues that say the same as others, found by embeddings
terminal.py     the report on the terminal
page.py         the report as a page, from templates/, page.css and page.js; payload.py has the dialogues,
                and their Markdown
check.py        checks the chats of any dataset, and counts the findings of a report
judging.py      scores the chats of any dataset with judges
calibration.py  compares judges with labelled dialogues: calibration.yaml
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from consistent_chat.errors import ConsistentChatError
from consistent_chat.output import parse_output
from consistent_chat.reports import sources
from consistent_chat.reports.page import writing
from consistent_chat.reports.paraphrases import find_paraphrases
from consistent_chat.reports.summary import Summary
from consistent_chat.text.sanitize import without_secrets

__all__ = ["Summary", "report"]


def report(
    source: str | None = None,
    html: str | os.PathLike[str] | None = None,
    embedding_model: str | None = None,
    embedding_url: str | None = None,
    embedding_store: Any = None,
    review: Any = None,
    **options: Any,
) -> Summary:
    """Read a dataset, a response store or a recipe's replay and return its statistics; write a page to `html` if given.

    `source` is a .parquet or .jsonl file, a folder of them, a Hub repo "user/name", any URL of these, a response store,
    a recipe file, "demo", or None for the default store. `html` is a path, a URL or "-" for the standard output.
    `review` is a review whose marks the page shows; a recipe also applies it. `options`: `recipe`, to read a store by
    its replay; `failures`, a file of a dataset's failed draws; `storage_options`; and with a recipe the options of a
    build. With `embedding_model`, paraphrases among the first dialogues are counted by embeddings, which are stored in
    a response store (`embedding_store`, else `responses`, else the default one). Makes no calls, except for embeddings
    if `embedding_url` is given. Raises RecipeError for a source of another kind, ConsistentChatError if the source
    cannot be read.
    """
    place = None if html is None else parse_output(html, "--html", options.get("storage_options"))
    reading = sources.read_reviewed(source, review, **options)
    texts = None if embedding_model is None else list[str]()
    summary = Summary(reading.title, reading.titles, notes=reading.notes, compared_texts=texts)
    with writing(place, summary, reading.review) if place else contextlib.nullcontext() as pages:
        for entry in reading.entries:
            summary.add(entry)
            if pages is not None:
                pages.add(entry)
        if embedding_model is not None and texts:
            named: dict[str, Any] = {name: options.get(name) for name in ("api_key", "storage_options")}
            named["responses"] = embedding_store or options.get("responses")
            summary.notes.append(str(find_paraphrases(texts, embedding_model, embedding_url, **named)))
        if not summary.statistics.intents:
            raise ConsistentChatError(
                " ".join([f"There are no dialogues in {without_secrets(source or reading.title)}.", *summary.notes])
            )
    return summary
