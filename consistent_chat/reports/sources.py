"""Detects the kind of a source: a dataset, a response store, or a recipe."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import fsspec

from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.work import ALTERNATIVE, JUDGE, OF_USERS, Dialogue, FailedDraw
from consistent_chat.drivers.replay import walk
from consistent_chat.errors import ConsistentChatError, MissingResponse, RecipeError, UnfilledSlot
from consistent_chat.plan.plan import Plan
from consistent_chat.prices import Tokens, beyond, billed
from consistent_chat.recipe import EXTENSION, Recipe
from consistent_chat.recipe.file import read as read_file
from consistent_chat.recipe.review import load
from consistent_chat.reports import file_source, store_source
from consistent_chat.reports.records import ReportRow, ReportSource, builtin_titles
from consistent_chat.row import BARE, failure, row
from consistent_chat.store import ResponseStore, default_location
from consistent_chat.text import counted
from consistent_chat.text.sanitize import redact, without_secrets

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
            raise RecipeError("failures= is only for datasets; a replay finds its failed draws itself. Leave it out.")
        store = {} if recipe is None or source is None else {"responses": source}
        return _replay(recipe or source, storage_options, {**given, **store})
    if given and source is not None:
        raise RecipeError(
            f"Only recipes accept {', '.join(sorted(given))}, and {without_secrets(source)} is not a recipe. "
            "Pass recipe= as well."
        )
    return _kept(default_location() if source is None else source, failures, storage_options)


def read_reviewed(source: str | None, review: Any, recipe: str | None = None, **options: Any) -> ReportSource:
    """Open a source with a review (a path or URL).

    A recipe applies the review; for other sources only its marks are shown. Raises RecipeError.
    """
    given = any(value is not None for value in options.values())
    if review is None or recipe is not None or (given if source is None else is_recipe(source)):
        return read(source, recipe, review=review, **options)
    reading = read(source, **options)
    reading.review = load(read_file(os.fspath(review), {}))
    return reading


def _replay(recipe: str | None, storage_options: Mapping[str, Any] | None, given: dict[str, Any]) -> ReportSource:
    from consistent_chat.commands.open import open_builder

    builder = open_builder(recipe, storage_options=storage_options, **given)
    builder.plans()  # so that errors are raised now
    chosen = [recipe.chosen_taxonomy.intents for recipe in builder.recipes.values()]
    titles = {key: intent.title for intents in chosen for key, intent in intents.items()}
    reviews = [recipe.loaded_review for recipe in builder.recipes.values() if recipe.loaded_review is not None]
    reading = ReportSource(_name(recipe or "recipe"), iter(()), titles, review=reviews[0] if reviews else None)
    reading.entries = _replayed(builder, reading)
    return reading


def _store(url: str, storage_options: Mapping[str, Any] | None) -> ReportSource:
    reading = ReportSource(_name(url), iter(()), builtin_titles())
    reading.entries = store_source.entries(ResponseStore(url, storage_options), reading)
    return reading


def _kept(source: str, failures: str | None, storage_options: Mapping[str, Any] | None) -> ReportSource:
    try:
        url, fs, root = located(source, storage_options)
        if file_source.has_marker(fs, root):
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
    is_named_so = without_secrets(source).endswith(RECIPES)  # without the query of a URL
    if is_named_so or os.path.exists(source):
        return is_named_so
    from consistent_chat.builder import ConsistentChat

    return source in ConsistentChat.builder_configs


def _name(source: str) -> str:
    source = without_secrets(source)
    path = os.path.abspath(source) if os.path.exists(source) else source.rstrip("/")
    return source if REPO.fullmatch(path) else posixpath.basename(path) or source


def _replayed(builder: Any, reading: ReportSource) -> Iterator[ReportRow]:
    """Yield the rows of all splits in plan order with their failed draws. Missing dialogues are noted at the end."""
    for split, plan in builder.plans().items():
        given = builder.recipes[split]
        recipe = replace(given, provenance=True, layout="messages" if given.layout == BARE else given.layout)
        start = 0
        try:
            for dialogue in builder.replay(split):
                start = dialogue.spec.index + 1
                yield _entry(dialogue, recipe)
        except (MissingResponse, UnfilledSlot):
            missing = yield from _rest(recipe, plan, start, builder.store())
            reading.notes.append(
                f"{missing:,} of {counted(len(plan), 'dialogue')} of {split} {'is' if missing == 1 else 'are'} not "
                "recorded, or not finished."
            )


def _rest(recipe: Recipe, plan: Plan, start: int, store: ResponseStore) -> Generator[ReportRow, None, int]:
    """Yield the recorded dialogues from an index on, and return how many are missing."""
    missing = 0
    for index in range(start, len(plan)):
        failed: list[FailedDraw] = []
        dialogue = _dialogue(recipe, plan, index, store, failed)
        if dialogue is not None:
            yield _entry(dialogue, recipe)
            continue
        missing += 1
        if failed:
            yield ReportRow(None, [_counted(draw, recipe) for draw in failed], _beyond(failed, recipe))
    return missing


def _entry(dialogue: Dialogue, recipe: Recipe) -> ReportRow:
    """Return a dialogue with its failed draws.

    Draws of specs that were given up have tokens that the row does not include.
    """
    own = dialogue.spec.substitute
    drawn = [failure(draw) if draw.spec.substitute == own else _counted(draw, recipe) for draw in dialogue.failed]
    given_up = [draw for draw in dialogue.failed if draw.spec.substitute != own]
    given = dialogue.spec.source
    return ReportRow(
        row(dialogue, recipe), drawn, _beyond_counts(dialogue, given_up, recipe), "" if given is None else given.source
    )


def _beyond_counts(dialogue: Dialogue, given_up: list[FailedDraw], recipe: Recipe) -> list[tuple[str, Tokens]]:
    """Return the billed tokens of a position that its row and the draws of given-up specs do not count."""
    (written, judged), users = dialogue.billed, dialogue.billed_users
    judges = dict(dialogue.billed_judges or [(recipe.judge_model or "", judged)])
    others = dict(dialogue.billed_alternatives)
    own_in, own_out = dialogue.input_tokens, dialogue.output_tokens
    for opinion in () if dialogue.judgement is None else dialogue.judgement.opinions:
        judges[opinion.model] = beyond(judges[opinion.model], opinion.input_tokens, opinion.output_tokens)
        own_in, own_out = own_in - opinion.input_tokens, own_out - opinion.output_tokens
    written = beyond(written, own_in, own_out)
    for draw in given_up:
        if draw.stage == JUDGE:
            judges[_model(draw.stage, draw.model, recipe)] = beyond(
                judges[_model(draw.stage, draw.model, recipe)], *_counts(draw)
            )
        elif draw.stage == ALTERNATIVE:
            others[draw.model] = beyond(others[draw.model], *_counts(draw))
        elif draw.stage in OF_USERS and any(users):
            users = beyond(users, *_counts(draw))
        else:
            written = beyond(written, *_counts(draw))
    each = [(recipe.model or "", written), *judges.items(), *others.items(), (recipe.user_writer, users)]
    return [(model, tokens) for model, tokens in each if any(tokens)]


def _beyond(draws: list[FailedDraw], recipe: Recipe) -> list[tuple[str, Tokens]]:
    """Return the uncounted billed tokens of failed draws."""
    own = [(draw.stage, draw.model, beyond(billed(draw.response), *_counts(draw))) for draw in draws]
    others = [each for draw in draws for each in draw.others]
    return [(_model(stage, model, recipe), tokens) for stage, model, tokens in (*own, *others)]


def _counts(draw: FailedDraw) -> tuple[int, int]:
    return draw.response.input_tokens or 0, draw.response.output_tokens or 0


def _model(stage: str, model: str, recipe: Recipe) -> str:
    """Return the model of a stage. With several judges, the draw names its model."""
    if stage in OF_USERS:
        return recipe.user_writer
    if stage == ALTERNATIVE:
        return model
    return (model or recipe.judge_model if stage == JUDGE else recipe.model) or ""


def _counted(draw: FailedDraw, recipe: Recipe) -> dict[str, Any]:
    """Return a failed draw as a row with its model and tokens."""
    tokens_in, tokens_out = _counts(draw)
    return {
        **failure(draw),
        "model": _model(draw.stage, draw.model, recipe) or None,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
    }


def _dialogue(
    recipe: Recipe, plan: Plan, index: int, store: ResponseStore, failed: list[FailedDraw]
) -> Dialogue | None:
    """Return the dialogue at an index of the plan, or None if it is not completely recorded."""
    try:
        step = walk(partial(fill, recipe, plan, index), store, failed=failed).step
    except UnfilledSlot:
        return None
    return step if isinstance(step, Dialogue) else None
