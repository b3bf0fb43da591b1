"""Checks that a plain `load_dataset` of a folder loads the published files.

A card's header, some other files and the metadata of Parquet files can make `datasets` load other files, other columns
or another builder. Each such redirection is a fault. Then the builder of each config is opened, with the resolution of
`datasets` itself, and its list of files is compared. The header is checked first, so that opening a config reads
nothing outside the folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.packaged_modules.parquet.parquet import Parquet

from consistent_chat.card import header
from consistent_chat.publishing import layout

REDIRECTS = {
    ".huggingface.yaml": "replaces the metadata of the card",
    "dataset_infos.json": "gives rows other columns",
}
"""Files that the publisher does not write, with their effect on `load_dataset`."""
_FEATURES = b"huggingface"
"""The key in the metadata of a Parquet schema under which `datasets` looks for the types of columns."""

Config = Mapping[str, Any]


def faults(folder: Path, title: str, configs: Sequence[Config]) -> Iterator[str]:
    """Yield a line for each reason why `load_dataset` gives rows other than the published ones.

    `title` is the last part of the dataset's name, `configs` are those that its card must have. Raises
    ConsistentChatError if the card's header is not valid YAML.
    """
    found = [*_redirects(folder, title), *header_faults(_head(folder), configs), *_features(folder)]
    yield from found
    if not found:
        with tempfile.TemporaryDirectory() as cache:
            for config in configs:
                yield from _config_faults(folder, config, cache)


def header_faults(head: str, configs: Sequence[Config]) -> Iterator[str]:
    """Yield the faults of a header. Its configs must start with these, without duplicates or another default."""
    if not header.has_configs(head, configs):
        yield f"{layout.README} does not say under `configs` which files were published as rows."
    names = {config["config_name"] for config in configs}
    if header.has_info(head, names):
        yield f"{layout.README} has `dataset_info`, which gives published rows other columns. Remove it."


def _head(folder: Path) -> str:
    file = folder / layout.README
    return header.split(file.read_bytes().decode("utf-8", "replace"))[0] if file.is_file() else ""


def _redirects(folder: Path, title: str) -> Iterator[str]:
    for name, what in {**REDIRECTS, f"{title}.py": "is run by datasets 3 instead of loading the rows"}.items():
        if (folder / name).exists():
            yield f"{name} {what} when the dataset is loaded. Remove it."


def _features(folder: Path) -> Iterator[str]:
    """Yield the Parquet files whose metadata makes `datasets` read columns as other types."""
    for path in layout.paths(folder):
        if path.endswith(".parquet") and path.startswith(layout.FOLDERS):
            try:
                metadata = pq.read_schema(folder / path).metadata or {}
            except (pa.ArrowException, OSError, ValueError):
                continue  # its digest or its rows are already a fault
            if _FEATURES in metadata:
                yield f"{path} makes `datasets` read its columns as other types."


def _config_faults(folder: Path, config: Config, cache: str) -> Iterator[str]:
    name = config["config_name"]
    for asked in (name, None) if config.get("default") else (name,):
        try:
            builder = datasets.load_dataset_builder(str(folder.resolve()), asked, cache_dir=cache)
        except Exception as error:  # datasets has no common class of errors
            yield f"The config {name!r} cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())[:200]}."
            return
        if (
            not isinstance(builder, Parquet)
            or builder.config.name != name
            or _files(builder) != _wanted(folder, config)
        ):
            yield f"The config {name!r} loads files other than the published ones."
            return


def _files(builder: Any) -> dict[str, list[str]]:
    return {str(split): sorted(map(str, files)) for split, files in (builder.config.data_files or {}).items()}


def _wanted(folder: Path, config: Config) -> dict[str, list[str]]:
    root = folder.resolve()
    return {each["split"]: sorted(path.as_posix() for path in root.glob(each["path"])) for each in config["data_files"]}
