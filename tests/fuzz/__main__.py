"""Run one target under atheris: `python -m tests.fuzz NAME [options of libFuzzer]`."""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["consistent_chat"]):
    from tests.fuzz import TARGETS

atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
atheris.Fuzz()
