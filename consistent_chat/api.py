"""The commands as functions of the package: `consistent_chat.estimate` and others.

All take a recipe as `load_dataset("consistent_chat", ...)` does: the path or URL of a recipe file, the name of a
config, or None for the keywords alone. The keywords are those of `load_dataset`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consistent_chat import publishing, store
from consistent_chat.commands.estimate import Estimate
from consistent_chat.commands.estimate import estimate as estimate_plan
from consistent_chat.commands.open import open_builder
from consistent_chat.commands.preview import preview as show
from consistent_chat.drivers import RunStats


def estimate(recipe: str | None = None, **options: Any) -> dict[str, Estimate]:
    """Return, for each split, the calls, tokens and dollars that a build still needs. No calls are made.

    Raises RecipeError, StoreError.
    """
    builder = open_builder(recipe, **options)
    opened = builder.store()
    return {split: estimate_plan(builder.recipes[split], plan, opened) for split, plan in builder.plans().items()}


def preview(recipe: str | None = None, number: int = 3, **options: Any) -> RunStats:
    """Make and print the first `number` dialogues; return their calls and tokens.

    All responses are stored, so a build does not pay for them again. Raises the errors of a build.
    """
    return show(open_builder(recipe, **options), number)


def verify(what: str | None = None, storage_options: Mapping[str, Any] | None = None) -> Any:
    """Check a published dataset or a response store; return what was found, with a list `faults`.

    Args: what: user/repo, a folder or a URL; None for the default store. It is a dataset if it has a
    consistent_chat.json, or if it is user/repo and no such path exists on this machine. storage_options: keywords of
    the fsspec filesystem.

    Raises: StoreError, PublishError: it cannot be read.
    """
    url = store.default_location() if what is None else what
    options = None if storage_options is None else dict(storage_options)
    check: Any = publishing.verify if publishing.is_dataset(url, options) else store.verify
    return check(url, storage_options=options)
