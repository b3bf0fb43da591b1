"""Builds a dataset and writes its rows and its unusable answers to files, for `consistent-chat build`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import PurePath
from typing import Any

import datasets
import pyarrow.parquet as pq

from consistent_chat import row
from consistent_chat.builder import ConsistentChat
from consistent_chat.commands.estimate import GAP
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.work import FailedDraw
from consistent_chat.drivers.replay import walk
from consistent_chat.errors import ConsistentChatError, RecipeError, UnfilledSlot
from consistent_chat.output import Output, parse_output
from consistent_chat.output.places import StandardOutput
from consistent_chat.recipe.description import PAIRS
from consistent_chat.row import LAYOUTS
from consistent_chat.text import counted

WRITERS = {
    ".parquet": lambda dataset, file: dataset.to_parquet(file),
    ".jsonl": lambda dataset, file: dataset.to_json(file, force_ascii=False),
}
COUNTERS: dict[str, Callable[[Any], int]] = {
    ".parquet": lambda file: pq.read_metadata(file).num_rows,
    ".jsonl": lambda file: sum(1 for line in file if line.strip()),
}


def build(
    recipe: str | None,
    output: str | os.PathLike[str],
    num_proc: int | None = None,
    failures: str | os.PathLike[str] | None = None,
    force: bool = False,
    **options: Any,
) -> str:
    """Build and write; return a line that describes what was written.

    `output` is a .parquet or .jsonl file for one split, "-" for JSON lines on the standard output, or a folder, which
    gets `<split>.parquet` for each split; paths and URLs alike. With the layout "sharegpt", the files are added to
    LLaMA-Factory's list of datasets in the same folder. `failures` is a file for the unusable answers, which is also
    written when a build stops. If the build fails, nothing is written to `output`. Raises RecipeError, before any call,
    if a file cannot be written.
    """
    storage_options = options.get("storage_options")
    ledger = None if failures is None else _ledger(parse_output(failures, "--failures", storage_options))
    target = parse_output(output, "--output", storage_options)
    _check_name(target)
    builder = open_builder(recipe, **options)
    files = _files(target, list(builder.recipes))
    if ledger is not None and ledger.identity in {each.identity for each in files.values()}:
        raise RecipeError(f"--failures {failures} is also the file of --output. Choose two different names.")
    is_listed = not isinstance(target, StandardOutput) and LAYOUT.column in builder.info.features
    _check_places(files, ledger, is_listed)
    _prepare(builder, ledger, num_proc, force)
    splits = builder.as_dataset()
    for split, dataset in splits.items():
        _write(dataset, files[split])
    if is_listed:
        add(files)
    rows = ", ".join(f"{counted(len(dataset), 'row')} of {_of(builder, split)}" for split, dataset in splits.items())
    return f"{target.name}: {rows} ({_done(builder)})"


def _check_places(files: Mapping[str, Output], ledger: Output | None, is_listed: bool) -> None:
    """Raise RecipeError unless all files can be written."""
    if is_listed:
        check(files)
    ledgers = [] if ledger is None else [ledger]
    for place in (*files.values(), *ledgers, *([_list(files)] if is_listed else [])):
        place.check()


def _prepare(builder: ConsistentChat, ledger: Output | None, num_proc: int | None, force: bool) -> None:
    """Build, and write the unusable answers, also if the build stops, because they often show the reason."""
    mode = {"download_mode": datasets.DownloadMode.REUSE_CACHE_IF_EXISTS} if force else {}
    try:
        builder.download_and_prepare(num_proc=num_proc, **mode)
    except (ConsistentChatError, KeyboardInterrupt):
        if ledger is not None:
            _write(failures_so_far(builder), ledger)
        raise
    if ledger is not None:
        _write(all_failures(builder), ledger)


def _of(builder: ConsistentChat, split: str) -> str:
    """Return a split's name; if its rows are pairs, also the number of dialogues, which differs from that of rows."""
    paired = builder.recipes[split].layout in PAIRS
    return f"{split} from {counted(len(builder.plans()[split]), 'dialogue')}" if paired else split


def _done(builder: Any) -> str:
    if not hasattr(builder, "all_stats"):
        return f"built before, from the cache in {builder.cache_dir}; --force rebuilds it"
    return "; ".join(f"{split}: {stats}" for split, stats in builder.all_stats.items())


def _ledger(target: Output) -> Output:
    if not isinstance(target, StandardOutput) and target.suffix not in WRITERS:
        raise RecipeError(f"--failures {target.name} must end in {' or '.join(WRITERS)}.")
    return target


def _check_name(target: Output) -> None:
    """Raise RecipeError unless the name is a folder's or ends in a format that can be written."""
    if target.is_folder or target.suffix in ("", *WRITERS):
        return
    raise RecipeError(
        f"--output {target.name} must end in {' or '.join(WRITERS)}, or be a folder. To create a folder with that "
        f"name, add a slash."
    )


def _files(target: Output, splits: list[str]) -> dict[str, Output]:
    """Return where each split is written."""
    is_file = isinstance(target, StandardOutput) or (target.suffix in WRITERS and not target.is_folder)
    if is_file and len(splits) > 1:
        raise RecipeError(
            f"{target.name} is one file, but the recipe has {len(splits)} splits. Pass a folder as --output."
        )
    return {split: target if is_file else target.child(f"{split}.parquet") for split in splits}


def _write(dataset: datasets.Dataset, target: Output) -> None:
    """Write rows, and count the rows in the written file. Raises ConsistentChatError."""
    suffix = target.suffix or ".jsonl"
    with target.write() as file:
        WRITERS[suffix](dataset, file)
    if isinstance(target, StandardOutput):
        return
    with target.open() as file:
        rows = COUNTERS[suffix](file)
    if rows != len(dataset):
        raise ConsistentChatError(f"{target.name} has {rows} rows instead of {len(dataset)}. Rerun the build.")


LAYOUT = LAYOUTS["sharegpt"]
LIST = "dataset_info.json"


def check(files: Mapping[str, Output]) -> None:
    """Raise RecipeError if entries cannot be added to the list in the folder of these files."""
    _entries(_list(files))


def add(files: Mapping[str, Output]) -> None:
    """Add files to the list in their folder, by name without the extension. All other entries are kept."""
    place = _list(files)
    names = [PurePath(file.name) for file in files.values()]
    entries = {**_entries(place), **{name.stem: _entry(name.name) for name in names}}
    with place.write() as file:  # in ASCII, because it is read in the platform's encoding
        file.write(json.dumps(entries, indent=2).encode("ascii") + b"\n")


def _list(files: Mapping[str, Output]) -> Output:
    return next(iter(files.values())).sibling(LIST)


def _entries(place: Output) -> dict[str, Any]:
    try:
        with place.open() as file:
            entries = json.loads(file.read().decode("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unusable(place, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _unusable(place, f"is not valid JSON ({error})") from error
    if not isinstance(entries, dict):
        raise _unusable(place, "is not a JSON object")
    return entries


def _unusable(place: Output, why: str) -> RecipeError:
    return RecipeError(
        f"{place.name} {why}, and the layout 'sharegpt' adds an entry for LLaMA-Factory to it. Correct it, or move it "
        f"away."
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


def all_failures(builder: ConsistentChat) -> datasets.Dataset:
    """Return the unusable answers of a finished build, in the order of the plan."""
    return _table(
        {"split": split, **failure}
        for split in builder.recipes
        for dialogue in builder.replay(split)
        for failure in row.failures(dialogue)
    )


def failures_so_far(builder: ConsistentChat) -> datasets.Dataset:
    """Return the recorded unusable answers of a build that stopped, including those of unfinished dialogues.

    A plan is searched until GAP consecutive dialogues have no recorded response. Raises StoreError.
    """
    return _table(failure for split in builder.recipes for failure in _recorded(builder, split))


def _recorded(builder: ConsistentChat, split: str) -> Iterator[dict[str, Any]]:
    recipe, plan, store = builder.recipes[split], builder.plans()[split], builder.recorded()
    gap = 0
    for index in range(len(plan)):
        failed: list[FailedDraw] = []
        try:
            is_recorded = bool(walk(partial(fill, recipe, plan, index), store, failed=failed).used)
        except UnfilledSlot:
            is_recorded = True
        yield from ({"split": split, **row.failure(draw)} for draw in failed)
        gap = 0 if is_recorded else gap + 1
        if gap == GAP:
            return


def _table(failures: Iterable[dict[str, Any]]) -> datasets.Dataset:
    rows = [*failures]
    return datasets.Dataset.from_dict({name: [values[name] for values in rows] for name in FAILURES}, FAILURES)
