"""The tests mirror the package's folders. Shared helpers are here and in the conftest files."""

from pathlib import Path

ROOT = Path(__file__).parent.parent  # of the repository
