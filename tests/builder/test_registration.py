"""`datasets` learns the builder's name in every order of imports and in every process, or a warning says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import consistent_chat
from tests import ROOT

CANNOT_LEARN = """
import sys, warnings
from datasets import load
del load.PackagedDatasetModuleFactory
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import consistent_chat
said = [str(warning.message) for warning in caught if "consistent_chat" in str(warning.message)]
assert len(said) == 1 and "ConsistentChat(...).download_and_prepare()" in said[0], said
builder = consistent_chat.ConsistentChat(config_name="demo", cache_dir=sys.argv[1])
builder.download_and_prepare()
assert len(builder.as_dataset(split="train")) == 18
"""
LOOKED_UP = """
import importlib.util, sys
import consistent_chat
assert importlib.util.find_spec("datasets") is not None and "datasets" not in sys.modules
from datasets import load_dataset
import datasets, inspect
assert type(datasets.__spec__.loader).__name__ == "SourceFileLoader", datasets.__spec__
assert datasets.__loader__ is datasets.__spec__.loader
assert not any("consistent_chat" in type(finder).__module__ for finder in sys.meta_path)
assert inspect.getsource(datasets)
datasets.load_dataset_builder("consistent_chat", "demo", cache_dir=sys.argv[1])
assert "py3langid" not in sys.modules  # some messages of the demo are so terse that their check needs it
assert len(load_dataset("consistent_chat", "demo", split="train", cache_dir=sys.argv[1])) == 18
assert not {"scipy.io", "genai_prices", "anthropic", "openai"} & {*sys.modules}
"""
DATASETS_FIRST_AND_MAPPED = """
import sys
from datasets import load_dataset
import consistent_chat
rows = load_dataset("consistent_chat", "demo", split="train", cache_dir=sys.argv[1])
assert len(rows) == 18
assert rows.map(lambda row: {"turns": len(row["conversation"])}, num_proc=2)["turns"]
"""
IMPORT_FAILS_ONCE = """
import sys
import consistent_chat
sys.modules["pyarrow"] = None
try:
    import datasets
except ImportError:
    del sys.modules["pyarrow"]
for name in [name for name in sys.modules if name.partition(".")[0] == "datasets"]:
    del sys.modules[name]
from datasets import load_dataset_builder
assert load_dataset_builder("consistent_chat", "demo", cache_dir=sys.argv[1]).config.name == "demo"
"""
SPAWNED_FORKED_AND_PICKLED = """
import multiprocessing, pickle, subprocess, sys

import consistent_chat
from datasets import load_dataset, load_dataset_builder

def rows(cache):
    return len(load_dataset("consistent_chat", "demo", split="train", cache_dir=cache))

if __name__ == "__main__":
    for method in ("spawn", "fork"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.apply(rows, (sys.argv[1],)) == 18, method
    pickled = pickle.dumps(load_dataset_builder("consistent_chat", "demo", cache_dir=sys.argv[1]))
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).config.name)"
    told = subprocess.run([sys.executable, "-c", code], input=pickled, stdout=subprocess.PIPE, check=True)
    assert told.stdout.strip() == b"demo"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [CANNOT_LEARN, LOOKED_UP, DATASETS_FIRST_AND_MAPPED, IMPORT_FAILS_ONCE, SPAWNED_FORKED_AND_PICKLED],
    ids=["cannot learn", "looked up", "datasets first, and mapped", "fails once", "spawned, forked and pickled"],
)
def test_datasets_knows_the_builder(script: str, tmp_path: Path) -> None:
    """`datasets` finds the builder in every case; if registration fails, a warning names an alternative that works."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "cache")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


HEAVY = (
    "datasets",
    "pyarrow",
    "pandas",
    "numpy",
    "anthropic",
    "openai",
    "huggingface_hub",
    "fsspec",
    "yaml",
    "pydantic",
)


def test_importing_the_package_imports_no_library() -> None:
    """Importing the package imports neither `datasets` nor its dependencies."""
    code = f"import sys, consistent_chat; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_listed_and_found() -> None:
    """Every public name can be listed and accessed, and an unknown name raises `AttributeError`."""
    assert set(consistent_chat.__all__) <= set(dir(consistent_chat))
    assert all(getattr(consistent_chat, name) is not None for name in consistent_chat.__all__)
    assert not hasattr(consistent_chat, "nothing_of_this_name")


def test_datasets_can_say_what_there_is() -> None:
    """`get_dataset_infos` gives the columns and splits of every config without a model or a call."""
    from datasets import get_dataset_infos

    found = get_dataset_infos("consistent_chat")
    assert {"default", "demo", "transaction"} <= found.keys()
    assert list(found["transaction"].splits) == ["train"]
    assert list(found["demo_languages"].splits) == ["code", "german", "japanese", "spanish"]
    for info in found.values():
        assert list(info.features) == ["category", "conversation", "provenance"]
