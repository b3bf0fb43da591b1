"""Consistent multi-turn dialogues, made by a language model: `load_dataset("consistent_chat", ...)`.

Importing this package registers the builder name "consistent_chat" and the extension of recipe files with `datasets`:
immediately if `datasets` is already imported, otherwise when it is imported. The public names of this package are
imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from consistent_chat.registration import register_with_datasets
from consistent_chat.version import __version__

__all__ = [
    "ConsistentChat",
    "ConsistentChatConfig",
    "ConsistentChatGenerator",
    "Recipe",
    "__version__",
    "build",
    "estimate",
    "judge",
    "preview",
    "publish",
    "report",
    "verify",
    "warm",
]

if TYPE_CHECKING:
    from consistent_chat.api import estimate, preview, verify
    from consistent_chat.builder import ConsistentChat
    from consistent_chat.builder.config import ConsistentChatConfig
    from consistent_chat.commands.build import build
    from consistent_chat.commands.open import warm
    from consistent_chat.dataflow import ConsistentChatGenerator
    from consistent_chat.publishing.publish import publish
    from consistent_chat.recipe import Recipe
    from consistent_chat.reports import report
    from consistent_chat.reports.judging import judge

_MODULES = {
    "ConsistentChat": "consistent_chat.builder",
    "ConsistentChatConfig": "consistent_chat.builder.config",
    "ConsistentChatGenerator": "consistent_chat.dataflow",
    "Recipe": "consistent_chat.recipe",
    "build": "consistent_chat.commands.build",
    "estimate": "consistent_chat.api",
    "judge": "consistent_chat.reports.judging",
    "preview": "consistent_chat.api",
    "publish": "consistent_chat.publishing",
    "report": "consistent_chat.reports",
    "verify": "consistent_chat.api",
    "warm": "consistent_chat.commands.open",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List all names, including public names that are not imported yet."""
    return sorted({*globals(), *__all__})


register_with_datasets()
