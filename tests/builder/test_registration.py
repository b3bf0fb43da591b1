"""A version of `datasets` that cannot learn the builder's name gets a warning that names a way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import ROOT

SCRIPT = """
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


def test_the_way_out_works(tmp_path: Path) -> None:
    """Importing the package is no error there, and `ConsistentChat(...).download_and_prepare()` builds."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
