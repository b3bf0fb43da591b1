"""Test output: a file is written completely under the given name on any filesystem, and is read back."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.output import Output, parse_output

CONTENT = b"what was asked for\n"


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder that is also the home folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def memory() -> Iterator[Any]:
    """Return fsspec's empty filesystem in memory."""
    fs = fsspec.filesystem("memory")
    yield fs
    fs.rm("/", recursive=True)


def put(name: Any, content: bytes = CONTENT) -> Output:
    """Check an output location and write to it."""
    place = parse_output(name, "--output")
    place.check()
    with place.write() as file:
        file.write(content)
    return place


ODD = ("a b", "50%", "%41", "a#1", "why?", "对话", "[ab]*", "a:b", "-v")


@pytest.mark.parametrize("name", [f"{name}.jsonl" for name in ODD])
def test_a_name_is_taken_as_it_is(name: str, work: Path, memory: Any) -> None:
    """No character of a name is special, in a path, a file URL or another URL."""
    put(name)
    assert (work / name).read_bytes() == CONTENT
    put(f"file://{work}/deep/{name}")
    assert (work / "deep" / name).read_bytes() == CONTENT
    place = put(f"memory://folder/{name}")
    assert memory.cat_file(f"/folder/{name}") == CONTENT
    assert place.name == f"memory://folder/{name}"
    assert [path.name for path in (work / "deep").iterdir()] == [name]
    assert memory.ls("/folder", detail=False) == [f"/folder/{name}"]


@pytest.mark.parametrize("name", ["~/deep/x.jsonl", Path("~/deep/x.jsonl"), "deep/../deep/x.jsonl", "./deep//x.jsonl"])
def test_every_spelling_of_a_path(name: Any, work: Path) -> None:
    """In every spelling of a path, the home folder is expanded and missing folders are created."""
    put(name)
    assert (work / "deep" / "x.jsonl").read_bytes() == CONTENT
    assert sorted(path.name for path in work.rglob("*")) == ["deep", "x.jsonl"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is not a path"),
        ("a\0b", "is not a path"),
        ("~nobody-has-this-name/x.jsonl", "no home folder for ~nobody-has-this-name"),
        ("s4://bucket/x.jsonl", "Protocol not known: s4"),
        ("https://host/x.jsonl", "read only"),
        ("zip://x.jsonl::file://a.zip", "read only"),
        ("pipe", "pipe, device or socket"),
        ("folder", "Is a directory"),
        ("file/x.jsonl", "Not a directory"),
        ("n" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_one_message(name: str, reason: str, work: Path) -> None:
    """An output that cannot be written is refused with one message that names the option. Nothing is written."""
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("file").touch()
    before = sorted(work.rglob("*"))
    with pytest.raises(RecipeError, match=f"^--output .*{reason}"):
        put(name)
    assert sorted(work.rglob("*")) == before


def test_a_check_leaves_no_folder(work: Path, memory: Any) -> None:
    """A check creates no folders; they are created when the file is written."""
    parse_output("new/deep/x.jsonl", "--output").check()
    assert list(work.iterdir()) == []
    parse_output("memory://folder/x.jsonl", "--output").check()
    assert memory.find("/") == []


def test_folders_and_files(work: Path, memory: Any) -> None:
    """An output is a folder if one exists there or if its name ends in a slash, even if it is named like a file."""
    Path("old.jsonl").mkdir()
    memory.makedirs("/old.jsonl")
    for name, is_folder in (("old.jsonl", True), ("new.jsonl", False), ("new.jsonl/", True), ("new", False)):
        assert parse_output(name, "--output").is_folder is is_folder
        assert parse_output(f"memory://{name}", "--output").is_folder is is_folder
    assert parse_output("a/B.JSONL", "--output").suffix == ".jsonl"
    assert parse_output("a/", "--output").child("b.jsonl").name == "a/b.jsonl"
    assert parse_output("memory://a/", "--output").child("b.jsonl").sibling("c").name == "memory://a/c"


def test_two_names_of_one_file(work: Path, memory: Any) -> None:
    """Names of one file have the same identity: through links to folders, the home folder and URLs."""
    (work / "link").symlink_to(work)
    one = {parse_output(name, "").identity for name in ("x", "./x", "~/x", "link/x", f"file://{work}/x")}
    assert len(one) == 1
    assert parse_output("memory://a/x", "").identity == parse_output("memory:///a/x", "").identity


def test_a_link_at_the_target_is_replaced(work: Path) -> None:
    """A link is replaced and its target stays unchanged, as the caches of the Hub and DVC require."""
    (work / "blob").write_bytes(b"mine")
    (work / "x.jsonl").symlink_to("blob")
    put("x.jsonl")
    assert (work / "blob").read_bytes() == b"mine"
    assert not (work / "x.jsonl").is_symlink()


def test_an_existing_file_keeps_its_permissions(work: Path) -> None:
    """An existing file keeps its permissions, and the temporary file has them too: a private file stays private."""
    (work / "x.jsonl").touch(0o600)
    place = parse_output("x.jsonl", "--output")
    with place.write():
        assert {stat.S_IMODE(path.stat().st_mode) for path in work.iterdir()} == {0o600}
    assert stat.S_IMODE((work / "x.jsonl").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_without_permission_to_write_is_refused(work: Path) -> None:
    """A file without write permission is refused although it could be replaced."""
    (work / "x.jsonl").touch(0o400)
    with pytest.raises(RecipeError, match="Permission denied"):
        put("x.jsonl")


@pytest.mark.parametrize("name", ["x.jsonl", "memory://x.jsonl"])
def test_what_differs_when_it_is_read_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch, memory: Any) -> None:
    """A file whose content differs when it is read back is an error, on a disk and on a server."""
    replace = os.replace

    def damage(source: str, target: str) -> None:
        Path(source).write_bytes(CONTENT[:-1])
        replace(source, target)

    monkeypatch.setattr(os, "replace", damage)
    monkeypatch.setattr(type(memory), "mv", lambda fs, source, target, **_: fs.pipe_file(target, b"") or fs.rm(source))
    with pytest.raises(ConsistentChatError, match=f"{name} differs from what was"):
        put(name)


def test_a_write_that_fails_leaves_the_old_file(work: Path) -> None:
    """A failed write leaves the old file unchanged, and the message names the location and the reason."""
    put("x.jsonl", b"old")
    place = parse_output("x.jsonl", "--output")
    with pytest.raises(ConsistentChatError, match=r"--output x\.jsonl cannot be written: No space left"), place.write():
        raise OSError(28, "No space left on device")
    assert [path.read_bytes() for path in work.iterdir()] == [b"old"]


def test_no_password_is_shown() -> None:
    """The error shows neither the password in the URL nor the one in the options."""
    with pytest.raises(RecipeError) as caught:
        parse_output("s4://user:secret-word@host/x.jsonl", "--output", {"password": "other-word"})
    assert "word" not in str(caught.value)
