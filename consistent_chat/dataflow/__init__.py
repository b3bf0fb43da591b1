"""DataFlow's interface, for its users: the operator, its storage and its serving. DataFlow need not be installed.

    interfaces.py  what DataFlow expects of servings and storages
    operator.py    ConsistentChatGenerator
    storage.py     FileStorage: the same files as DataFlow's
    serving.py     APILLMServing_request: the same parameters as DataFlow's, over our own serving
    adapter.py     any of DataFlow's servings, which answer many prompts in one call
    templates.py   DataFlow's prompt objects and the shapes of their answers
    compat.py      where DataFlow is installed, all of this counts as its own

The driver for such servings is `drivers/waves.py`.

Importing this package never imports DataFlow.
"""

from consistent_chat.dataflow.compat import join, take_over
from consistent_chat.dataflow.interfaces import DataFlowStorage, LLMServingABC
from consistent_chat.dataflow.operator import ConsistentChatGenerator
from consistent_chat.dataflow.serving import APILLMServing_request
from consistent_chat.dataflow.storage import FileStorage

__all__ = [
    "APILLMServing_request",
    "ConsistentChatGenerator",
    "DataFlowStorage",
    "FileStorage",
    "LLMServingABC",
    "register",
]


def register() -> None:
    """Let DataFlow's registry return our ConsistentChatGenerator instead of its own. Imports DataFlow."""
    take_over(ConsistentChatGenerator)


join(ConsistentChatGenerator)
