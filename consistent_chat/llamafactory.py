"""LLaMA-Factory's list of datasets, `dataset_info.json`: it trains on a file that the list beside it names.

The keys are those of data/README.md in hiyouga/LLaMA-Factory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.row import LAYOUTS

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
