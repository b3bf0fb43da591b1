"""The examples run offline as their page shows, and the trainers' files name columns that exist."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from consistent_chat.cli import main
from tests import ROOT
from tools.notebook import run_cells

EXAMPLES = ROOT / "examples"
PAGE = (EXAMPLES / "README.md").read_text("utf-8")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]
ROWS = {"manual": 8, "support": 12, "talk": 4, "pairs": 1, "languages": 6, "german": 6, "garden": 8}
"""The number of rows of each file, at least one where the judge decides."""


@pytest.fixture
def examples(folder: Path) -> Path:
    """Copy the folder of examples into the working directory."""
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    return folder


def build(name: str) -> list[dict[str, Any]]:
    """Run the page's commands for a file, and return its rows."""
    for command in COMMANDS:
        if f"{name}." in command and "sharegpt" not in command:
            assert main(shlex.split(command)[1:]) == 0, command
    return [json.loads(line) for line in Path(f"{name}.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.slow_after(1)
def test_a_recipe_runs_offline_as_its_page_shows(name: str, examples: Path) -> None:
    """A recipe gives the expected number of rows, or at least one row where a judge selects them."""
    rows = build(name)
    assert len(rows) == ROWS[name] if name != "pairs" else rows


def test_every_recipe_is_on_the_page() -> None:
    """The page shows a command for every recipe and links to every file for a trainer."""
    recipes = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.consistent_chat.yaml")}
    assert recipes == {word for command in COMMANDS for word in command.split() if ".consistent_chat." in word}
    trainers = {path.name for path in (EXAMPLES / "training").iterdir() if path.is_file()}
    assert trainers == set(re.findall(r"\]\(training/([\w.]+)\)", PAGE))


@pytest.mark.slow
def test_languages_take_turns_and_have_the_specs_of_one_language(examples: Path) -> None:
    """Row N has the same topic in the file with three languages and in the file with German only."""
    mixed, german = ([row["provenance"] for row in build(name)] for name in ("languages", "german"))
    assert {row["language"] for row in mixed} == {"English", "German", "Japanese"}
    assert {row["language"] for row in german} == {"German"}
    assert [row["topic"] for row in mixed] == [row["topic"] for row in german]


@pytest.mark.slow
def test_the_notebook_prints_what_it_shows(folder: Path) -> None:
    """The recorded outputs are those of the current code. `python -m tools.notebook` renews them."""
    notebook = json.loads((EXAMPLES / "first_dataset.ipynb").read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    shown = ["".join(text for output in cell["outputs"] for text in output["text"]) for cell in cells]
    assert run_cells(["".join(cell["source"]) for cell in cells]) == shown


class Stub:
    """Stand in for a class of a trainer's library, and record its arguments."""

    given: dict[str, Any]

    def __init__(self, **given: Any) -> None:
        type(self).given = given

    def train(self) -> None:
        """Do nothing."""


class FakeModel(Stub):
    """Stand in for Unsloth's model and its tokenizer."""

    @classmethod
    def from_pretrained(cls, name: str, **given: Any) -> tuple[FakeModel, FakeModel]:
        return cls(), cls()

    @classmethod
    def get_peft_model(cls, model: FakeModel, **given: Any) -> FakeModel:
        return model

    def apply_chat_template(self, messages: list[dict[str, str]], tokenize: bool) -> str:
        return "".join(f"<{message['role']}>{message['content']}" for message in messages)


@pytest.mark.parametrize(
    ("script", "data", "columns"),
    [
        ("sft_trl.py", "support", ["messages"]),
        ("dpo_trl.py", "pairs", ["chosen", "rejected"]),
        ("sft_unsloth.py", "support", ["text"]),
    ],
)
@pytest.mark.slow
def test_a_script_gives_its_trainer_the_columns_that_it_reads(
    script: str, data: str, columns: list[str], examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each training script passes its trainer rows with the expected columns, by which TRL recognizes data types.

    The script runs with substitutes for the libraries.
    """
    trainer = type("Trainer", (Stub,), {})
    names = {"trl": ("SFTTrainer", "DPOTrainer"), "peft": ("LoraConfig",), "unsloth": ("FastLanguageModel",)}
    for module, classes in names.items():
        stub = ModuleType(module)
        vars(stub).update({"SFTConfig": Stub, "DPOConfig": Stub, **dict.fromkeys(classes, trainer)})
        monkeypatch.setitem(sys.modules, module, stub)
    sys.modules["peft"].LoraConfig = Stub  # type: ignore[attr-defined]
    sys.modules["unsloth"].FastLanguageModel = FakeModel  # type: ignore[attr-defined]
    assert build(data)
    runpy.run_path(str(Path("training", script)))
    rows = trainer.given["train_dataset"]
    assert rows.column_names == columns
    assert len(rows) > 0


@pytest.mark.slow
def test_axolotl_and_llamafactory_find_their_columns(examples: Path) -> None:
    """The configurations name the files, the column and the message keys that the build writes."""
    row = build("support")[0]
    told = yaml.safe_load(Path("training/sft_axolotl.yaml").read_text("utf-8"))["datasets"][0]
    mapping = told["message_property_mappings"]
    assert Path(told["path"]).exists()
    assert set(row[told["field_messages"]][0]) == set(mapping.values()) == {"role", "content"}

    assert main(shlex.split(next(command for command in COMMANDS if "sharegpt" in command))[1:]) == 0
    told = yaml.safe_load(Path("training/sft_llamafactory.yaml").read_text("utf-8"))
    entry = json.loads(Path(told["dataset_dir"], "dataset_info.json").read_text("utf-8"))[told["dataset"]]
    assert Path(told["dataset_dir"], entry["file_name"]).exists()
