"""Test opening a serving by name, as an object and from a plugin, and the errors if it cannot be opened."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.errors import ConsistentChatError, RecipeError, ServingError
from consistent_chat.request import Request, Response
from consistent_chat.serving import Serving, registry
from tests import ROOT


class Shout:
    """A complete third-party serving."""

    def __init__(self, *, base_url: Any = None, api_key: Any = None, timeout: float = 600, max_concurrency: int = 30):
        self.settings = (base_url, api_key, timeout, max_concurrency)

    async def answer(self, request: Request) -> Response:
        """Answer in capitals."""
        return Response(request.system.upper())


class Mute:
    """Is not a serving, because its answer method is not a coroutine."""

    def __init__(self, **_: Any) -> None:
        pass

    def answer(self, request: Request) -> Response:
        """Return an empty response."""
        return Response("")


class Broken:
    """A plugin that raises an error when it is opened."""

    def __init__(self, **_: Any) -> None:
        raise ModuleNotFoundError("No module named 'megaphone'")


def shouting(request: Request) -> Response:
    """Answer in capitals; a function is not a serving."""
    return Response(request.system.upper())


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that a package with four entry points for servings is installed."""
    points = [
        importlib.metadata.EntryPoint(name, f"{__name__}:{value}", registry.GROUP)
        for name, value in {"shout": "Shout", "mute": "Mute", "broken": "Broken", "openai": "Shout"}.items()
    ]

    def entry_points(**wanted: Any) -> importlib.metadata.EntryPoints:
        return importlib.metadata.EntryPoints(points).select(**wanted)

    monkeypatch.setattr(registry, "entry_points", entry_points)


def message(serving: Any, **settings: Any) -> str:
    """Return the error message if a serving cannot be opened."""
    with pytest.raises(ConsistentChatError) as caught:
        registry.open_serving(serving, **settings)
    return str(caught.value)


def test_the_table_is_in_alphabetical_order() -> None:
    """The table of built-in servings is in alphabetical order, which makes it easy to read and merge."""
    assert list(registry.BUILT_IN) == sorted(registry.BUILT_IN)


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_built_in_servings_open_by_name(name: str) -> None:
    """Each built-in serving is opened by its name, with the same keywords."""
    serving = registry.open_serving(name, model="m", base_url="http://localhost:1", api_key="key", timeout=5)
    assert isinstance(serving, Serving)


def test_an_object_is_its_own_serving() -> None:
    """An object with an answer method is used directly, without a wrapper."""
    shout = Shout()
    assert registry.open_serving(shout, model="m") is shout


@pytest.mark.usefixtures("plugins")
def test_a_plugin_is_opened_like_a_built_in() -> None:
    """A plugin is opened by the name of its entry point, with the same keywords as built-in servings."""
    settings: Any = {"base_url": "http://a", "api_key": "k", "timeout": 1, "max_concurrency": 2}
    serving: Any = registry.open_serving("shout", model="m", **settings)
    assert type(serving).__name__ == "Shout"
    assert serving.settings == tuple(settings.values())


@pytest.mark.usefixtures("plugins")
def test_no_plugin_takes_the_place_of_a_built_in() -> None:
    """A plugin cannot replace a built-in serving, because built-in names are looked up first."""
    serving = registry.open_serving("openai", model="m", api_key="key")
    assert type(serving).__name__ == "OpenAI"


@pytest.mark.usefixtures("plugins")
def test_an_unknown_name_is_answered_with_all_known_ones() -> None:
    """The error about an unknown name lists all known names, plugins included, and suggests the most similar one."""
    assert message("antropic") == (
        "There is no serving 'antropic'. Did you mean 'anthropic'? Pass one of anthropic, broken, huggingface, "
        "mute, openai, rehearsal, shout, or an object with a coroutine method `answer`."
    )
    assert message("xyz").startswith("There is no serving 'xyz'. Pass one of anthropic, broken,")


@pytest.mark.usefixtures("plugins")
def test_a_plugin_that_is_no_serving_or_fails_is_named() -> None:
    """The error about a plugin that fails or is not a serving names it, the reason and a possible remedy."""
    assert message("mute") == "Mute.answer is not a coroutine method. Write `async def answer`."
    assert message("broken").startswith(
        "The serving 'broken' cannot be imported: No module named 'megaphone'. It may need: pip install --upgrade"
    )


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (Shout, "serving is the class Shout. Pass an instance: Shout()."),
        (shouting, "serving is the function 'shouting'."),
        (Mute(), "Mute.answer is not a coroutine method."),
        (7, "serving must be a name (anthropic, huggingface, openai, rehearsal) or an object with a coroutine method"),
    ],
)
def test_what_cannot_answer_is_refused_with_a_hint(wrong: Any, expected: str) -> None:
    """An object that cannot answer is refused, both when a configuration is checked and when a serving is opened."""
    assert message(wrong).startswith(expected)
    with pytest.raises(RecipeError):
        registry.check(wrong)


def test_checking_opens_nothing() -> None:
    """A check opens no serving, so a name can be checked without a key. None means that no calls are made."""
    registry.check("anthropic")
    registry.check(Shout())
    registry.check(None)


def test_settings_that_an_object_would_not_follow_are_refused() -> None:
    """An address or a key is refused if the serving is an object, because it would have no effect."""
    assert (
        message(Shout(), base_url="http://a")
        == "base_url= has no effect if serving is an object. Pass it to Shout instead."
    )
    assert (
        message(Shout(), api_key="secret")
        == "api_key= has no effect if serving is an object. Pass it to Shout instead."
    )


def test_no_serving_and_no_model_are_refused() -> None:
    """A missing serving or model is an error before any call."""
    assert message(None) == "No calls can be made without a serving. Pass serving=."
    assert message("openai", model="") == "No calls can be made without a model. Pass model=."


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("anthropic", "There is no key for Anthropic. Set the environment variable ANTHROPIC_API_KEY or pass api_key="),
        ("openai", "There is no key for OpenAI. Set the environment variable OPENAI_API_KEY"),
        ("huggingface", "There is no token for Hugging Face. Set the environment variable HF_TOKEN, run `hf auth"),
    ],
)
def test_a_missing_key_is_found_before_any_call(name: str, expected: str) -> None:
    """A missing key is an error before any call, and the message names the environment variable."""
    assert message(name, model="m").startswith(expected)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel-schlüssel"])
@pytest.mark.parametrize("name", ["anthropic", "openai"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(name: str, key: str) -> None:
    """A key with characters that HTTP headers cannot contain is refused and not shown.

    HTTP libraries would show it in their errors.
    """
    said = message(name, model="m", api_key=key)
    assert "in api_key has characters that no key has" in said
    assert key not in said


def test_white_space_around_a_key_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    """White space around a key is ignored, because files of environment variables often end in a line break."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\n")
    assert registry.open_serving("openai", model="m") is not None


@pytest.mark.parametrize("name", ["anthropic", "openai", "huggingface"])
@pytest.mark.parametrize("url", ["localhost:8000", "ftp://a", "http://", "http://[", "http://a:99999", 7])
def test_an_address_that_is_none_is_refused(name: str, url: Any) -> None:
    """An invalid address is refused. It would otherwise look like an unreachable server and cause many retries."""
    assert message(name, model="m", base_url=url, api_key="key").startswith("base_url must be an address such as")


@pytest.mark.parametrize("name", ["anthropic", "openai", "huggingface"])
def test_an_address_with_a_password_is_refused_and_not_shown(name: str) -> None:
    """An address with a password is refused and not shown, because logs would show it and a key is given."""
    said = message(name, model="m", base_url="http://me:hunter2@localhost:8000/v1", api_key="key")
    assert said == "base_url must not have a user name or password in it. Pass the key as api_key=."


def test_only_batches_need_the_sdk_of_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's SDK is needed only for batches; the error without it names the package to install."""
    monkeypatch.setitem(sys.modules, "openai", None)
    serving: Any = registry.open_serving("openai", model="m", api_key="key")
    with pytest.raises(ServingError, match=r'pip install "openai\[aiohttp\]>=2.0"'):
        _ = serving.batches


def test_importing_the_registry_imports_no_sdk() -> None:
    """The import of the registry and the servings does not import an SDK, because a replay does not need one."""
    code = (
        "import sys, consistent_chat.serving.registry\n"
        "from consistent_chat.serving import anthropic, huggingface, openai, rehearsal\n"
        "print({'anthropic', 'openai'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_waits_for_what_is_imported_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork waits for imports in the background, or else the child process could wait forever.

    A failed import raises its error at the next import.
    """
    (tmp_path / "slow_one.py").write_text("import time\ntime.sleep(0.2)\ndone = True\n")
    (tmp_path / "bad_one.py").write_text("raise ImportError('it is broken')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.import_in_background("bad_one", "slow_one")
    if not (child := os.fork()):
        os._exit(7 if getattr(sys.modules.get("slow_one"), "done", False) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    with pytest.raises(ImportError, match="it is broken"):
        import_module("bad_one")
    del sys.modules["slow_one"]


def test_only_a_serving_that_calls_is_imported_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the module of a serving that makes calls is imported ahead, with aiohttp.

    Objects and unknown names import nothing.
    """
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(registry, "import_in_background", lambda *modules: asked.append(modules))
    for serving in ("openai", "rehearsal", "nothing", None, object()):
        registry.import_ahead(serving)
    assert asked == [("aiohttp", "consistent_chat.serving.openai")]
