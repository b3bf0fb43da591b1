"""Tests of the top-level builder.py, which is a loading script for datasets 3 and a script to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from datasets import load_dataset

from tests import ROOT

SCRIPT = ROOT / "builder.py"


@pytest.mark.skipif(not datasets.__version__.startswith("3."), reason="datasets 4 and newer run no scripts")
def test_datasets_3_loads_it_as_a_script(tmp_path: Path) -> None:
    """The loading script gives the same rows as the name "consistent_chat" does."""
    given = {"split": "train", "cache_dir": str(tmp_path)}
    made = load_dataset(str(SCRIPT), "demo", trust_remote_code=True, **given)
    assert made[:] == load_dataset("consistent_chat", "demo", **given)[:]


@pytest.mark.slow
def test_it_runs_as_a_script(tmp_path: Path) -> None:
    """The script takes the arguments of `consistent-chat build`, and writes the 18 rows of the demo."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), "demo", "--output", str(tmp_path / "demo.jsonl")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert len((tmp_path / "demo.jsonl").read_text("utf-8").splitlines()) == 18
