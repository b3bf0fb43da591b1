"""Detects the kind of a source: a dataset, a response store, or a recipe."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from typing import Any

import fsspec

from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.recipe import EXTENSION
from consistent_chat.reports import file_source, recipe_source, store_source
from consistent_chat.reports.records import ReportSource, builtin_titles
from consistent_chat.store import ResponseStore, default_location
from consistent_chat.store.backends import MARKER
from consistent_chat.text.urls import redact, without_secrets

REPO = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
RECIPES = (EXTENSION, ".yaml", ".yml")


def read(
    source: str | None,
    recipe: str | None = None,
    failures: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> ReportSource:
    """Open a dataset, a response store or a recipe. None is the default store, or the recipe that the options describe.

    Raises RecipeError for any other source.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if recipe is not None or (given if source is None else is_recipe(source)):
        if failures is not None:
            raise RecipeError("failures= is for datasets; a replay finds its failed draws itself. Leave it out.")
        store = {} if recipe is None or source is None else {"responses": source}
        return _replay(recipe or source, storage_options, {**given, **store})
    if given and source is not None:
        raise RecipeError(
            f"Only recipes take {', '.join(sorted(given))}, and {without_secrets(source)} is not one. "
            "Pass recipe= as well."
        )
    return _kept(default_location() if source is None else source, failures, storage_options)


def _replay(recipe: str | None, storage_options: Mapping[str, Any] | None, given: dict[str, Any]) -> ReportSource:
    from consistent_chat.commands.open import open_builder

    builder = open_builder(recipe, storage_options=storage_options, **given)
    builder.plans()  # to raise errors now
    chosen = [recipe.chosen_taxonomy.intents for recipe in builder.recipes.values()]
    titles = {key: intent.title for intents in chosen for key, intent in intents.items()}
    reading = ReportSource(_name(recipe or "recipe"), iter(()), titles)
    reading.entries = recipe_source.entries(builder, reading)
    return reading


def _store(url: str, storage_options: Mapping[str, Any] | None) -> ReportSource:
    reading = ReportSource(_name(url), iter(()), builtin_titles())
    reading.entries = store_source.entries(ResponseStore(url, storage_options), reading)
    return reading


def _kept(source: str, failures: str | None, storage_options: Mapping[str, Any] | None) -> ReportSource:
    try:
        url, fs, root = located(source, storage_options)
        if fs.exists(posixpath.join(root, MARKER)):
            return _store(url, storage_options)
        found = file_source.files(fs, root)
        ledgers = [] if failures is None else [file_source.File(*located(failures, storage_options)[1:])]
    except ConsistentChatError:
        raise
    except Exception as error:  # each filesystem raises its own errors
        raise ConsistentChatError(
            f"{without_secrets(source)} cannot be read: {redact(str(error), source, storage_options).rstrip('.')}. "
            "Check the path, URL or repo."
        ) from None
    return ReportSource(_name(source), file_source.entries(found, ledgers), builtin_titles())


def located(source: str, storage_options: Mapping[str, Any] | None) -> tuple[str, Any, str]:
    """Return the URL of a path, URL or repo, with filesystem and path. Raises RecipeError if it does not exist."""
    url = os.path.expanduser(source)
    if not os.path.exists(url) and REPO.fullmatch(url):
        url = f"hf://datasets/{url}"
    fs, root = fsspec.core.url_to_fs(url, **(storage_options or {}))
    try:
        fs.info(root)  # `exists` of the Hub's filesystem returns False on every error
    except FileNotFoundError:
        raise RecipeError(
            f"{without_secrets(source)} does not exist. Pass a dataset (a file, a folder, user/repo), a response "
            "store, a recipe file, or demo."
        ) from None
    return url, fs, root


def is_recipe(source: str) -> bool:
    """Return whether a source is a recipe file or, if no such path exists, the name of a config."""
    if source.endswith(RECIPES) or os.path.exists(source):
        return source.endswith(RECIPES)
    from consistent_chat.builder import ConsistentChat

    return source in ConsistentChat.builder_configs


def _name(source: str) -> str:
    source = without_secrets(source)
    path = os.path.abspath(source) if os.path.exists(source) else source.rstrip("/")
    return source if REPO.fullmatch(path) else posixpath.basename(path) or source
