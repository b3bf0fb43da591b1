"""Many-turn dialogues that hold together, made by a language model: `load_dataset("consistent_chat", ...)`.

Importing this package teaches `datasets` the builder name "consistent_chat" and the extension of recipe files.
"""

from typing import TYPE_CHECKING, Any

from consistent_chat.builder import ConsistentChat
from consistent_chat.builder.config import ConsistentChatConfig
from consistent_chat.builder.registration import register
from consistent_chat.commands.open import warm
from consistent_chat.dataflow import ConsistentChatGenerator
from consistent_chat.recipe import Recipe
from consistent_chat.version import __version__

__all__ = [
    "ConsistentChat",
    "ConsistentChatConfig",
    "ConsistentChatGenerator",
    "Recipe",
    "__version__",
    "publish",
    "warm",
]

if TYPE_CHECKING:
    from consistent_chat.publishing import publish


def __getattr__(name: str) -> Any:
    """Import what publishes when it is asked for: it takes the Hub's client."""
    if name == "publish":
        from consistent_chat.publishing import publish

        return publish
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register()
