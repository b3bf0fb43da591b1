"""The readers of untrusted bytes, as functions of bytes. Each may raise the package's own errors and no others.

Hypothesis runs them in the slow tests (test_fuzz.py). For a longer search that is guided by coverage, use atheris:

    pip install atheris && python -m tests.fuzz recipe -max_total_time=600
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from consistent_chat.card import header
from consistent_chat.dialogue import checks, parse
from consistent_chat.errors import ConsistentChatError, PublishError, RecipeError, StoreError
from consistent_chat.publishing import layout
from consistent_chat.publishing.layout import Manifest
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.rules import DEFAULTS
from consistent_chat.request import Response
from consistent_chat.store import ResponseStore, verify
from consistent_chat.text.sanitize import sanitize, without_secrets
from tests.stored import asked

NAMES = ("user_1", "user_2")


def recipe(data: bytes) -> None:
    """Read a recipe file with its taxonomy."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(RecipeError):
        path = Path(folder, "a.consistent_chat.yaml")
        path.write_bytes(data)
        Recipe.from_file(str(path), model="m")


def parser(data: bytes) -> None:
    """Parse a model's response, both as messages and as scores."""
    response = Response(data.decode("utf-8", "surrogateescape"))
    for read in (lambda: parse.messages(response, NAMES), lambda: parse.scores(response, NAMES)):
        with contextlib.suppress(parse.Unusable):
            read()


def messages(data: bytes) -> None:
    """Run the checks on non-empty messages of both sides, in known languages and an unknown one."""
    texts = data.decode("utf-8", "replace").partition("\n\n")[::2]
    asked_, answered = ("-" if parse.is_empty(text, "") else text.strip() for text in texts)
    for language in ("English", "Hindi", "No such language"):
        checks.findings([asked_, answered], [answered, asked_], DEFAULTS, language)


def journal(data: bytes) -> None:
    """Verify a store with this journal, and look for a response in it."""
    _read_store("journals/a.jsonl", data)


def pack(data: bytes) -> None:
    """Verify a store with this pack, and look for a response in it."""
    _read_store("packs/a.parquet", data)


def manifest(data: bytes) -> None:
    """Read a manifest, and check that the paths and splits that it names are allowed."""
    with contextlib.suppress(PublishError):
        read = Manifest.read(data, "here")
        assert all(map(layout.is_published, read.files))
        assert all(map(layout.is_split, read.recipes))
        assert Manifest.read(read.text(), "there") == read


def card(data: bytes) -> None:
    """Merge the header of a user's card with the package's own."""
    head, _ = header.split(data.decode("utf-8", "replace"))
    with contextlib.suppress(ConsistentChatError):
        merged = header.merged(head, {"license": "mit", "configs": [{"config_name": "default"}]})
        assert header.merged(merged, {}) is not None


def terminal(data: bytes) -> None:
    """Sanitize a text and remove secrets from its addresses. Sanitizing it again changes nothing."""
    shown = sanitize(without_secrets(data.decode("utf-8", "surrogateescape")))
    assert sanitize(shown) == shown
    assert "\x1b" not in shown


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (recipe, parser, messages, journal, pack, manifest, card, terminal)
}


def _read_store(name: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.parent.mkdir()
        path.write_bytes(data)
        with contextlib.suppress(StoreError):
            assert verify(folder) is not None
        with contextlib.suppress(StoreError):
            store = ResponseStore(folder)
            store.find(asked(1))
