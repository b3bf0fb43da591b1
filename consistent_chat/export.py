"""Builds a dataset and writes it as files: what `consistent-chat build` does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import datasets

from consistent_chat import llamafactory
from consistent_chat.errors import RecipeError
from consistent_chat.recipe import EXTENSION
from consistent_chat.registration import NAME

WRITERS = {
    ".parquet": lambda dataset, path: dataset.to_parquet(path),
    ".jsonl": lambda dataset, path: dataset.to_json(path, force_ascii=False),
}


def build(recipe: str | None, output: str, num_proc: int | None = None, **options: Any) -> str:
    """Build and write; return a line that says what was made.

    `output` is a .parquet or .jsonl file for one split, or a folder, which gets `<split>.parquet` for each. With the
    layout "sharegpt", LLaMA-Factory's list of datasets beside them names the files. Nothing is left at `output` when
    the build fails.
    """
    suffix = _suffix(output)
    builder = datasets.load_dataset_builder(NAME, **_named(recipe), **_given(options))
    files = _files(output, suffix, list(builder.recipes))
    for_llamafactory = llamafactory.LAYOUT.column in builder.info.features
    if for_llamafactory:
        llamafactory.check(files)
    builder.download_and_prepare(num_proc=num_proc)
    splits = builder.as_dataset()
    for split, dataset in splits.items():
        _write(dataset, files[split])
    if for_llamafactory:
        llamafactory.add(files)
    done = "; ".join(f"{split}: {tally}" for split, tally in getattr(builder, "tallies", {}).items())
    rows = ", ".join(f"{len(dataset)} rows of {split}" for split, dataset in splits.items())
    return f"{output}: {rows} ({done or 'built before'})"


def _suffix(output: str) -> str:
    suffix = Path(output).suffix
    if suffix and suffix not in WRITERS and not os.path.isdir(output):
        raise RecipeError(f"--output {output} must end in {' or '.join(WRITERS)}, or be a folder.")
    return suffix if suffix in WRITERS and not os.path.isdir(output) else ""


def _files(output: str, suffix: str, splits: list[str]) -> dict[str, Path]:
    """Return where each split is written."""
    if suffix and len(splits) > 1:
        raise RecipeError(f"{output} is one file and the recipe has {len(splits)} splits. Give a folder as --output.")
    return {split: Path(output) if suffix else Path(output) / f"{split}.parquet" for split in splits}


def _named(recipe: str | None) -> dict[str, Any]:
    """Tell a config's name from a recipe file."""
    if recipe is None:
        return {}
    if recipe in datasets.load_dataset_builder(NAME).builder_configs:
        return {"name": recipe}
    if not recipe.endswith((EXTENSION, ".yaml", ".yml")):
        raise RecipeError(
            f"{recipe!r} is neither a config (demo, default, an intent) nor a recipe file (*{EXTENSION})."
        )
    if "://" not in recipe and not os.path.isfile(recipe):
        raise RecipeError(f"There is no recipe file {recipe}. Check the path.")
    return {"data_files": recipe}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _write(dataset: datasets.Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    try:
        WRITERS[path.suffix](dataset, str(partial))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
