"""Files as DataFlow's FileStorage writes them: one for each step, `<cache_path>/<prefix>_step<n>.<type>`.

A file is written atomically. Pickle is written on request and never read: reading one runs code.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any, BinaryIO

from consistent_chat.dataflow.compat import DataFlowStorage
from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.output import Output, parse_output
from consistent_chat.recipe import suggestion

WRITERS: dict[str, Callable[[Any, BinaryIO], None]] = {
    "json": lambda frame, file: frame.to_json(file, orient="records", force_ascii=False, indent=2),
    "jsonl": lambda frame, file: frame.to_json(file, orient="records", lines=True, force_ascii=False),
    "csv": lambda frame, file: frame.to_csv(file, index=False),
    "parquet": lambda frame, file: frame.to_parquet(file),
    "pickle": lambda frame, file: frame.to_pickle(file),
}
READERS: dict[str, Callable[[Any, BinaryIO], Any]] = {
    "json": lambda pandas, file: pandas.read_json(file),
    "jsonl": lambda pandas, file: pandas.read_json(file, lines=True),
    "csv": lambda pandas, file: pandas.read_csv(file),
    "parquet": lambda pandas, file: pandas.read_parquet(file),
}


class FileStorage(DataFlowStorage):
    """Keeps what each step writes in a file.

    Args:
        first_entry_file_name: the file that the first step reads; "" for none.
        cache_path: the folder of the files, a path or any URL that fsspec writes.
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
        """Start again with the first step."""
        self.operator_step = -1
        return self

    def get_keys_from_dataframe(self) -> list[str]:
        """Return the names of the columns that this step reads."""
        return [str(name) for name in self.read().columns]

    def read(self, output_type: str = "dataframe") -> Any:
        """Return the rows of the previous step: "dataframe", or "dict" for a list of dicts."""
        if output_type not in ("dataframe", "dict"):
            raise RecipeError(f"output_type must be 'dataframe' or 'dict', not {output_type!r}.")
        frame = self._read()
        return frame if output_type == "dataframe" else frame.to_dict(orient="records")

    def write(self, data: Any) -> str:
        """Write a DataFrame or a list of dicts as this step's file, and return its path."""
        import pandas  # slow to import, and only wanted here

        frame = data if isinstance(data, pandas.DataFrame) else pandas.DataFrame(data)
        place = self._place(self._stepped() + 1)
        with place.write() as file:
            WRITERS[self.cache_type](frame, file)
        return place.name

    def _read(self) -> Any:
        import pandas

        step = self._stepped()
        if step == 0 and not self.first_entry_file_name:
            return pandas.DataFrame()
        first = self.first_entry_file_name
        place = parse_output(first, "first_entry_file_name") if step == 0 else self._place(step)
        kind = place.suffix[1:]
        if kind not in READERS:
            raise RecipeError(
                f"{place.name} is not read here, only {', '.join(READERS)}. Load it yourself and use write()."
            )
        try:
            with place.open() as file:
                return READERS[kind](pandas, file)
        except (FileNotFoundError, IsADirectoryError):
            raise ConsistentChatError(
                f"There is no file {place.name}. Check first_entry_file_name and cache_path."
            ) from None

    def _stepped(self) -> int:
        if self.operator_step < 0:
            raise RecipeError("The storage has no step yet. Pass storage.step().")
        return self.operator_step

    def _place(self, step: int) -> Output:
        name = f"{self.file_name_prefix}_step{step}.{self.cache_type}"
        return parse_output(os.path.join(self.cache_path, name), "cache_path")


def check(storage: Any) -> None:
    """Raise RecipeError unless rows can be written to this storage, DataFlow's or ours: before anything is paid."""
    if isinstance(storage, type) or not callable(getattr(storage, "write", None)):
        raise RecipeError(f"storage must be an object with a method `write`, not {storage!r}. Pass storage.step().")
    if getattr(storage, "operator_step", 0) < 0:
        raise RecipeError("The storage has no step yet. Pass storage.step().")
    if isinstance(storage, FileStorage):
        storage._place(storage.operator_step + 1).check()
    elif isinstance(folder := getattr(storage, "cache_path", None), str):
        parse_output(os.path.join(folder, "any"), "cache_path").check()
