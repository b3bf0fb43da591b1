"""Publishes a dataset. Everything is checked and built before the first byte is sent."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consistent_chat.builder import ConsistentChat
from consistent_chat.card import Seen
from consistent_chat.commands.open import open_builder
from consistent_chat.drivers import RunStats
from consistent_chat.errors import RecipeError
from consistent_chat.publishing import layout, live
from consistent_chat.publishing.bundle import Made, make
from consistent_chat.publishing.destinations import BucketDestination, RepoDestination
from consistent_chat.publishing.hub import Destination, RemoteState, RepoTarget, open_api
from consistent_chat.publishing.layout import Manifest
from consistent_chat.publishing.live import remove_progress, shown, without
from consistent_chat.publishing.upload import Sent, check, send
from consistent_chat.recipe import EXTENSION
from consistent_chat.recipe.description import PAIRS
from consistent_chat.text import Summarized
from consistent_chat.text.sanitize import without_secrets

_STRANGE = re.compile(r"[^\w .()-]")
"""Characters with a meaning in URLs, which a file's name must not have."""


@dataclass(frozen=True, repr=False)
class Published(Summarized):
    """A published dataset: its name for `load_dataset`, its rows by split, and what was sent."""

    name: str
    rows: Mapping[str, int]
    sent: Sent

    def __str__(self) -> str:
        rows = ", ".join(f"{count:,} rows of {split}" for split, count in self.rows.items())
        return f"{self.name}: {rows}; {self.sent}"


def publish(
    recipe: str | Mapping[str, str] | None,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    overwrite: bool = False,
    licence: str | None = None,
    live: bool = False,
    token: str | None = None,
    **options: Any,
) -> Published:
    """Publish a dataset with its recipe and responses. Without `serving=` only recorded responses are used.

    Args:
        recipe: a recipe file, one for each split, a config ("demo"), or None for the options alone.
        repo: "user/repo", or "buckets/user/name/path" for a folder in a bucket.
        private: create a new repo or bucket as private.
        revision: the branch; it is created if missing.
        create_pr: propose the changes as a pull request.
        overwrite: publish even if the repo contains other files.
        licence: the licence in the card, as the Hub names it ("cc-by-4.0").
        live: show the progress of the build in the card every few minutes.
        token: the Hub's token (default: HF_TOKEN or `hf auth login`).
        options: all other options of `load_dataset("consistent_chat", ...)`.

    Raises:
        RecipeError: the recipe, a field or the name is wrong.
        MissingResponse: responses are missing; the message names the first dialogues and their number.
        PublishError: no token, no write access, or the repo contains other files.
    """
    destination = open_destination(RepoTarget.parse(repo, revision), private, create_pr, token)
    builder = open_to_publish(recipe, live=live, create_pr=create_pr, token=token, **options)
    _check_licence(builder, licence)
    state = check(destination, overwrite)
    with remove_progress(destination) if live else contextlib.nullcontext():
        if builder.config.serving is not None and _record(builder, destination, live):
            state = destination.state()  # the build may have taken hours
        sent = _send(builder, name_of(recipe, destination.target), licence, destination, state, overwrite)
    return Published(str(destination.target), {split: len(plan) for split, plan in builder.plans().items()}, sent)


def open_destination(target: RepoTarget, private: bool, create_pr: bool, token: str | None) -> Destination:
    """Return the repo or bucket. Raises PublishError without a token, RecipeError for a pull request to a bucket."""
    if target.is_bucket and create_pr:
        raise RecipeError("A bucket has no pull requests. Leave --create-pr out, or publish to a repo.")
    api = open_api(target, token)
    return (
        BucketDestination(api, target, private)
        if target.is_bucket
        else RepoDestination(api, target, private, create_pr)
    )


def open_to_publish(
    recipe: str | Mapping[str, str] | None, live: bool, create_pr: bool, **options: Any
) -> ConsistentChat:
    """Return the builder. Raises RecipeError for options that exclude each other."""
    serving = options.get("serving")
    if live and (serving is None or create_pr):
        raise RecipeError(
            "--live shows the progress of a build. Pass --serving without --create-pr. Without a serving, publishing "
            "takes moments."
        )
    builder = open_builder(recipe, **(options if serving is not None else {**options, "mode": "replay"}))
    builder.plans()  # raises RecipeError without a model
    for each in builder.recipes.values():
        if each.layout in PAIRS:
            raise RecipeError(
                f"The layout {each.layout!r} cannot be published. Publish with layout='messages': users who load the "
                f"recipe of the published dataset with layout={each.layout!r} get the pairs without a call."
            )
    return builder


def _check_licence(builder: ConsistentChat, licence: str | None) -> None:
    """Raise RecipeError where rows of the user's own would be published without a licence."""
    if licence is None and any(recipe.seeds is not None for recipe in builder.recipes.values()):
        raise RecipeError(
            "The sources of the seeds are published with the dataset. Check that you may publish them, and name the "
            "licence: --licence cc-by-4.0."
        )


def name_of(recipe: str | Mapping[str, str] | None, target: RepoTarget) -> str:
    """Return the name of the recipe file, without extension: of the given file or config, or of the repo."""
    name = os.path.basename(without_secrets(recipe)) if isinstance(recipe, str) else target.title
    for ending in (EXTENSION, ".yaml", ".yml"):
        name = name.removesuffix(ending)
    return _STRANGE.sub("_", name).strip(". ") or target.title


def _send(
    builder: ConsistentChat,
    name: str,
    licence: str | None,
    destination: Destination,
    state: RemoteState,
    overwrite: bool,
) -> Sent:
    """Build all files, then send the new ones."""
    with tempfile.TemporaryDirectory(prefix="consistent_chat-") as folder:
        seen, target = Seen(), destination.target
        made = make(builder, name, Path(folder), seen.see)
        return send(
            destination,
            made.folder,
            state,
            lambda previous: _finish(made, live.describe(made, target, licence, seen, without(previous))),
            overwrite,
        )


def _record(builder: ConsistentChat, destination: Destination, is_live: bool) -> bool:
    """Request the missing responses; return whether any call was made or progress was shown."""
    plans = builder.plans()
    tallies = {split: RunStats() for split in plans}
    totals = {split: len(plan) for split, plan in plans.items()}
    with shown(destination, tallies, totals) if is_live else contextlib.nullcontext():
        builder.fill({split: range(total) for split, total in totals.items()}, tallies)
    return is_live or any(tally.calls for tally in tallies.values())


def _finish(made: Made, files: Mapping[str, bytes]) -> None:
    """Write the card, its images and the manifest into the folder."""
    for path, content in files.items():
        (made.folder / path).parent.mkdir(exist_ok=True)
        (made.folder / path).write_bytes(content)
    (made.folder / layout.MANIFEST).write_bytes(Manifest.of(made.folder, made.files).text())
