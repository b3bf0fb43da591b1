"""Builds a dataset and writes it as files: what `consistent-chat build` does."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets

from consistent_chat import row
from consistent_chat.builder import ConsistentChat
from consistent_chat.commands.open import open_builder
from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.row import LAYOUTS

WRITERS = {
    ".parquet": lambda dataset, path: dataset.to_parquet(path),
    ".jsonl": lambda dataset, path: dataset.to_json(path, force_ascii=False),
}
TEXT, NUMBER = datasets.Value("string"), datasets.Value("int64")
FAILURES = datasets.Features(
    {
        "split": TEXT,
        "index": NUMBER,
        **dict.fromkeys(("intent", "category", "topic"), TEXT),
        "substitute": NUMBER,
        "stage": TEXT,
        "draw": NUMBER,
        **dict.fromkeys(("reason", "detail", "response", "finish", "request_key"), TEXT),
    }
)
"""The columns of `row.failures`."""


def build(
    recipe: str | None,
    output: str,
    num_proc: int | None = None,
    failures: str | None = None,
    force: bool = False,
    **options: Any,
) -> str:
    """Build and write; return a line that says what was made.

    `output` is a .parquet or .jsonl file for one split, or a folder, which gets `<split>.parquet` for each. With the
    layout "sharegpt", LLaMA-Factory's list of datasets beside them names the files. `failures` is a file for the
    answers that were of no use. Nothing is left at `output` when the build fails.
    """
    ledger = [] if failures is None else [_ledger(failures)]
    suffix = _suffix(output)
    _try_cache()
    builder = open_builder(recipe, **options)
    files = _files(output, suffix, list(builder.recipes))
    if {path.resolve() for path in ledger} & {path.resolve() for path in files.values()}:
        raise RecipeError(f"--failures {failures} is where --output writes. Give two names.")
    for_llamafactory = LAYOUT.column in builder.info.features
    with _tried([*files.values(), *ledger]):
        if for_llamafactory:
            check(files)
        mode = {"download_mode": datasets.DownloadMode.REUSE_CACHE_IF_EXISTS} if force else {}
        builder.download_and_prepare(num_proc=num_proc, **mode)
        splits = builder.as_dataset()
        for split, dataset in splits.items():
            _write(dataset, files[split])
        for path in ledger:
            _write(_failures(builder), path)
        if for_llamafactory:
            add(files)
    rows = ", ".join(f"{len(dataset)} rows of {split}" for split, dataset in splits.items())
    return f"{output}: {rows} ({_done(builder)})"


def _done(builder: Any) -> str:
    if not hasattr(builder, "tallies"):
        return "built before"
    return "; ".join(f"{split}: {tally}" for split, tally in builder.tallies.items())


def _ledger(path: str) -> Path:
    if Path(path).suffix not in WRITERS:
        raise RecipeError(f"--failures {path} must end in {' or '.join(WRITERS)}.")
    return Path(path)


def _failures(builder: ConsistentChat) -> datasets.Dataset:
    """Return the answers that were of no use, in the order of the plan."""
    rows = [
        {"split": split, **failure}
        for split in builder.recipes
        for dialogue in builder.replay(split)
        for failure in row.failures(dialogue)
    ]
    return datasets.Dataset.from_dict({name: [values[name] for values in rows] for name in FAILURES}, FAILURES)


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


def _try_cache() -> None:
    """Make sure that `datasets` can write its cache, which it says of a path alone."""
    folder = Path(datasets.config.HF_DATASETS_CACHE).expanduser()
    try:
        _make(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConsistentChatError(
            f"The cache of datasets, {folder}, cannot be written: {error.strerror}. Give rights there, or set HF_HOME "
            "or HF_DATASETS_CACHE to another folder."
        ) from None


@contextlib.contextmanager
def _tried(paths: Collection[Path]) -> Iterator[None]:
    """Make sure that these files of one folder can be written, before anything is paid; leave no empty trace."""
    new = []
    try:
        for path in paths:
            new += [folder for folder in path.parents if not os.path.exists(folder)]
            _try(path)
        yield
    finally:
        for path in paths:
            with contextlib.suppress(OSError):
                _partial(path).unlink()
        for folder in new:
            with contextlib.suppress(OSError):  # it is not empty: the build was a success
                folder.rmdir()


def _try(path: Path) -> None:
    try:
        _make(path.parent)
        _partial(path).touch()
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise RecipeError(
            f"--output {path} cannot be written: {error.strerror}. Give rights there, or another path."
        ) from None


def _make(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):  # if it is a file, who writes there hears so in better words
        folder.mkdir(parents=True)


def _write(dataset: datasets.Dataset, path: Path) -> None:
    WRITERS[path.suffix](dataset, str(_partial(path)))
    os.replace(_partial(path), path)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial{path.suffix}")


LAYOUT = LAYOUTS["sharegpt"]
LIST = "dataset_info.json"


def check(files: Mapping[str, Path]) -> None:
    """Raise RecipeError if the list beside these files is none that they could be added to."""
    _entries(_folder(files))


def add(files: Mapping[str, Path]) -> None:
    """Name files of one folder in the list beside them, each by its name without the ending; keep all other entries."""
    folder = _folder(files)
    entries = {**_entries(folder), **{path.stem: _entry(path.name) for path in files.values()}}
    partial = folder / f".{LIST}.partial"
    partial.write_text(json.dumps(entries, indent=2) + "\n", "ascii")  # it is read in the platform's own encoding
    os.replace(partial, folder / LIST)


def _folder(files: Mapping[str, Path]) -> Path:
    return next(iter(files.values())).parent


def _entries(folder: Path) -> dict[str, Any]:
    path = folder / LIST
    try:
        entries = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _unusable(path, f"is not valid JSON ({error})") from error
    if not isinstance(entries, dict):
        raise _unusable(path, "holds no JSON object")
    return entries


def _unusable(path: Path, why: str) -> RecipeError:
    return RecipeError(
        f"{path} {why}, and the layout 'sharegpt' adds an entry for LLaMA-Factory to it. Repair it, or move it away."
    )


def _entry(file_name: str) -> dict[str, Any]:
    return {
        "file_name": file_name,
        "formatting": "sharegpt",
        "columns": {"messages": LAYOUT.column},
        "tags": {
            "role_tag": LAYOUT.role,
            "content_tag": LAYOUT.text,
            "user_tag": LAYOUT.user,
            "assistant_tag": LAYOUT.assistant,
            "system_tag": LAYOUT.system,
        },
    }
