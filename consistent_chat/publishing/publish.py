"""Publishes datasets: builds them, checks the destination, sends missing files, and removes obsolete ones."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consistent_chat.builder import ConsistentChat
from consistent_chat.card import Seen, header
from consistent_chat.commands.open import open_builder
from consistent_chat.drivers import RunStats
from consistent_chat.errors import PublishError, RecipeError
from consistent_chat.hub import PAUSES
from consistent_chat.publishing import layout
from consistent_chat.publishing.bundle import Made, describe, make
from consistent_chat.publishing.destinations import BucketDestination, RepoDestination
from consistent_chat.publishing.hub import PUBLISHED, ConflictError, Destination, RemoteState, RepoTarget, open_api
from consistent_chat.publishing.layout import Manifest
from consistent_chat.publishing.live import remove_progress, shown, without
from consistent_chat.recipe import EXTENSION
from consistent_chat.recipe.description import PAIRS
from consistent_chat.retry import retry
from consistent_chat.text import Summarized
from consistent_chat.text.sanitize import without_secrets

_STRANGE = re.compile(r"[^\w .()-]")
"""Characters that a file's name must not have, because they have a meaning in URLs."""


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
    target = RepoTarget.parse(repo, revision)
    return _publish(recipe, PublishOptions(target, private, create_pr, overwrite, licence, live, token), options)


@dataclass(frozen=True)
class PublishOptions:
    """Where and how a dataset is published, here or by a job. The fields are those arguments of `publish`."""

    target: RepoTarget
    private: bool
    create_pr: bool
    overwrite: bool
    licence: str | None
    live: bool
    token: str | None

    def open_destination(self) -> Destination:
        """Return the repo or bucket. Raises PublishError without a token, RecipeError for a bucket with create_pr."""
        if self.target.is_bucket and self.create_pr:
            raise RecipeError("A bucket has no pull requests. Leave --create-pr out, or publish to a repo.")
        api = open_api(self.target, self.token)
        if self.target.is_bucket:
            return BucketDestination(api, self.target, self.private)
        return RepoDestination(api, self.target, self.private, self.create_pr)

    def open_builder(self, recipe: str | Mapping[str, str] | None, options: Mapping[str, Any]) -> ConsistentChat:
        """Return the builder. Raises RecipeError for options that exclude each other."""
        serving = options.get("serving")
        if self.live and (serving is None or self.create_pr):
            raise RecipeError(
                "--live shows the progress of a build, so it needs --serving and excludes --create-pr. Pass "
                "--serving, or leave out --live."
            )
        builder = open_builder(
            recipe, **{**options, **({"mode": "replay"} if serving is None else {})}, token=self.token
        )
        builder.plans()  # raises RecipeError without a model
        for each in builder.recipes.values():
            if each.layout in PAIRS:
                raise RecipeError(
                    f"The layout {each.layout!r} cannot be published. Publish with layout='messages': users who load "
                    f"the recipe of the published dataset with layout={each.layout!r} get the pairs without a call."
                )
        return builder


def _publish(recipe: str | Mapping[str, str] | None, how: PublishOptions, options: Mapping[str, Any]) -> Published:
    destination = how.open_destination()
    builder = how.open_builder(recipe, options)
    _check_licence(builder, how.licence)
    state = check(destination, how.overwrite)
    with remove_progress(destination) if how.live else contextlib.nullcontext():
        if builder.config.serving is not None and _record(builder, destination, how.live):
            state = destination.state()  # the build may have taken hours
        sent = _build_and_send(builder, name_of(recipe, destination.target), how, destination, state)
    return Published(str(destination.target), {split: len(plan) for split, plan in builder.plans().items()}, sent)


def _check_licence(builder: ConsistentChat, licence: str | None) -> None:
    """Raise RecipeError if the user's own data would be published without a licence."""
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


def _build_and_send(
    builder: ConsistentChat, name: str, how: PublishOptions, destination: Destination, state: RemoteState
) -> Sent:
    """Build all files, then send the new ones."""
    with tempfile.TemporaryDirectory(prefix="consistent_chat-") as folder:
        seen = Seen()
        made = make(builder, name, Path(folder), seen.see)

        def finish(previous: str) -> None:
            _finish(made, describe(made, how.target, how.licence, seen, without(previous)))

        return send(destination, made.folder, state, finish, how.overwrite)


def _record(builder: ConsistentChat, destination: Destination, is_live: bool) -> bool:
    """Request the missing responses; return whether any call was made or progress was shown."""
    plans = builder.plans()
    all_stats = {split: RunStats() for split in plans}
    totals = {split: len(plan) for split, plan in plans.items()}
    with shown(destination, all_stats, totals) if is_live else contextlib.nullcontext():
        builder.fill({split: range(total) for split, total in totals.items()}, all_stats)
    return is_live or any(stats.calls for stats in all_stats.values())


def _finish(made: Made, files: Mapping[str, bytes]) -> None:
    """Write the card, its images and the manifest into the folder."""
    for path, content in files.items():
        (made.folder / path).parent.mkdir(exist_ok=True)
        (made.folder / path).write_bytes(content)
    (made.folder / layout.MANIFEST).write_bytes(Manifest.of(made.folder, made.files).text())


@dataclass(frozen=True)
class Sent:
    """Numbers of files, and the address of the commit, "" if nothing has changed."""

    sent: int
    unchanged: int
    removed: int
    where: str = ""

    def __str__(self) -> str:
        if not self.where:
            return f"nothing has changed ({self.unchanged} files)"
        return f"{self.sent} files sent, {self.unchanged} unchanged, {self.removed} removed: {self.where}"


def check(destination: Destination, overwrite: bool) -> RemoteState:
    """Return the state of a destination; raises PublishError if nothing can be published there. Changes nothing."""
    state = destination.state()
    destination.check(state)
    header.merged(header.split(state.readme)[0], {})  # raises ConsistentChatError if it cannot be read
    if not overwrite and state.manifest is None:
        _refuse_foreign(destination, state)
    return state


def _refuse_foreign(destination: Destination, state: RemoteState) -> None:
    _refuse(destination, layout.foreign(state.files, interrupted=destination.target.is_bucket))


def _refuse(destination: Destination, foreign: list[str]) -> None:
    """Raise PublishError if there are files that this package did not publish."""
    if foreign:
        named = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise PublishError(
            f"{destination.target} already contains other files ({named}). Choose another repo, or pass --overwrite "
            f"to add the dataset; files in {layout.DATA}/ and {layout.FAILURES}/ are then replaced."
        )


def send(
    destination: Destination, folder: Path, state: RemoteState, finish: Callable[[str], None], overwrite: bool = False
) -> Sent:
    """Send files that differ, in one step. `finish` gets the current card and completes the folder.

    Only previously published files are removed; other rows are replaced or removed only with `overwrite`. If another
    writer was faster, start again from the new state. Raises PublishError.
    """
    states = itertools.chain([state], (destination.state() for _ in itertools.count()))
    try:
        return retry(lambda: _send(destination, folder, next(states), finish, overwrite), ConflictError, PAUSES)
    except ConflictError as error:
        raise PublishError(f"{destination.target} could not be written: {error} Rerun the command.") from None


def _send(
    destination: Destination, folder: Path, state: RemoteState, finish: Callable[[str], None], overwrite: bool
) -> Sent:
    finish(state.readme)
    add = [path for path in layout.paths(folder) if not destination.has(state, path, folder / path)]
    gone = _obsolete(destination, state, folder)
    unchanged = len(layout.paths(folder)) - len(add)
    if not add and not gone:
        return Sent(0, unchanged, 0)
    if not overwrite:
        _check_ours(destination, state, [*add, *gone])
    where = destination.put(state, folder, add, gone, PUBLISHED)
    return Sent(len(add), unchanged, len(gone), where)


def _check_ours(destination: Destination, state: RemoteState, paths: list[str]) -> None:
    """Raise PublishError if other people's files would be replaced or removed, even if a manifest lists them."""
    if state.manifest is not None and not destination.has_published(state):
        _refuse_foreign(destination, state)
    rows = [path for path in paths if path in state.files and path.startswith(layout.ROWS)]
    _refuse(destination, [path for path in rows if not destination.is_ours(state, path)])


def _obsolete(destination: Destination, state: RemoteState, folder: Path) -> list[str]:
    """Return published files that are now obsolete, and other files that would be loaded as rows.

    The manifest may be a stranger's, from a merged pull request, so each file that it names is checked.
    """
    named = set(state.manifest.files if state.manifest else ())
    old = [path for path in state.files if not (folder / path).is_file()]
    return sorted(
        path for path in old if path.startswith(layout.ROWS) or (path in named and destination.is_ours(state, path))
    )
