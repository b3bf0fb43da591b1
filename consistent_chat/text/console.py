"""The terminal: in colour where it is one, no wider than can be read, and not driven by what a model wrote."""

from __future__ import annotations

import shutil
import sys

from rich.console import Console
from rich.text import Text

from consistent_chat.text.sanitize import visible

WIDTH = 100
"""Columns that are used at the most, and where the output goes to a file or a pipe."""


def screen() -> Console:
    """Return what prints to the standard output. What its encoding lacks is printed as an escape."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    return Console(width=min(width, WIDTH), markup=False, highlight=False, emoji=False)


def shown(text: str) -> Text:
    """Return a text without control characters and overrides of direction, for printing."""
    return Text(visible(text))
