"""Tests of the wheel that a job brings with it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from consistent_chat.errors import PublishError
from consistent_chat.publishing import job
from consistent_chat.publishing.job import requirements, write_wheel


def test_it_has_all_files_of_the_package_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel has all of the package's files except hidden files, links and compiled files."""
    package = tmp_path / "package"
    (package / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "data.yaml", ".env", "__pycache__/a.pyc", "b.pyc"):
        (package / name).write_text("x")
    (package / "link.py").symlink_to("/etc/passwd")
    monkeypatch.setattr(job, "FOLDER", package)
    names = zipfile.ZipFile(write_wheel(tmp_path)).namelist()
    assert [name for name in names if "dist-info" not in name] == [
        "consistent_chat/__init__.py",
        "consistent_chat/data.yaml",
    ]


def test_the_same_package_makes_the_same_bytes(tmp_path: Path) -> None:
    """Writing the wheel twice gives the same bytes."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert write_wheel(tmp_path / "one").read_bytes() == write_wheel(tmp_path / "two").read_bytes()


@pytest.mark.slow
def test_pip_installs_it(tmp_path: Path) -> None:
    """The wheel can be installed with pip, so its metadata and its list of files are valid."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path / "to"),
    ]
    subprocess.run([*command, str(write_wheel(tmp_path))], check=True, capture_output=True)
    assert (tmp_path / "to" / "consistent_chat" / "demo" / "demo.consistent_chat.yaml").is_file()


def test_requirements_are_those_of_the_package_and_of_the_extras_that_are_named() -> None:
    """The requirements are those of the package and of the given extras.

    They have no marker, which would make them depend on the extra again.
    """
    assert "datasets>=3.6" in requirements([])
    assert set(requirements(["openai"])) - set(requirements([])) == {"openai[aiohttp]>=2.0"}


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not installed raises an error that says so, because its requirements are unknown."""
    monkeypatch.setattr(job, "NAME", "consistent_chat_that_is_not_there")
    with pytest.raises(PublishError, match="is not installed"):
        requirements([])
