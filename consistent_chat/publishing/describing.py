"""The card of what was made, and its plots: which files `load_dataset` takes for which config is said here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from consistent_chat import card
from consistent_chat.card import About, Seen, header
from consistent_chat.publishing import layout
from consistent_chat.publishing.making import Made
from consistent_chat.publishing.target import Target


def describe(made: Made, target: Target, licence: str | None, seen: Seen, previous: str) -> dict[str, bytes]:
    """Return the card and its plots by path; what somebody has written into the previous card stays.

    Raises ConsistentChatError where the previous card's header cannot be read.
    """
    about = About(
        name=str(target),
        url=target.url,
        title=target.title,
        recipes=made.recipes,
        files=made.files,
        configs=list(configs(made.folder, made.recipes)),
        licence=licence,
    )
    return {path: text.encode("utf-8") for path, text in card.files(about, seen, previous).items()}


def check(previous: str) -> None:
    """Raise ConsistentChatError where a card's header cannot be read: before anything is paid for it."""
    header.merged(header.split(previous)[0], {})


def configs(folder: Path, splits: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the configs of a folder. One without any row could not be loaded: its list of files is empty then."""
    rows = [{"split": split, "path": f"{layout.DATA}/{split}-*"} for split in splits]
    failures = [{"split": split, "path": layout.failures(split)} for split in splits]
    packs = [{"split": "train", "path": f"{layout.RESPONSES}/packs/*.parquet"}]
    yield {"config_name": "default", "data_files": rows, "default": True}
    there = [each for each in failures if (folder / each["path"]).is_file()]
    yield {"config_name": layout.FAILURES, "data_files": there}
    yield {"config_name": layout.RESPONSES, "data_files": packs}
