"""Every other way to load a recipe: from a website, from folders, as several splits; and what a folder may hold."""

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
    """A folder with a recipe, and the taxonomy that it names."""
    made = tmp_path / "folder"
    write(made / "my.consistent_chat.yaml", RECIPE)
    write(made / "about" / "divers.yaml", TAXONOMY)
    return made


@pytest.fixture
def website(tmp_path: Path, folder: Path) -> Iterator[str]:
    """The address of `python -m http.server`, at work in the folder above the recipe's."""
    assert folder.parent == tmp_path
    with serving(partial(Quiet, directory=str(tmp_path))) as url:
        yield url


class Quiet(SimpleHTTPRequestHandler):
    """Writes no log."""

    def log_message(self, *_: Any) -> None:
        pass


class serving:
    """Serve with a handler, in a thread, as a context manager that gives the address."""

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
    """Write a file, and the folders to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def load(*args: Any, **given: Any) -> Any:
    """Load a rehearsal."""
    return load_dataset(
        *(args or ("consistent_chat",)), **{"serving": "rehearsal", "responses": "../responses", **given}
    )


def personas(made: Any) -> set[str]:
    """Return who speaks: by it one knows the taxonomy."""
    return {row["persona"] for row in made["provenance"]}


def sizes(made: Any) -> dict[str, int]:
    """Return the splits and their lengths."""
    return {split: len(rows) for split, rows in made.items()}


def test_a_recipe_on_a_website(website: str) -> None:
    """With its taxonomy, also streaming and in several processes."""
    given = {"data_files": f"{website}/folder/my.consistent_chat.yaml", "split": "train"}
    made = load(**given)
    assert personas(made) == {"a diver"}
    assert list(load(**given, streaming=True)) == made.to_list()
    assert load(**given, num_dialogs_per_intent=3, num_proc=2)[:1] == made[:1]


def test_recipes_on_a_website_as_splits(website: str, folder: Path) -> None:
    """`data_files={"train": ..., "test": ...}`, each with its own recipe."""
    write(folder / "other.consistent_chat.yaml", RECIPE.replace("1", "2"))
    names = {"train": "other", "test": "my"}
    files = {split: f"{website}/folder/{name}.consistent_chat.yaml" for split, name in names.items()}
    assert sizes(load(data_files=files)) == {"train": 2, "test": 1}


def test_a_website_without_the_recipe_says_so(website: str) -> None:
    """Before any call, naming the address."""
    with pytest.raises(FileNotFoundError, match=r"folder/your\.consistent_chat\.yaml"):
        load(data_files=f"{website}/folder/your.consistent_chat.yaml")


@pytest.mark.parametrize("name", ["%2e%2e/secret.yaml", "about/%2E%2e/%2e%2e/secret.yaml", "..%2fsecret.yaml"])
def test_a_recipe_on_a_website_stays_in_its_folder(website: str, folder: Path, name: str) -> None:
    """Also where the address of its taxonomy is written in percents."""
    write(folder.parent / "secret.yaml", TAXONOMY)
    write(folder / "my.consistent_chat.yaml", f"taxonomy: '{name}'\n")
    with pytest.raises(RecipeError, match=r"line 1 \(taxonomy\): .* within the recipe's own folder"):
        load(data_files=f"{website}/folder/my.consistent_chat.yaml")


def test_responses_on_a_website_are_read(website: str, folder: Path) -> None:
    """A shared store beside the recipe: a replay without a call."""
    made = load(data_files=str(folder / "my.consistent_chat.yaml"), split="train")
    given = {"data_files": f"{website}/folder/my.consistent_chat.yaml", "serving": None, "model": "rehearsal"}
    places = ["../none", f"{website}/responses"]
    again = load(**given, responses=places, split="train", download_mode="force_redownload")
    assert again[:] == made[:]


class Stream(BaseHTTPRequestHandler):
    """Sends a comment of many MiB and then a recipe, without saying beforehand how much it is."""

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
    """Its last line counts: a stream comes in parts."""
    with serving(type("Whole", (Stream,), {"size": 3, "encoding": encoding})) as url:
        assert Recipe.from_file(f"{url}/my.consistent_chat.yaml").intents == ("simulation",)


def test_an_endless_stream_is_refused_before_it_is_read_whole() -> None:
    """Of 64 MiB a few are read."""
    handler = type("Endless", (Stream,), {"size": 64})
    with serving(handler) as url, pytest.raises(RecipeError, match="larger than 4 MiB"):
        Recipe.from_file(f"{url}/my.consistent_chat.yaml")
    assert handler.sent < 32 * MIB


def test_a_bomb_of_gzip_is_refused() -> None:
    """What counts is what comes out of it."""
    handler = type("Bomb", (Stream,), {"size": 64, "encoding": "gzip"})
    with serving(handler) as url, pytest.raises(RecipeError, match="larger than 4 MiB"):
        Recipe.from_file(f"{url}/my.consistent_chat.yaml")


@pytest.mark.parametrize("way", ["data_dir", "path"])
def test_a_folder(folder: Path, way: str) -> None:
    """`data_dir="folder"`, and the folder as the dataset's name."""
    made = load(data_dir=str(folder), split="train") if way == "data_dir" else load(str(folder), split="train")
    assert personas(made) == {"a diver"}
    assert len(made) == 1


@pytest.mark.parametrize("way", ["data_dir", "path"])
def test_a_folder_with_several_recipes_is_several_splits(folder: Path, way: str) -> None:
    """By the names of its files, however the folder is passed, and whatever other files it has."""
    (folder / "my.consistent_chat.yaml").unlink()
    for split, count in (("train", 2), ("test", 1)):
        write(folder / f"{split}.consistent_chat.yaml", RECIPE.replace("1", str(count)))
    write(folder / "notes.txt", "nothing")
    made = load(data_dir=str(folder)) if way == "data_dir" else load(str(folder))
    assert sizes(made) == {"train": 2, "test": 1}


def test_recipes_that_are_no_splits_are_asked_to_be_named(folder: Path) -> None:
    """Two recipes for one split: the message shows how to name them."""
    write(folder / "other.consistent_chat.yaml", RECIPE)
    with pytest.raises(RecipeError, match=r"'train' names 2 files.*data_files=\{'train': ..., 'test': ...\}"):
        load(data_dir=str(folder))


def test_a_folder_without_a_recipe_says_so(work: Path) -> None:
    """And it is not taken for the bare call."""
    write(work / "test.csv", "a\n1\n")
    with pytest.raises(RecipeError, match=r"contains no recipe.* ends in \.consistent_chat\.yaml"):
        load(data_dir=str(work))


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("count", [0, 5000])
def test_what_the_current_folder_holds_does_not_matter(work: Path, folder: Path, count: int) -> None:
    """Every way works from an empty folder, and from one with 5,000 files, some named as splits are."""
    for number in range(count):
        (work / f"test-{number}.csv").touch()
    assert len(load(num_dialogs_per_intent=1, split="train")) == 9
    assert len(load(data_files="../folder/my.consistent_chat.yaml", split="train")) == 1
    assert len(load(data_dir="../folder", split="train")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("way", ["data_dir", "path"])
def test_a_folder_with_a_recipe_among_5000_files(folder: Path, way: str) -> None:
    """Where the other files are no data that `datasets` knows."""
    for number in range(5000):
        (folder / f"{'test-' if way == 'data_dir' else ''}{number}.dat").touch()
    made = load(data_dir=str(folder), split="train") if way == "data_dir" else load(str(folder), split="train")
    assert personas(made) == {"a diver"}


@pytest.mark.parametrize("given", [{"data_files": "*.consistent_chat.yaml"}, {"data_files": "my.consistent_chat.yaml"}])
def test_a_recipe_in_a_folder_of_other_data_is_named(folder: Path, given: dict[str, str]) -> None:
    """For `datasets` goes by what most of the files are."""
    for number in range(3):
        write(folder / f"{number}.csv", "a\n1\n")
    assert personas(load(str(folder), split="train", **given)) == {"a diver"}


def test_a_recipe_in_a_folder_makes_no_calls(folder: Path) -> None:
    """Without `serving=`, whatever the folder's README says."""
    with pytest.raises(MissingResponse, match="Pass serving="):
        load(str(folder), serving=None, model="m", split="train")
    card = "---\nconfigs:\n- config_name: default\n  data_files: '*.consistent_chat.yaml'\n  serving: rehearsal\n---\n"
    write(folder / "README.md", card)
    with pytest.raises(RecipeError, match="README of this dataset sets 'serving' for config 'default'"):
        load(str(folder), serving=None, split="train")


@pytest.mark.parametrize("link", ["about/divers.yaml", "about"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, link: str) -> None:
    """Of the taxonomy itself, or of a folder on the way to it."""
    secrets = folder.parent / "secrets"
    (folder / "about").rename(secrets)
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(secrets / "divers.yaml" if link.endswith(".yaml") else secrets)
    for way in ({"data_dir": str(folder)}, {"data_files": f"file://{folder}/my.consistent_chat.yaml"}):
        with pytest.raises(RecipeError, match=r"line 3 \(taxonomy\): .* within the recipe's own folder"):
            load(**way)


def test_links_within_a_folder_and_links_to_it_are_followed(folder: Path, work: Path) -> None:
    """A folder may lie elsewhere."""
    (folder / "about").rename(folder / "real")
    (folder / "about").symlink_to("real")
    (work / "here").symlink_to(folder)
    assert personas(load(data_dir="here", split="train")) == {"a diver"}


def test_the_cache_of_the_hubs_client_is_a_folder(folder: Path, work: Path) -> None:
    """There, each file is a link into a folder of blobs, as `snapshot_download` leaves it."""
    blobs, snapshot = work / "blobs", work / "snapshots" / "0123"
    blobs.mkdir()
    for name, blob in (("my.consistent_chat.yaml", "aa"), ("about/divers.yaml", "bb")):
        (folder / name).rename(blobs / blob)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blobs / blob, (snapshot / name).parent))
    assert personas(load(data_dir=str(snapshot), split="train")) == {"a diver"}


def test_direct_use_takes_files_too(folder: Path) -> None:
    """`ConsistentChat(data_files=...)`, without `load_dataset`."""
    files = str(folder / "my.consistent_chat.yaml")
    builder = consistent_chat.ConsistentChat(data_files=files, serving="rehearsal", responses="../responses")
    builder.download_and_prepare()
    assert personas(builder.as_dataset(split="train")) == {"a diver"}
