"""Files are written completely or not at all, and only plain files are read."""

import contextlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from consistent_chat.files import (
    NO_LINKS,
    PRIVATE,
    NotPlainFile,
    atomic_write,
    file_digest,
    make_private_folder,
    read_plain,
)
from consistent_chat.recipe import safe_yaml
from tests import ROOT


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    """The file appears only after the block, with the new content; no temporary file is left in the folder."""
    with atomic_write(tmp_path / "report.html") as file:
        file.write(b"whole")
        assert not (tmp_path / "report.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_bytes() == b"whole"


def _interrupt():
    raise ZeroDivisionError


def test_an_error_leaves_the_old_file(tmp_path):
    """After an exception within the block, the old content is unchanged and no temporary file is left."""
    (tmp_path / "report").write_bytes(b"old")
    with contextlib.suppress(ZeroDivisionError), atomic_write(tmp_path / "report") as file:
        file.write(b"new")
        _interrupt()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_link_at_the_target_is_replaced_and_not_followed(tmp_path):
    """Writing to the name of a symbolic link replaces the link, and leaves the link's target unchanged."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "report").symlink_to(victim)
    with atomic_write(tmp_path / "report") as file:
        file.write(b"new")
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / "report").is_symlink()


def test_no_name_of_a_temporary_file_comes_twice(tmp_path):
    """Each temporary name is different, so a link cannot be placed there in advance."""
    names = set()
    for _ in range(5):
        with atomic_write(tmp_path / "same") as file:
            names.add(file.name)
    assert len(names) == 5


def test_rights_follow_the_umask_or_are_the_owners(tmp_path):
    """A public file follows the umask. A private file or folder is accessible only to its owner."""
    before = os.umask(0o022)
    try:
        for name, mode in (("public", 0o666), ("private", PRIVATE)):
            with atomic_write(tmp_path / name, mode):
                pass
        make_private_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    rights = {path: stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("public", "private", "a", "a/b")}
    assert rights == {"public": 0o644, "private": 0o600, "a": 0o700, "a/b": 0o700}


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "large"])
def test_only_a_plain_file_is_read(kind, tmp_path):
    """Reading a pipe, a folder, a device or a file over the limit raises an error with a reason at once."""
    path = tmp_path / "store.json"
    {
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
        "large": lambda: path.write_bytes(bytes(11)),
    }[kind]()
    with ThreadPoolExecutor(1) as pool, pytest.raises(NotPlainFile) as refused:
        pool.submit(read_plain, path, 10).result(timeout=10)
    assert refused.value.strerror


def test_a_link_can_be_refused(tmp_path):
    """A link to a plain file is read, unless the caller refuses links."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_plain(tmp_path / "link", 10) == b"x"
    with pytest.raises(NotPlainFile, match="link"):
        read_plain(tmp_path / "link", 10, NO_LINKS)


def test_a_files_digest_is_that_of_its_bytes(tmp_path):
    """The digest is the published SHA-256 of `abc`."""
    (tmp_path / "file").write_bytes(b"abc")
    assert file_digest(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_no_word_of_the_packages_own_yaml_is_read_as_something_else():
    """Every YAML file of the package passes the strict reader.

    The reader refuses words such as `no` without quotes, which YAML would read as false.
    """
    found = sorted((ROOT / "consistent_chat").rglob("*.yaml"))
    assert found
    for path in found:
        safe_yaml.parse(path.read_text("utf-8"), path.name)
