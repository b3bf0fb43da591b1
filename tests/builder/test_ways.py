"""Recipes load from websites, from folders and as several splits, and folders may contain other files."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

import consistent_chat
from consistent_chat.errors import MissingResponse, RecipeError
from consistent_chat.recipe import Recipe

RECIPE = "num_dialogs_per_intent: 1\nintents: [simulation]\ntaxonomy: about/divers.yaml\n"
TAXONOMY = "personas: [a diver]\n"
MIB = 2**20


pytestmark = pytest.mark.usefixtures("work")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a folder with a recipe and the taxonomy that it names."""
    made = tmp_path / "folder"
    write(made / "my.consistent_chat.yaml", RECIPE)
    write(made / "about" / "divers.yaml", TAXONOMY)
    return made


@pytest.fixture
def website(tmp_path: Path, folder: Path) -> Iterator[str]:
    """Serve the parent folder over HTTP, as `python -m http.server` does, and return the address."""
    assert folder.parent == tmp_path
    with serving(partial(Quiet, directory=str(tmp_path))) as url:
        yield url


class Quiet(SimpleHTTPRequestHandler):
    """Serve files without writing a log."""

    def log_message(self, *_: Any) -> None:
        pass


class serving:
    """Serve with a handler in a thread, as a context manager that returns the address."""

    def __init__(self, handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def write(path: Path, text: str) -> None:
    """Write a file and create its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def load(*args: Any, **given: Any) -> Any:
    """Load a rehearsal."""
    return load_dataset(
        *(args or ("consistent_chat",)), **{"serving": "rehearsal", "responses": "../responses", **given}
    )


def personas(made: Any) -> set[str]:
    """Return the personas of the rows, which show the taxonomy that was used."""
    return {row["persona"] for row in made["provenance"]}


def sizes(made: Any) -> dict[str, int]:
    """Return the splits and their lengths."""
    return {split: len(rows) for split, rows in made.items()}


def test_a_recipe_on_a_website(website: str) -> None:
    """A recipe on a website is built with its taxonomy, also as a stream and in several processes."""
    given = {"data_files": f"{website}/folder/my.consistent_chat.yaml", "split": "train"}
    made = load(**given)
    assert personas(made) == {"a diver"}
    assert list(load(**given, streaming=True)) == made.to_list()
    assert load(**given, num_dialogs_per_intent=3, num_proc=2)[:1] == made[:1]


def test_recipes_on_a_website_as_splits(website: str, folder: Path) -> None:
    """`data_files={"train": ..., "test": ...}` builds one split from each recipe."""
    write(folder / "other.consistent_chat.yaml", RECIPE.replace("1", "2"))
    names = {"train": "other", "test": "my"}
    files = {split: f"{website}/folder/{name}.consistent_chat.yaml" for split, name in names.items()}
    assert sizes(load(data_files=files)) == {"train": 2, "test": 1}


def test_a_website_without_the_recipe_says_so(website: str) -> None:
    """A missing recipe on a website raises `FileNotFoundError` with its address."""
    with pytest.raises(FileNotFoundError, match=r"folder/your\.consistent_chat\.yaml"):
        load(data_files=f"{website}/folder/your.consistent_chat.yaml")


@pytest.mark.parametrize("name", ["%2e%2e/secret.yaml", "about/%2E%2e/%2e%2e/secret.yaml", "..%2fsecret.yaml"])
def test_a_recipe_on_a_website_stays_in_its_folder(website: str, folder: Path, name: str) -> None:
    """A taxonomy path outside the recipe's folder raises an error even if it is percent-encoded."""
    write(folder.parent / "secret.yaml", TAXONOMY)
    write(folder / "my.consistent_chat.yaml", f"taxonomy: '{name}'\n")
    with pytest.raises(RecipeError, match=r"line 1 \(taxonomy\): .* within the recipe's own folder"):
        load(data_files=f"{website}/folder/my.consistent_chat.yaml")


def test_responses_on_a_website_are_read(website: str, folder: Path) -> None:
    """A store on a website replays the recipe next to it without a call."""
    made = load(data_files=str(folder / "my.consistent_chat.yaml"), split="train")
    given = {"data_files": f"{website}/folder/my.consistent_chat.yaml", "serving": None, "model": "rehearsal"}
    places = ["../none", f"{website}/responses"]
    again = load(**given, responses=places, split="train", download_mode="force_redownload")
    assert again[:] == made[:]


class Stream(BaseHTTPRequestHandler):
    """Send a comment of `size` MiB and then a recipe, without a Content-Length header."""

    size = 0
    encoding = "identity"
    sent = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Encoding", self.encoding)
        self.end_headers()
        packed = self.encoding == "gzip"
        for part in ([b"# as long as it takes\n" * (MIB // 22)] * self.size) + [RECIPE.splitlines()[1].encode()]:
            try:
                self.wfile.write(gzip.compress(part) if packed else part)
            except ConnectionError:
                return
            type(self).sent += len(part)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_stream_is_read_to_its_end(encoding: str) -> None:
    """A streamed recipe is read up to its last line, plain or compressed with gzip."""
    with serving(type("Whole", (Stream,), {"size": 3, "encoding": encoding})) as url:
        assert Recipe.from_file(f"{url}/my.consistent_chat.yaml").intents == ("simulation",)


def test_an_endless_stream_is_refused_before_it_is_read_whole() -> None:
    """A stream of 64 MiB raises an error after less than 32 MiB were sent."""
    handler = type("Endless", (Stream,), {"size": 64})
    with serving(handler) as url, pytest.raises(RecipeError, match="larger than 4 MiB"):
        Recipe.from_file(f"{url}/my.consistent_chat.yaml")
    assert handler.sent < 32 * MIB


def test_a_bomb_of_gzip_is_refused() -> None:
    """The limit of 4 MiB applies to the decompressed size of a gzip stream."""
    handler = type("Bomb", (Stream,), {"size": 64, "encoding": "gzip"})
    with serving(handler) as url, pytest.raises(RecipeError, match="larger than 4 MiB"):
        Recipe.from_file(f"{url}/my.consistent_chat.yaml")


@pytest.mark.parametrize("way", ["data_dir", "path"])
def test_a_folder(folder: Path, way: str) -> None:
    """A folder with a recipe loads as `data_dir=` and as the dataset's name."""
    made = load(data_dir=str(folder), split="train") if way == "data_dir" else load(str(folder), split="train")
    assert personas(made) == {"a diver"}
    assert len(made) == 1


@pytest.mark.parametrize("way", ["data_dir", "path"])
def test_a_folder_with_several_recipes_is_several_splits(folder: Path, way: str) -> None:
    """The names of the recipe files define the splits, for both ways to pass the folder; other files are ignored."""
    (folder / "my.consistent_chat.yaml").unlink()
    for split, count in (("train", 2), ("test", 1)):
        write(folder / f"{split}.consistent_chat.yaml", RECIPE.replace("1", str(count)))
    write(folder / "notes.txt", "nothing")
    made = load(data_dir=str(folder)) if way == "data_dir" else load(str(folder))
    assert sizes(made) == {"train": 2, "test": 1}


def test_recipes_that_are_no_splits_are_asked_to_be_named(folder: Path) -> None:
    """Two recipes for one split raise an error that shows how to name them in `data_files=`."""
    write(folder / "other.consistent_chat.yaml", RECIPE)
    with pytest.raises(RecipeError, match=r"'train' names 2 files.*data_files=\{'train': ..., 'test': ...\}"):
        load(data_dir=str(folder))


def test_a_folder_without_a_recipe_says_so(work: Path) -> None:
    """A `data_dir` without a recipe raises an error; the default recipe is not built instead."""
    write(work / "test.csv", "a\n1\n")
    with pytest.raises(RecipeError, match=r"contains no recipe.* ends in \.consistent_chat\.yaml"):
        load(data_dir=str(work))


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("count", [0, 5000])
def test_what_the_current_folder_holds_does_not_matter(work: Path, folder: Path, count: int) -> None:
    """Every way to load works from an empty folder and from one with 5,000 files with names like those of a split."""
    for number in range(count):
        (work / f"test-{number}.csv").touch()
    assert len(load(num_dialogs_per_intent=1, split="train")) == 9
    assert len(load(data_files="../folder/my.consistent_chat.yaml", split="train")) == 1
    assert len(load(data_dir="../folder", split="train")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("way", ["data_dir", "path"])
def test_a_folder_with_a_recipe_among_5000_files(folder: Path, way: str) -> None:
    """The recipe is found among 5,000 files of a type that `datasets` does not know."""
    for number in range(5000):
        (folder / f"{'test-' if way == 'data_dir' else ''}{number}.dat").touch()
    made = load(data_dir=str(folder), split="train") if way == "data_dir" else load(str(folder), split="train")
    assert personas(made) == {"a diver"}


@pytest.mark.parametrize("given", [{"data_files": "*.consistent_chat.yaml"}, {"data_files": "my.consistent_chat.yaml"}])
def test_a_recipe_in_a_folder_of_other_data_is_named(folder: Path, given: dict[str, str]) -> None:
    """`data_files` selects the recipe, because `datasets` chooses the builder by the most common file type."""
    for number in range(3):
        write(folder / f"{number}.csv", "a\n1\n")
    assert personas(load(str(folder), split="train", **given)) == {"a diver"}


def test_a_recipe_in_a_folder_makes_no_calls(folder: Path) -> None:
    """A folder without `serving=` raises an error, and its README cannot set `serving`."""
    with pytest.raises(MissingResponse, match="Pass serving="):
        load(str(folder), serving=None, model="m", split="train")
    card = "---\nconfigs:\n- config_name: default\n  data_files: '*.consistent_chat.yaml'\n  serving: rehearsal\n---\n"
    write(folder / "README.md", card)
    with pytest.raises(RecipeError, match="README of this dataset sets 'serving' for config 'default'"):
        load(str(folder), serving=None, split="train")


@pytest.mark.parametrize("link", ["about/divers.yaml", "about"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, link: str) -> None:
    """A symbolic link out of the folder raises an error, for the taxonomy file and for a folder on its path."""
    secrets = folder.parent / "secrets"
    (folder / "about").rename(secrets)
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(secrets / "divers.yaml" if link.endswith(".yaml") else secrets)
    for way in ({"data_dir": str(folder)}, {"data_files": f"file://{folder}/my.consistent_chat.yaml"}):
        with pytest.raises(RecipeError, match=r"line 3 \(taxonomy\): .* within the recipe's own folder"):
            load(**way)


def test_links_within_a_folder_and_links_to_it_are_followed(folder: Path, work: Path) -> None:
    """Symbolic links within the folder and to the folder are followed."""
    (folder / "about").rename(folder / "real")
    (folder / "about").symlink_to("real")
    (work / "here").symlink_to(folder)
    assert personas(load(data_dir="here", split="train")) == {"a diver"}


def test_the_cache_of_the_hubs_client_is_a_folder(folder: Path, work: Path) -> None:
    """A folder from `snapshot_download` loads, although each file in it is a link into a folder of blobs."""
    blobs, snapshot = work / "blobs", work / "snapshots" / "0123"
    blobs.mkdir()
    for name, blob in (("my.consistent_chat.yaml", "aa"), ("about/divers.yaml", "bb")):
        (folder / name).rename(blobs / blob)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blobs / blob, (snapshot / name).parent))
    assert personas(load(data_dir=str(snapshot), split="train")) == {"a diver"}


def test_direct_use_takes_files_too(folder: Path) -> None:
    """`ConsistentChat(data_files=...)` loads a recipe without `load_dataset`."""
    files = str(folder / "my.consistent_chat.yaml")
    builder = consistent_chat.ConsistentChat(data_files=files, serving="rehearsal", responses="../responses")
    builder.download_and_prepare()
    assert personas(builder.as_dataset(split="train")) == {"a diver"}
