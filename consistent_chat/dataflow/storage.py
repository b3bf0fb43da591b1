"""The same files as DataFlow's FileStorage: one for each step, `<cache_path>/<prefix>_step<n>.<type>`.

A file is there whole or not at all. Pickle is written where it is asked for and never read: reading one runs code.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consistent_chat.dataflow.interfaces import DataFlowStorage
from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.recipe import suggestion

WRITERS: dict[str, Callable[[Any, str], None]] = {
    "json": lambda frame, path: frame.to_json(path, orient="records", force_ascii=False, indent=2),
    "jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, force_ascii=False),
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "parquet": lambda frame, path: frame.to_parquet(path),
    "pickle": lambda frame, path: frame.to_pickle(path),
}
READERS: dict[str, Callable[[Any, str], Any]] = {
    "json": lambda pandas, path: pandas.read_json(path),
    "jsonl": lambda pandas, path: pandas.read_json(path, lines=True),
    "csv": lambda pandas, path: pandas.read_csv(path),
    "parquet": lambda pandas, path: pandas.read_parquet(path),
}


class FileStorage(DataFlowStorage):
    """Keeps what each step writes in a file.

    Args:
        first_entry_file_name: the file that the first step reads; "" for none.
        cache_path: the folder of the files.
        file_name_prefix: how their names begin.
        cache_type: "json", "jsonl", "csv", "parquet" or "pickle".

    Raises:
        RecipeError: for another type, or for something that is no path.
    """

    def __init__(
        self,
        first_entry_file_name: str,
        cache_path: str = "./cache",
        file_name_prefix: str = "dataflow_cache_step",
        cache_type: str = "jsonl",
    ) -> None:
        if cache_type not in WRITERS:
            raise RecipeError(f"there is no cache_type {cache_type!r}.{suggestion(cache_type, tuple(WRITERS))}")
        self.first_entry_file_name = os.fspath(first_entry_file_name or "")
        self.cache_path = os.fspath(cache_path)
        self.file_name_prefix = file_name_prefix
        self.cache_type = cache_type
        self.operator_step = -1

    def step(self) -> FileStorage:
        """Return the storage for the next operator: it reads the last step's file and writes the next one's."""
        self.operator_step += 1
        return copy.copy(self)

    def reset(self) -> FileStorage:
        """Begin again with the first step."""
        self.operator_step = -1
        return self

    def get_keys_from_dataframe(self) -> list[str]:
        """Return the names of the columns that this step reads."""
        return [str(name) for name in self.read().columns]

    def read(self, output_type: str = "dataframe") -> Any:
        """Return what the step before has written: "dataframe", or "dict" for a list of dicts."""
        if output_type not in ("dataframe", "dict"):
            raise RecipeError(f"output_type must be 'dataframe' or 'dict', not {output_type!r}.")
        frame = self._read()
        return frame if output_type == "dataframe" else frame.to_dict(orient="records")

    def write(self, data: Any) -> str:
        """Write a DataFrame or a list of dicts as this step's file, and return its path."""
        import pandas  # slow to import, and only wanted here

        frame = data if isinstance(data, pandas.DataFrame) else pandas.DataFrame(data)
        path = self._path(self._stepped() + 1)
        os.makedirs(path.parent, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            WRITERS[self.cache_type](frame, str(partial))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return str(path)

    def _read(self) -> Any:
        import pandas

        step = self._stepped()
        if step == 0 and not self.first_entry_file_name:
            return pandas.DataFrame()
        path = Path(self.first_entry_file_name) if step == 0 else self._path(step)
        kind = path.suffix[1:]
        if kind not in READERS:
            raise RecipeError(f"{path} is not read here, only {', '.join(READERS)}. Load it yourself and use write().")
        if not path.is_file():
            raise ConsistentChatError(f"There is no file {path}. Check first_entry_file_name and cache_path.")
        return READERS[kind](pandas, str(path))

    def _stepped(self) -> int:
        if self.operator_step < 0:
            raise RecipeError("The storage has no step yet. Pass storage.step().")
        return self.operator_step

    def _path(self, step: int) -> Path:
        return Path(self.cache_path, f"{self.file_name_prefix}_step{step}.{self.cache_type}")


def check(storage: Any) -> None:
    """Raise RecipeError unless rows can be written to this storage, DataFlow's or ours: before anything is paid."""
    if isinstance(storage, type) or not callable(getattr(storage, "write", None)):
        raise RecipeError(f"storage must be an object with a method `write`, not {storage!r}. Pass storage.step().")
    if getattr(storage, "operator_step", 0) < 0:
        raise RecipeError("The storage has no step yet. Pass storage.step().")
    folder = getattr(storage, "cache_path", None)
    if isinstance(folder, str):
        _check_folder(Path(folder))


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise RecipeError(f"cache_path {folder} cannot be made: {error.strerror}. Give another path.") from None
    if not writable:
        raise RecipeError(f"cache_path {folder} cannot be written. Give rights there, or another path.")
