"""Verifies a published dataset: its files against the manifest, its rows against those rebuilt from the responses.

A plain `load_dataset` must load the published files. A card's header, some other files and the metadata of Parquet
files can make `datasets` load other files, other columns or another builder: each such redirection is a fault. Then
`datasets` itself resolves each config, and the list of files of its builder is compared. The header is checked first,
so that opening a config reads nothing outside the folder.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.packaged_modules.parquet.parquet import Parquet
from fsspec.implementations.local import LocalFileSystem
from huggingface_hub import HfApi

from consistent_chat import store
from consistent_chat.card import header
from consistent_chat.errors import ConsistentChatError, MissingResponse, PublishError
from consistent_chat.files import file_digest
from consistent_chat.publishing import diff, layout, recipe_file
from consistent_chat.publishing.bundle import rebuild
from consistent_chat.publishing.diff import VerificationResult
from consistent_chat.publishing.hub import RepoTarget, said
from consistent_chat.publishing.layout import Manifest
from consistent_chat.text.sanitize import redact, without_secrets
from consistent_chat.version import __version__

AT_ONCE = 8


def is_dataset(where: str, storage_options: Mapping[str, Any] | None = None) -> bool:
    """Return whether a location is a published dataset and not a response store.

    A published dataset has a manifest, or is named like user/repo and is not a path on this machine.
    """
    if "://" not in where and not Path(where).expanduser().exists():
        with contextlib.suppress(ConsistentChatError):
            RepoTarget.parse(where)
            return True
        return False
    try:
        fs, root = fsspec.core.url_to_fs(where, **(storage_options or {}))
        return bool(fs.exists(f"{root}/{layout.MANIFEST}"))
    except Exception:  # each filesystem raises its own errors; opening the store will report them
        return False


def verify(
    where: str, token: str | None = None, storage_options: Mapping[str, Any] | None = None
) -> VerificationResult:
    """Rebuild a published dataset from its recipe and responses, and compare. Needs no key and makes no calls.

    `where` is "user/repo" (or "user/repo@revision"), "buckets/user/name/path", a URL, or a folder with these files.
    Raises PublishError if there is no published dataset or it cannot be read.
    """
    verdict = VerificationResult()
    with _fetched(where, token, storage_options or {}) as folder, tempfile.TemporaryDirectory() as made:
        file = folder / layout.MANIFEST
        if not file.is_file():
            raise PublishError(f"{without_secrets(where)} is not a published dataset: it has no {layout.MANIFEST}.")
        manifest = Manifest.read(file.read_bytes(), f"{without_secrets(where)}/{layout.MANIFEST}")
        _check_files(folder, manifest, verdict)
        _check_loading(folder, where.rstrip("/").partition("@")[0].rpartition("/")[2], manifest, verdict)
        if withheld := _withheld(folder, manifest, verdict):
            _count_unproven(folder, manifest, withheld, verdict)
        elif _rebuilt(folder, manifest, Path(made), verdict):
            diff.compare(folder, Path(made), manifest, verdict)
    return verdict


def _check_files(folder: Path, manifest: Manifest, verdict: VerificationResult) -> None:
    """Compare every file with the manifest, and every response with its digest."""
    there = layout.paths(folder)
    for path, digest in manifest.files.items():
        if path not in there:
            verdict.faults.append(f"{path} is missing.")
        elif file_digest(folder / path) != digest:
            verdict.faults.append(f"{path} differs from the published file: its SHA-256 is different.")
    rows = (path for path in there if path.startswith(layout.ROWS) and path not in manifest.files)
    verdict.faults += [f"{path} was not published, but would be loaded as rows." for path in rows]
    with _noting(verdict):
        found = store.verify(str(folder / layout.RESPONSES))
        verdict.faults += [fault.replace(f"{folder}/", "") for fault in found.faults]


def _withheld(folder: Path, manifest: Manifest, verdict: VerificationResult) -> list[str]:
    """Return the names of the columns that the publisher has withheld."""
    found: set[str] = set()
    for path in manifest.recipes.values():
        if (folder / path).is_file():
            with _noting(verdict):
                found.update(recipe_file.withheld(folder / path))
    return sorted(found)


def _count_unproven(folder: Path, manifest: Manifest, withheld: Sequence[str], verdict: VerificationResult) -> None:
    """Count the rows of a dataset that cannot be rebuilt, and record the reason."""
    verdict.withheld = list(withheld)
    for split in manifest.recipes:
        files = folder.glob(f"{layout.DATA}/{split}-*")
        with _noting(verdict):
            try:
                verdict.rows[split] = sum(pq.read_metadata(file).num_rows for file in files)
            except diff.UNREADABLE as error:
                verdict.faults.append(f"The rows of {split} cannot be read: {error}.")


def _check_loading(folder: Path, title: str, manifest: Manifest, verdict: VerificationResult) -> None:
    """Check that `load_dataset` loads what was published. The rest of the card may change."""
    configs = [config for config in layout.configs(folder, manifest.recipes) if config["data_files"] != []]
    with _noting(verdict):
        verdict.faults += load_faults(folder, title, configs)


def _rebuilt(folder: Path, manifest: Manifest, made: Path, verdict: VerificationResult) -> bool:
    with _noting(verdict):
        try:
            rebuild(folder, manifest.recipes, made)
            return True
        except MissingResponse as error:
            verdict.faults.append(f"The rows cannot be rebuilt: {error}{_other_version(manifest)}")
    return False


@contextlib.contextmanager
def _noting(verdict: VerificationResult) -> Iterator[None]:
    try:
        yield
    except ConsistentChatError as error:
        if str(error) not in verdict.faults:
            verdict.faults.append(str(error))


def _other_version(manifest: Manifest) -> str:
    version = manifest.versions.get("consistent_chat")
    if version == __version__:
        return ""
    return f" It was published with consistent_chat {version}; this is {__version__}. Install that version and rerun."


@contextlib.contextmanager
def _fetched(where: str, token: str | None, options: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a folder with the published files. A remote dataset is always downloaded, not taken from a cache."""
    url = where if "://" in where or Path(where).expanduser().exists() else RepoTarget.parse(where).url
    try:
        if url.startswith("hf://"):
            url, options = _pinned(url, token), {**options, "token": token}
        fs, root = fsspec.core.url_to_fs(str(Path(url).expanduser()) if "://" not in url else url, **options)
        if isinstance(fs, LocalFileSystem):
            yield Path(root)
            return
        with tempfile.TemporaryDirectory(prefix="consistent_chat-") as folder:
            _download(fs, root, Path(folder))
            yield Path(folder)
    except ConsistentChatError:
        raise
    except Exception as error:  # each filesystem raises its own errors
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403, 404):
            reason = "it does not exist or may not be read. Check the name, and the token (`hf auth login`)"
        else:
            reason = redact(said(error), where, options)
        raise PublishError(f"{without_secrets(where)} cannot be read: {reason}.") from None


def _pinned(url: str, token: str | None) -> str:
    """Return the address of a repo's current commit, so that all files are read from one commit."""
    target = RepoTarget.parse(url)
    if target.is_bucket:
        return target.url
    info = HfApi(token=token).repo_info(target.name, repo_type="dataset", revision=target.revision)
    return RepoTarget(target.kind, target.name, revision=info.sha).url


def _download(fs: Any, root: str, folder: Path) -> None:
    fs.invalidate_cache()
    root = root.rstrip("/")
    names = [path[len(root) + 1 :] for path in fs.find(root)]
    wanted = [name for name in names if _is_wanted(name)]
    for name in wanted:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: fs.get_file(f"{root}/{name}", str(folder / name)), wanted))


def _is_wanted(name: str) -> bool:
    """Return whether to fetch a file: a published one, or one that changes the loading. Names are untrusted."""
    if not layout.is_path(name):
        return False
    return (
        layout.is_published(name)
        or name in (layout.README, layout.MANIFEST, *REDIRECTS)
        or ("/" not in name and name.endswith(".py"))
    )


REDIRECTS = {
    ".huggingface.yaml": "replaces the metadata of the card",
    "dataset_infos.json": "gives rows other columns",
}
"""Files that the publisher does not write, with their effect on `load_dataset`."""
_FEATURES = b"huggingface"
"""The key in a Parquet schema's metadata where `datasets` looks for the types of columns."""

Config = Mapping[str, Any]


def load_faults(folder: Path, title: str, configs: Sequence[Config]) -> Iterator[str]:
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
