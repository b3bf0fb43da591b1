"""The tests mirror the package's folders; what several of them use lies here and in the conftest files."""

from pathlib import Path

ROOT = Path(__file__).parent.parent  # of the repository
