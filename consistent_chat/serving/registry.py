"""Opens a serving by name: a built-in one, or one that an installed package offers as an entry point.

Both are constructed with the same keywords. A provider's libraries are imported only when its serving is opened, or
earlier in a background thread: half of aiohttp's import does not hold the interpreter's lock. If a process forked
during an import, the child could wait for that import forever, so a fork waits for imports to end.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from consistent_chat.errors import ConsistentChatError, RecipeError, ServingError
from consistent_chat.recipe import suggestion
from consistent_chat.serving import Serving
from consistent_chat.serving.settings import UNKNOWN, Abilities

GROUP = "consistent_chat.servings"
"""The group of entry points in which packages offer servings: `name = module:Class`."""

# In alphabetical order. "hint" says what to install if libraries are missing, "calls with" names the slowest one,
# "variables" the environment variables that it reads, its key first.
BUILT_IN: dict[str, dict[str, Any]] = {
    "anthropic": {
        "class": "consistent_chat.serving.anthropic:Anthropic",
        "hint": 'pip install "anthropic[aiohttp]"',
        "calls with": "aiohttp",
        "variables": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"),
    },
    "huggingface": {
        "class": "consistent_chat.serving.huggingface:HuggingFace",
        "hint": 'pip install "huggingface_hub>=1.0"',
        "calls with": "aiohttp",
        "variables": ("HF_TOKEN",),
    },
    "openai": {
        "class": "consistent_chat.serving.openai:OpenAI",
        "hint": 'pip install "openai[aiohttp]>=2.0"',
        "calls with": "aiohttp",
        "variables": ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
    },
    "rehearsal": {
        "class": "consistent_chat.serving.rehearsal:Rehearsal",
        "hint": "a complete installation of consistent_chat",
        "variables": (),
    },
}


def open_serving(
    serving: str | Serving | None,
    *,
    model: str | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    timeout: float = 600.0,
    max_concurrency: int = 30,
    abilities: Abilities = UNKNOWN,
) -> Serving:
    """Return the serving of this name, ready to answer, or the given object itself.

    Each request names its model, so `model` is only used to detect a missing name early. `timeout` is in seconds per
    call; `abilities` are the stated abilities of the server. Raises RecipeError for an unknown name or an object that
    is not a serving, ServingError if the serving cannot be opened, for example without a key.
    """
    check(serving)
    if serving is None or model == "":
        missing = "model" if serving is not None else "serving"
        raise RecipeError(f"No calls can be made without a {missing}. Pass {missing}=.")
    if not isinstance(serving, str):
        _refuse_settings(serving, base_url=base_url, api_key=api_key, **vars(abilities))
        return serving
    settings: dict[str, Any] = {
        "base_url": base_url,
        "api_key": api_key,
        "timeout": timeout,
        "max_concurrency": max_concurrency,
    }
    if abilities != UNKNOWN:
        settings["abilities"] = abilities
    opened: Serving = _constructed(serving, settings)
    _check_object(opened)
    return opened


def check(serving: Any) -> None:
    """Raise RecipeError unless this is None, a known serving's name, or an object that can answer.

    Nothing is imported, opened or called.
    """
    if isinstance(serving, str):
        if serving in BUILT_IN:  # a search for entry points reads the metadata of all installed packages
            return
        known = names()
        if serving not in known:
            raise RecipeError(f"There is no serving {serving!r}.{_near(serving, known)}")
    elif serving is not None:
        _check_object(serving)


def import_ahead(serving: Any) -> None:
    """Import what a built-in serving needs, in a thread. If that fails, `open_serving` raises the error."""
    known = BUILT_IN.get(serving, {}) if isinstance(serving, str) else {}
    if "calls with" in known:
        import_in_background(known["calls with"], known["class"].partition(":")[0])


def names() -> tuple[str, ...]:
    """Return the names of all servings, in alphabetical order."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def variables(name: str) -> tuple[str, ...]:
    """Return the environment variables that a built-in serving reads, the key first; empty for a plugin."""
    return tuple(BUILT_IN.get(name, {}).get("variables", ()))


def _near(name: str, known: tuple[str, ...]) -> str:
    hint = suggestion(name, known)
    every = f" Pass one of {', '.join(known)}, or an object with a coroutine method `answer`."
    return f"{hint}{every}" if "Did you mean" in hint else every


def _check_object(serving: Any) -> None:
    wanted = "an object with a coroutine method `answer(self, request)`"
    if inspect.isclass(serving):
        kind = serving.__name__
        raise RecipeError(f"serving is the class {kind}. Pass an instance: {kind}().")
    answer = getattr(serving, "answer", None)
    if answer is None and inspect.isroutine(serving):
        raise RecipeError(f"serving is the function {serving.__name__!r}. It must be {wanted}.")
    if answer is None:
        raise RecipeError(f"serving must be a name ({', '.join(names())}) or {wanted}, not a {type(serving).__name__}.")
    if not inspect.iscoroutinefunction(answer):
        raise RecipeError(f"{type(serving).__name__}.answer is not a coroutine method. Write `async def answer`.")


def _refuse_settings(serving: Serving, **settings: object) -> None:
    """Raise RecipeError for settings that would have no effect on an object, because it has its own."""
    for name, value in settings.items():
        if value is not None:
            raise RecipeError(
                f"{name}= has no effect if serving is an object. Pass it to {type(serving).__name__} instead."
            )


def _constructed(name: str, settings: dict[str, Any]) -> Any:
    load, hint = _found(name)
    try:
        kind = load()
        if "abilities" in settings and "abilities" not in inspect.signature(kind).parameters:
            raise RecipeError(f"The serving {name!r} does not accept {' or '.join(_stated(settings['abilities']))}.")
        return kind(**settings)
    except ConsistentChatError:
        raise
    except ImportError as error:
        raise ServingError(f"The serving {name!r} cannot be imported: {error}. It may need: {hint}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ServingError(f"The serving {name!r} cannot be opened: {what}. It may need: {hint}") from error


def _stated(abilities: Abilities) -> list[str]:
    return [f"{name}=" for name, value in vars(abilities).items() if value is not None]


def _found(name: str) -> tuple[Callable[[], Any], str]:
    """Return a function that loads a serving's class, and a hint what to install if that fails."""
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name]["class"].partition(":")
        return lambda: getattr(import_module(module), attribute), BUILT_IN[name]["hint"]
    point: EntryPoint = next(iter(entry_points(group=GROUP, name=name)))
    package = point.dist.name if point.dist is not None else point.module
    return point.load, f"pip install --upgrade {package}"


_threads: list[threading.Thread] = []


def import_in_background(*modules: str) -> None:
    """Import modules in a thread. Errors are ignored: the next import of the module raises them again."""
    if all(module in sys.modules for module in modules):
        return
    thread = threading.Thread(target=_import_all, args=modules, name="consistent_chat imports")
    thread.start()
    _threads[:] = [*(other for other in _threads if other.is_alive()), thread]


def wait_for_imports() -> None:
    """Wait until all imports are finished."""
    for thread in tuple(_threads):
        if thread is not threading.current_thread():
            thread.join()


def _import_all(*modules: str) -> None:
    for module in modules:
        with contextlib.suppress(Exception):
            import_module(module)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=wait_for_imports)
